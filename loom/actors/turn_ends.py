"""The ends of turns as their journals have them, for those who ask afterwards: a reply, or why there is none."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from pydantic import JsonValue

from loom.actors.command import COMMANDS, present_reply
from loom.actors.protected import check_values
from loom.errors import LoomError
from loom.journal.entry import Recorded
from loom.journal.kinds import (
    ENDINGS,
    CommandReceivedEntry,
    TurnAbandonedEntry,
    TurnCompletedEntry,
    TurnFailedEntry,
)
from loom.journal.store import JournalReader
from loom.sealing import Subjects

__all__ = ["TurnEnd", "end_of"]

EndStatus: TypeAlias = Literal["completed", "failed", "abandoned"]


class TurnEnd(NamedTuple):
    """How a turn ended: with a reply, or with an error and its words."""

    status: EndStatus
    sequence: int
    reply: JsonValue = None
    error_type: str | None = None
    message: str | None = None


async def end_of(
    store: JournalReader, journal: str, command_id: str, *, subjects: Subjects | None = None
) -> TurnEnd | None:
    """Return the end of a turn, None for one without an end.

    Fields of a reply that are sealed stay sealed. A turn that failed and was taken up with success has the reply of
    the attempt. Raises `ErasedError` where a value of the reply is of a subject who was erased.
    """
    found: TurnEnd | None = None
    for mark in await store.marks([(journal, command_id)]):
        if mark.kind not in ENDINGS:
            continue
        entry = mark.entry
        if isinstance(entry, TurnCompletedEntry):
            if entry.attempt is not None:
                return await end_of(store, journal, entry.attempt, subjects=subjects)
            if subjects is not None:
                check_values(subjects, entry.reply)
            reply = await _in_present_shape(store, mark, entry, command_id)
            found = TurnEnd("completed", mark.sequence, reply=reply)
        elif isinstance(entry, TurnFailedEntry):
            found = TurnEnd("failed", mark.sequence, error_type=entry.type_name, message=entry.message)
        elif isinstance(entry, TurnAbandonedEntry):
            found = TurnEnd(
                "abandoned",
                mark.sequence,
                message=f"turn [{journal}#{command_id}] was abandoned by [{entry.identity}]: {entry.reason}",
            )
        else:
            status: EndStatus = "completed" if mark.kind == TurnCompletedEntry.kind else "failed"
            status = "abandoned" if mark.kind == TurnAbandonedEntry.kind else status
            found = TurnEnd(status, mark.sequence, message="the end of this turn was erased, and its reply with it")
    return found


async def _in_present_shape(
    store: JournalReader, mark: Recorded, entry: TurnCompletedEntry, command_id: str
) -> JsonValue:
    """Return the reply in the shape that the code at hand gives it; as it was journaled where there is no such code."""
    received = await store.find_command(mark.journal, command_id)
    if received is None or not isinstance(received.entry, CommandReceivedEntry):
        return entry.reply
    try:
        cls = COMMANDS.class_of(received.entry.command_type)
        return present_reply(cls, entry.reply, version=entry.reply_version)
    except LoomError:
        return entry.reply
