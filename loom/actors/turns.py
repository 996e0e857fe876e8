"""Turns for people: listing them, and intervening in those that do not continue by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal

from pydantic import BaseModel, ConfigDict

from loom.actors import interventions
from loom.actors.system import ActorSystem
from loom.actors.turns_view import TurnStatus, TurnSummary, TurnsView
from loom.errors import AdmissionError, TurnNotFoundError
from loom.identity import By, Identity, short
from loom.journal.kinds import TurnAbandonedEntry, TurnRetriedEntry

__all__ = ["TurnListing", "Turns"]


_KEPT = "no turn of the actor has waited for this message yet"


class TurnListing(BaseModel):
    """A turn as its journal has it, with what this process knows in addition."""

    model_config = ConfigDict(frozen=True)

    summary: TurnSummary
    status: TurnStatus | Literal["interrupted", "waiting_for_code"]
    """As in the summary; `interrupted` where no process runs it now, `waiting_for_code` where its code is missing."""
    why: str | None = None


class Turns:
    """Lists turns; retries a stuck one, or abandons one."""

    def __init__(self, system: ActorSystem, view: TurnsView) -> None:
        self._system = system
        self._view = view

    async def unfinished(self, *, limit: int = 1_000, after: int = 0) -> tuple[TurnListing, ...]:
        """Return turns without an end, oldest first; `after` is the received position of the last one already seen."""
        return tuple(self._listing(summary) for summary in await self._view.unfinished(limit=limit, after=after))

    async def every(self, *, unfinished: bool = True, journal: str | None = None) -> AsyncIterator[TurnListing]:
        """Yield all turns without an end, oldest first, or all turns, newest first; however many there are."""
        async for summary in self._view.every(unfinished=unfinished, journal=journal):
            yield self._listing(summary)

    async def list(
        self,
        *,
        status: TurnStatus | None = None,
        journal: str | None = None,
        limit: int = 50,
        before: int | None = None,
    ) -> tuple[TurnListing, ...]:
        """Return turns of any status, newest first; `before` is the received position of the last one already seen."""
        found = await self._view.list(status=status, journal=journal, limit=limit, before=before)
        return tuple(self._listing(summary) for summary in found)

    async def get(self, command_id: str, *, journal: str | None = None) -> TurnListing:
        """Return a turn by its command id or an unambiguous beginning of it."""
        return self._listing(await self._view.get(command_id, journal=journal))

    async def retry(self, command_id: str, *, by: By, reason: str | None = None) -> TurnListing:
        """Retry a stuck turn, in the name of a person."""
        who = Identity.of(by)
        summary = await self._open(command_id)
        retried = TurnRetriedEntry(**who.written(), reason=reason)
        await interventions.retry(self._system, summary.journal, summary.command_id, retried)
        return await self.get(summary.command_id, journal=summary.journal)

    async def abandon(self, command_id: str, *, by: By, reason: str) -> TurnListing:
        """Abandon a turn, in the name of a person and with a reason; a running turn is stopped."""
        who = Identity.of(by)
        if not reason.strip():
            raise AdmissionError(
                "the reason to abandon a turn is blank; expected one in a person's words: give a reason"
            )
        summary = await self._open(command_id)
        abandoned = TurnAbandonedEntry(**who.written(), reason=reason)
        await interventions.abandon(self._system, summary.journal, summary.command_id, abandoned)
        return await self.get(summary.command_id, journal=summary.journal)

    async def _open(self, command_id: str) -> TurnSummary:
        summary = await self._view.get(command_id)
        if not summary.unfinished:
            raise TurnNotFoundError(
                f"turn [{short(summary.command_id)}] has ended [{summary.status}]; expected one without an end: "
                "see `loom turns`"
            )
        return summary

    def _listing(self, summary: TurnSummary) -> TurnListing:
        if not summary.unfinished:
            return TurnListing(summary=summary, status=summary.status, why=summary.error_message)
        if (why := self._system.stuck(summary.journal, summary.command_id)) is not None:
            return TurnListing(summary=summary, status="stuck", why=str(why))
        turn = self._system.running(summary.journal, summary.command_id)
        if turn is not None:
            status: TurnStatus = "parked" if turn.parked else summary.status
            return TurnListing(summary=summary, status=status)
        if not self._system.knows(summary.actor_type):
            return TurnListing(
                summary=summary, status="waiting_for_code", why=f"no code for [{summary.actor_type}] here"
            )
        if summary.status == "received" and self._system.keeps(summary.actor_type, summary.command_type):
            return TurnListing(summary=summary, status="received", why=_KEPT)
        driven = summary.status in ("parked", "stuck")
        return TurnListing(summary=summary, status=summary.status if driven else "interrupted")
