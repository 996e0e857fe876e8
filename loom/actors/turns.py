"""Turns for people: listing them, and intervening in those that do not continue by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.actors import interventions
from loom.actors.attempting import take_up
from loom.actors.change_entries import TurnTakenUpEntry
from loom.actors.system import ActorSystem
from loom.actors.timeline import Lane, lane_of
from loom.actors.turns_view import TurnStatus, TurnSummary, TurnsView
from loom.errors import AdmissionError, TurnNotFoundError
from loom.identity import By, Identity, check_limit, short
from loom.journal.entry import Recorded
from loom.journal.kinds import TurnAbandonedEntry, TurnRetriedEntry
from loom.journal.store import check_name

__all__ = ["TurnListing", "Turns"]


MOST_READ = 20_000
"""The most entries of a journal that a timeline reads."""

_KEPT = "no turn of the actor has waited for this message yet"


class TurnListing(BaseModel):
    """A turn as its journal has it, with what this process knows in addition."""

    model_config = ConfigDict(frozen=True)

    summary: TurnSummary
    status: TurnStatus | Literal["interrupted", "waiting_for_code"]
    """As in the summary; `interrupted` where no process runs it now, `waiting_for_code` where its code is missing."""
    why: str | None = None


class Turns:
    """Lists turns; retries, forks or abandons one."""

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

    async def timeline(
        self, journal: str, *, limit: int = 20, before: int | None = None
    ) -> tuple[Lane[TurnListing], ...]:
        """Return the turns of one actor as lanes, newest first; `before` is the received position last seen.

        The journal is read from the oldest of them on, at most `MOST_READ` entries of it.
        """
        listings = await self.list(journal=journal, limit=check_limit(limit), before=before)
        entries: dict[str, list[Recorded]] = {each.summary.command_id: [] for each in listings}
        if not listings:
            return ()
        before_first = min(each.summary.received_sequence for each in listings) - 1
        read = self._system.services.store.read(journal, after=before_first, until=before_first + MOST_READ)
        async for recorded in read:
            if recorded.command_id in entries:
                entries[recorded.command_id].append(recorded)
        return tuple(
            lane_of(each, entries[each.summary.command_id], ended_at=each.summary.ended_at) for each in listings
        )

    async def retry(self, command_id: str, *, by: By, reason: str | None = None, perform: bool = False) -> TurnListing:
        """Retry a stuck turn, or one that has failed, in the name of a person.

        A failed turn is taken up by a new attempt, which is returned: its recorded steps are kept, and those that
        failed last are done again. If it succeeds, its reply is the one to the failed command, and the decisions of the
        failed turn are not marked as failed any more. `perform` says that an effect may be done again that may have
        happened and is not repeatable; otherwise that is refused, and so is a turn whose policy version is gone.
        """
        who = Identity.of(by)
        known = await self._view.get(command_id)
        if known.status == "failed":
            entry = TurnTakenUpEntry(
                how="retry", command_id=known.command_id, reason=reason, perform=perform, **who.written()
            )
            return await self._taken_up(known, entry, command_id=None)
        summary = await self._open(command_id)
        retried = TurnRetriedEntry(**who.written(), reason=reason)
        await interventions.retry(self._system, summary.journal, summary.command_id, retried)
        return await self.get(summary.command_id, journal=summary.journal)

    async def fork(
        self,
        command_id: str,
        *,
        at: int | str,
        by: By,
        changed: dict[str, JsonValue] | None = None,
        perform: bool = False,
        reason: str | None = None,
        id: str | None = None,
    ) -> TurnListing:
        """Begin another turn that has the recorded steps of a turn up to a step, and return it.

        `at` is the first step that is done again: the sequence of its first entry, or how its text begins. `changed`
        are fields of the command that get other values. Effects get keys of their own, and are done only with
        `perform`. Any number of forks may be made; each is a turn with a command id of its own (`id`, or a new one).
        """
        who = Identity.of(by)
        known = await self._view.get(command_id)
        entry = TurnTakenUpEntry(
            how="fork", command_id=known.command_id, reason=reason, perform=perform, **who.written()
        )
        return await self._taken_up(known, entry, command_id=id, at=at, changed=changed)

    async def _taken_up(
        self,
        known: TurnSummary,
        entry: TurnTakenUpEntry,
        *,
        command_id: str | None,
        at: int | str | None = None,
        changed: dict[str, JsonValue] | None = None,
    ) -> TurnListing:
        new = command_id or self._system.services.sources.new_id()
        check_name(new, what="command id")
        await take_up(self._system, known.journal, entry, command_id=new, at=at, changed=changed)
        return await self.get(new, journal=known.journal)

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
