"""Commands over HTTP: sent once for each `Idempotency-Key`, waited for as long as the caller prefers."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Generic, Literal, TypeAlias, TypeVar
from urllib.parse import quote, urlencode

from pydantic import Field, JsonValue

from loom.actors.command import Command
from loom.actors.dispatch import TellReceipt
from loom.actors.turn_ends import TurnEnd, end_of
from loom.background import awaiting
from loom.decisions.approvals import Approval, approvals_of
from loom.errors import (
    ActorFailedError,
    AskTimeoutError,
    TurnAbandonedError,
    TurnInterruptedError,
    TurnNotFoundError,
    TurnStuckError,
)
from loom.identity import Identity, journal_name
from loom.journal.kinds import CommandReceivedEntry
from loom.operations.sending import command_of
from loom.runtime import Loom
from loom.web.api import WORKSPACE
from loom.web.guard import HttpRefusal
from loom.web.shapes import Json, Shape

__all__ = ["TurnAnswer", "location_of", "send", "turn_answer", "wait_s_of"]

R = TypeVar("R")

_WAIT = re.compile(r"\s*wait\s*=\s*\"?([0-9]{1,6})\"?\s*\Z", re.IGNORECASE)

Status: TypeAlias = Literal[
    "received", "running", "parked", "stuck", "interrupted", "waiting_for_code", "completed", "failed", "abandoned"
]


class TurnProblem(Shape):
    """Why a turn has no reply: the name of the error, and its words."""

    type: str
    message: str
    type_name: str | None = None
    """Of a turn that failed: the type of the exception that its actor raised."""


class TurnAnswer(Shape, Generic[R]):
    """A turn: how far it is, its reply once it has one, and what it waits for.

    `completed`, `failed` and `abandoned` are ends. A reply whose fields are sealed is opened only in the answer to the
    key that sent the command.
    """

    journal: str
    command_id: str
    command_type: str
    sequence: int
    """The place of the command in its journal; its `position` is that in the workspace."""
    position: int
    status: Status
    reply: R | None = None
    error: TurnProblem | None = None
    approvals: list[Approval] = Field(default_factory=list)
    """The requests for approval that it waits for."""

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self.status in ("completed", "failed", "abandoned")


def wait_s_of(preferences: list[str], *, most: float) -> float:
    """Return how long a request prefers to wait for the reply (RFC 7240), `most` at the longest; 0 without a wish."""
    for preference in ",".join(preferences).split(","):
        if (found := _WAIT.match(preference.partition(";")[0])) is not None:
            return min(float(found[1]), most)
    return 0.0


def location_of(workspace: str, journal: str, command_id: str) -> str:
    """Return the path at which a turn is found."""
    return f"/api/turns/{quote(command_id, safe='')}?{urlencode({'journal': journal, WORKSPACE: workspace})}"


async def send(
    loom: Loom,
    *,
    actor_type: str,
    key: str,
    command_type: str,
    payload: Json,
    id: str | None,
    by: Identity,
    wait_s: float,
    ending: asyncio.Event,
) -> TurnAnswer[Any]:
    """Send a command, and return its turn: once it is durable, or has ended within `wait_s`.

    The same id with the same contents is the same turn. A wait that the server's end cuts short has the turn as it is.
    """
    if not loom.actors.knows(actor_type):
        raise HttpRefusal(
            404, "unknown_actor", f"no actor type [{actor_type:.80}] takes commands here; see /openapi.json"
        )
    cls = loom.actors.classes.get(actor_type)
    command = command_of(cls, command_type, payload)
    journal = journal_name(cls.actor_type, key)
    receipt = await loom.actors.messenger.tell(cls, key, command, command_id=id, by=by)
    if wait_s > 0 and not command.is_message:
        asking = loom.actors.messenger.ask(cls, key, command, command_id=receipt.command_id, by=by, timeout_s=wait_s)
        async with awaiting(asking) as asked, awaiting(_set(ending)) as ends:
            await asyncio.wait({asked, ends}, return_when=asyncio.FIRST_COMPLETED)
            if asked.done() and (said := _said(asked, command, receipt)) is not None:
                return said
    return await turn_answer(loom, receipt.command_id, journal=journal)


async def turn_answer(loom: Loom, command_id: str, *, journal: str | None = None) -> TurnAnswer[Any]:
    """Return a turn as it is now; the id may be the beginning of one. Raises `TurnNotFoundError`."""
    found: TurnAnswer[Any] | None = None
    if journal is not None:
        found = await _as_journaled(loom, journal, command_id)
    if found is not None:
        return found
    listing = await loom.turns.get(command_id, journal=journal)
    summary = listing.summary
    place = TellReceipt(summary.journal, summary.command_id, summary.received_sequence, summary.received_position)
    end = await end_of(loom.store, summary.journal, summary.command_id, subjects=loom.subjects)
    if end is not None:
        return _ended(place, str(summary.command_type), end)
    problem = None if listing.why is None else TurnProblem(type=listing.status, message=listing.why)
    if (stuck := loom.actors.stuck(summary.journal, summary.command_id)) is not None:
        problem = TurnProblem(type=type(stuck).__name__, message=str(stuck))
    return TurnAnswer(
        **place._asdict(),
        command_type=str(summary.command_type),
        status=listing.status,
        error=problem,
        approvals=await _asked(loom, summary.journal, summary.command_id),
    )


async def _as_journaled(loom: Loom, journal: str, command_id: str) -> TurnAnswer[Any] | None:
    """Return a turn that has ended or runs here, without a view; None for any other."""
    received = await loom.store.find_command(journal, command_id)
    if received is None:
        return None
    entry, place = received.entry, TellReceipt(journal, command_id, received.sequence, received.position)
    command_type = entry.command_type if isinstance(entry, CommandReceivedEntry) else ""
    end = await end_of(loom.store, journal, command_id, subjects=loom.subjects)
    if end is not None:
        return _ended(place, command_type, end)
    turn = loom.actors.running(journal, command_id)
    if turn is None:
        return None
    return TurnAnswer(
        **place._asdict(),
        command_type=command_type,
        status="parked" if turn.parked else "running",
        approvals=await _asked(loom, journal, command_id),
    )


async def _asked(loom: Loom, journal: str, command_id: str) -> list[Approval]:
    return [each for each in approvals_of(await loom.store.marks([(journal, command_id)])) if each.pending]


def _ended(place: TellReceipt, command_type: str, end: TurnEnd) -> TurnAnswer[Any]:
    problem = None
    if end.status != "completed" or end.message is not None:
        named = {"failed": ActorFailedError, "abandoned": TurnAbandonedError}.get(end.status, TurnNotFoundError)
        problem = TurnProblem(type=named.__name__, message=str(end.message), type_name=end.error_type)
    return TurnAnswer(
        **place._asdict(),
        command_type=command_type,
        status=end.status,
        reply=end.reply,
        error=problem,
    )


def _said(asked: asyncio.Task[JsonValue], command: Command[Any], place: TellReceipt) -> TurnAnswer[Any] | None:
    """Return the end that an asker got; None where the turn has to be looked at. Other errors are raised."""
    error = asked.exception()
    if error is None:
        return TurnAnswer(
            **place._asdict(),
            command_type=command.command_type,
            status="completed",
            reply=asked.result(),
        )
    if isinstance(
        error, AskTimeoutError | ActorFailedError | TurnAbandonedError | TurnStuckError | TurnInterruptedError
    ):
        return None
    raise error


async def _set(event: asyncio.Event) -> None:
    await event.wait()
