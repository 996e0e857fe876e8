"""The verb `wait_for`: waits for a message to the actor, of one type, from outside or from another actor."""

from __future__ import annotations

import json
from typing import TypeVar

from loom.actors.command import Message
from loom.actors.protected import declared_of, opened_payload
from loom.actors.turn import Turn
from loom.actors.verbs.shared import expect
from loom.actors.verbs.wait import ends_at, wait_out
from loom.actors.wait_entries import WaitBegunEntry, WaitEndedEntry
from loom.clock import instant
from loom.errors import AdmissionError
from loom.journal.kinds import CommandReceivedEntry
from loom.spans import span

__all__ = ["wait_for"]

M = TypeVar("M", bound=Message)


async def wait_for(turn: Turn, message: type[M], *, timeout_s: float | None, key: str | None) -> M | None:
    """See `WaitingVerbs.wait_for`."""
    if not _is_type_of_message(message):
        raise AdmissionError(
            f"wait_for got [{message!r:.80}]; expected a subclass of Message: name the type to wait for"
        )
    asked = instant(turn.services.sources.clock)
    until = ends_at(asked, timeout_s, None, what="timeout_s")
    with turn.step("wait_for", key or message.command_type) as step:
        begun = WaitBegunEntry(step=step, what="message", until=until, message=message.command_type)
        ready = turn.draft(begun)
        recorded = await turn.take(step, "begin")
        if recorded is None:
            if until is not None:
                turn.services.timer.set((turn.host.journal, turn.command_id), step, until, at=asked)
            turn.write(ready)
            turn.host.inbox.wait(turn.command_id, step, message.command_type, turn.policy.hash_bytes)
        else:
            before = expect(recorded.entry, WaitBegunEntry, turn)
            if turn.compare is not None:
                turn.compare(recorded, begun.model_copy(update={"until": before.until}))
        with span("loom.wait_for", {"loom.message": message.command_type}):
            await wait_out(turn, step)
        ended = await turn.parking.wait_for(step)
        assert isinstance(ended, WaitEndedEntry)  # noqa: S101 - what ends the wait for a message is journaled
        return None if ended.message_id is None else await _message(turn, message, ended.message_id)


def _is_type_of_message(given: object) -> bool:
    return isinstance(given, type) and issubclass(given, Message) and given is not Message


async def _message(turn: Turn, cls: type[M], message_id: str) -> M:
    """Return a message as it was journaled, opened; one with a value that is gone stops the turn."""
    await turn.durable()  # what was sent a moment ago may not be in the journal yet
    received = await turn.services.store.find_command(turn.host.journal, message_id)
    if received is None or received.body is None:
        raise turn.halt(turn.not_resumable("erased"))
    entry = expect(received.entry, CommandReceivedEntry, turn)
    payload, lost = await opened_payload(turn.services.vault, entry, (cls,))
    if lost is not None:
        raise turn.halt(turn.gone(lost))
    found = cls.model_validate_json(json.dumps(payload))
    if declared_of(cls):
        turn.protected.add_model(found, subject=entry.subject)
    return found
