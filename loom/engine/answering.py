"""Answers of people on any node: they are given where the actor lives that asked, and read back here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import JsonValue

from loom.actors import Approvals, Turns, TurnsView
from loom.actors.system import ActorSystem
from loom.actors.turns import TurnListing
from loom.actors.turns_view import TurnSummary
from loom.decisions.approvals import Approval, ApprovalChains
from loom.decisions.shown import Shown
from loom.engine.dispatching import Sender
from loom.engine.port import Delivery
from loom.errors import LoomError
from loom.identity import By, Identity
from loom.sealing import Openings

__all__ = ["RoutedApprovals", "RoutedTurns"]

_WORDS = {"granted": "grant", "denied": "deny"}


class RoutedApprovals(Approvals):
    """Approvals of actors on any node: an answer is checked and journaled by the node where the actor lives."""

    def __init__(
        self, system: ActorSystem, chains: ApprovalChains, openings: Openings | None = None, *, sender: Sender
    ) -> None:
        super().__init__(system, chains, openings)
        self._sender = sender

    async def grant(
        self,
        approval_id: str,
        *,
        by: By,
        comment: str | None = None,
        changes: Mapping[str, JsonValue] | None = None,
        shown: Shown | None = None,
        distinguished: str | None = None,
    ) -> Approval:
        """Grant a request, wherever its actor lives."""
        granted = super().grant

        async def here() -> Approval:
            return await granted(
                approval_id, by=by, comment=comment, changes=changes, shown=shown, distinguished=distinguished
            )

        said: dict[str, JsonValue] = {"comment": comment, "changes": None if changes is None else dict(changes)}
        return await self._there("grant", approval_id, by, here, {**said, **_shown(shown, distinguished)})

    async def deny(
        self,
        approval_id: str,
        *,
        by: By,
        comment: str,
        shown: Shown | None = None,
        distinguished: str | None = None,
    ) -> Approval:
        """Deny a request, wherever its actor lives."""
        denied = super().deny

        async def here() -> Approval:
            return await denied(approval_id, by=by, comment=comment, shown=shown, distinguished=distinguished)

        return await self._there("deny", approval_id, by, here, {"comment": comment, **_shown(shown, distinguished)})

    async def send_back(self, approval_id: str, *, by: By, question: str, shown: Shown | None = None) -> Approval:
        """Send a request back with a question, wherever its actor lives."""
        sent_back = super().send_back

        async def here() -> Approval:
            return await sent_back(approval_id, by=by, question=question, shown=shown)

        return await self._there("send_back", approval_id, by, here, {"question": question, **_shown(shown, None)})

    async def inform(self, approval_id: str, *, by: By, information: str) -> Approval:
        """Answer the question with which a request was sent back, wherever its actor lives."""
        informed = super().inform

        async def here() -> Approval:
            return await informed(approval_id, by=by, information=information)

        return await self._there("inform", approval_id, by, here, {"information": information})

    async def _there(
        self,
        verb: str,
        approval_id: str,
        by: By,
        here: Callable[[], Awaitable[Approval]],
        arguments: dict[str, JsonValue],
    ) -> Approval:
        await self._services.store.refresh()  # it may have been asked for on another node just now
        approval, who = await self._chains.get(approval_id), Identity.of(by)
        words = {**arguments, "approval_id": approval.approval_id}
        delivery = Delivery(f"approvals.{verb}", approval.journal, self._services.sources.new_id(), words, who)

        async def done_before(refused: LoomError) -> Approval:
            """Return a request that this very answer ended, where the node that wrote it was lost before it said so."""
            await self._services.store.refresh()
            found = await self._chains.again(await self._chains.get(approval.approval_id))
            if found.answered_by is None or found.answered_by != who.name or _WORDS.get(found.status) != verb:
                raise refused
            return found

        answered = await self._sender.here_or_there(
            approval.journal, here, delivery, Approval.model_validate, done_before=done_before
        )
        await self._services.store.refresh()
        return answered


class RoutedTurns(Turns):
    """Turns of actors on any node: a person retries, forks or abandons one where its actor lives."""

    def __init__(self, system: ActorSystem, view: TurnsView, *, sender: Sender) -> None:
        super().__init__(system, view)
        self._sender = sender

    async def retry(self, command_id: str, *, by: By, reason: str | None = None, perform: bool = False) -> TurnListing:
        """Retry a turn, wherever its actor lives."""
        retried = super().retry

        async def here() -> TurnListing:
            return await retried(command_id, by=by, reason=reason, perform=perform)

        return await self._there("retry", command_id, by, here, {"reason": reason, "perform": perform})

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
        """Fork a turn, wherever its actor lives."""
        known, forked = id or self._system.services.sources.new_id(), super().fork

        async def here() -> TurnListing:
            return await forked(command_id, at=at, by=by, changed=changed, perform=perform, reason=reason, id=known)

        words: dict[str, JsonValue] = {"at": at, "changed": changed, "perform": perform, "reason": reason}
        return await self._there("fork", command_id, by, here, words, id=known)

    async def abandon(self, command_id: str, *, by: By, reason: str) -> TurnListing:
        """Abandon a turn, wherever its actor lives."""
        abandoned = super().abandon

        async def here() -> TurnListing:
            return await abandoned(command_id, by=by, reason=reason)

        return await self._there("abandon", command_id, by, here, {"reason": reason})

    async def _there(
        self,
        verb: str,
        command_id: str,
        by: By,
        here: Callable[[], Awaitable[TurnListing]],
        arguments: dict[str, JsonValue],
        *,
        id: str | None = None,
    ) -> TurnListing:
        services = self._system.services
        await services.store.refresh()
        known = await self._view.get(command_id)
        words = {**arguments, "command_id": known.command_id}
        delivery = Delivery(f"turns.{verb}", known.journal, id or services.sources.new_id(), words, Identity.of(by))
        listing = await self._sender.here_or_there(known.journal, here, delivery, TurnListing.model_validate)
        await services.store.refresh()
        return listing

    def _listing(self, summary: TurnSummary) -> TurnListing:
        """Return a turn as its journal has it: what no process runs is not known of an actor that lives elsewhere."""
        listing = super()._listing(summary)
        if listing.status == "interrupted" and not self._sender.mine(summary.journal):
            return TurnListing(summary=summary, status=summary.status)
        return listing


def _shown(shown: Shown | None, distinguished: str | None) -> dict[str, Any]:
    return {"shown": None if shown is None else shown.model_dump(mode="json"), "distinguished": distinguished}
