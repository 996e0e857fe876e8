"""Verify recorded turns: drive them again, to check that the present code still does what the journal says.

Nothing is fetched, performed or written (law 5): every step gets its result from the journal, and a step that was never
recorded ends the verification of its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.actors.command import present_reply
from loom.actors.keeping import hold_keys_of_command
from loom.actors.protected_replies import encoded_reply, gone_in_reply, protected_reply
from loom.actors.recovery import replayed_turn
from loom.actors.stalling import Stall
from loom.actors.system import ActorSystem
from loom.actors.turn import Turn
from loom.actors.turn_context import enter
from loom.actors.verbs.shared import failure_of
from loom.errors import DivergenceError, LoomError, NotReplayableError, UnknownActorError
from loom.identity import parse_journal_name
from loom.journal.entry import Entry, PersonEntry, Recorded
from loom.journal.kinds import ENDINGS, CommandReceivedEntry, TurnAbandonedEntry, TurnCompletedEntry, TurnFailedEntry
from loom.journal.store import JournalReader

__all__ = ["TurnVerification", "drive", "execute", "has_turn", "verify_turn", "verify_turns"]

_LAST_WORDS_S = 1.0


class TurnVerification(BaseModel):
    """The result of driving one recorded turn again."""

    model_config = ConfigDict(frozen=True)

    journal: str
    command_id: str
    verdict: Literal["same", "diverged", "not_replayable"]
    reason: str | None = None


async def verify_turns(store: JournalReader, system: ActorSystem, journal: str) -> AsyncIterator[TurnVerification]:
    """Drive every finished turn of a journal again and yield the result of each, in the order in which they ended."""
    turns: dict[str, list[Recorded]] = {}
    async for recorded in store.read(journal):
        if recorded.command_id is None:
            continue
        if recorded.kind == CommandReceivedEntry.kind:
            turns[recorded.command_id] = [recorded]
        elif recorded.command_id in turns:
            turns[recorded.command_id].append(recorded)
            if recorded.kind in ENDINGS:
                entries = turns.pop(recorded.command_id)
                if has_turn(system, entries[0]):
                    yield await verify_turn(system, journal, entries)


def has_turn(system: ActorSystem, received: Recorded) -> bool:
    """Tell whether code ran for a command: for a message none did, and there is nothing to drive again."""
    entry, actor_type = received.entry, parse_journal_name(received.journal).actor_type
    if not isinstance(entry, CommandReceivedEntry) or not system.knows(actor_type):
        return True
    return not system.keeps(actor_type, entry.command_type)


async def verify_turn(system: ActorSystem, journal: str, entries: list[Recorded]) -> TurnVerification:
    """Drive one finished turn again, and return the result."""
    differences: list[str] = []

    def compare(recorded: Recorded, again: Entry) -> None:
        before, after = recorded.entry, type(again).model_validate_json(again.model_dump_json())
        if isinstance(before, PersonEntry) and before.identity_source is None:  # written before sources were kept
            after = after.model_copy(update={"identity_source": None, "via": None})
        if before != after:
            differences.append(f"sequence [{recorded.sequence}] ({recorded.kind}) is different")

    command_id = str(entries[0].command_id)
    ending = entries[-1].entry
    try:
        if (reason := _not_replayable(ending)) is not None:
            return TurnVerification(journal=journal, command_id=command_id, verdict="not_replayable", reason=reason)
        if (reason := _gone(system, entries[0].entry, ending)) is not None:
            return TurnVerification(journal=journal, command_id=command_id, verdict="not_replayable", reason=reason)
        turn = await replayed_turn(system.detached_cell(journal), entries, compare=compare)
        ended = await _driven(turn)
    except NotReplayableError as error:
        return TurnVerification(journal=journal, command_id=command_id, verdict="not_replayable", reason=error.reason)
    except UnknownActorError:
        return TurnVerification(journal=journal, command_id=command_id, verdict="not_replayable", reason="no_code")
    except DivergenceError as error:
        expected = next(iter(error.expected), "its end")
        reason = f"it asked for [{', '.join(error.found)}] where [{expected}] comes next"
        return TurnVerification(journal=journal, command_id=command_id, verdict="diverged", reason=reason)
    except LoomError as error:
        return TurnVerification(journal=journal, command_id=command_id, verdict="diverged", reason=str(error))
    if turn.recorded_steps is not None and not turn.recorded_steps.finished:
        differences.append(f"it never asked for [{', '.join(turn.recorded_steps.expected())}]")
    if ended != (recorded_end := _recorded(ending, turn)):
        differences.append(f"it ended with [{ended!r:.200}] instead of [{recorded_end!r:.200}]")
    if differences and turn.saw_erased:  # its code may have used a value that is erased now
        return TurnVerification(journal=journal, command_id=command_id, verdict="not_replayable", reason="erased")
    reason = "; ".join(differences) or None
    return TurnVerification(
        journal=journal, command_id=command_id, verdict="diverged" if differences else "same", reason=reason
    )


async def _driven(turn: Turn) -> tuple[str, JsonValue]:
    """Drive a turn and return how it ended, as its journal would record it, with a protected reply."""
    try:
        ending, reply = await drive(turn)
    except DivergenceError as error:
        if turn.saw_erased:
            raise turn.gone("erased") from error
        raise
    if ending != "replied":
        return ending, reply
    kept = await protected_reply(
        turn.services,
        turn.command,
        reply,
        journal=turn.host.journal,
        command_id=turn.command_id,
        subject=turn.received.subject,
    )
    return ending, kept


def _not_replayable(ending: Entry) -> str | None:
    """Return why a turn with this ending cannot be driven again, or None: its code did not run to its own end."""
    if isinstance(ending, TurnAbandonedEntry):
        return "abandoned"
    if isinstance(ending, TurnFailedEntry) and ending.reason != "raised":
        return ending.reason
    return None


def _gone(system: ActorSystem, received: Entry, ending: Entry) -> str | None:
    """Return why a reply cannot be compared, or None: it was erased, or it is sealed and there is no key here."""
    if not isinstance(ending, TurnCompletedEntry) or not isinstance(received, CommandReceivedEntry):
        return None
    return gone_in_reply(system.services.vault, received.command_type, ending.reply, also_withheld=False)


def _recorded(ending: Entry, turn: Turn) -> tuple[str, JsonValue]:
    if isinstance(ending, TurnCompletedEntry):
        return "replied", present_reply(type(turn.command), ending.reply, version=ending.reply_version)
    if isinstance(ending, TurnFailedEntry):
        return "failed", ending.type_name
    return "ended", None


async def drive(turn: Turn) -> tuple[str, JsonValue]:
    """Run the turn in a task of its own; return how it ended, as its journal would record it."""
    task: asyncio.Task[Any] = turn.host.spawn(execute(turn))
    turn.task = task
    try:
        await _watched(turn, task)
    finally:
        turn.close()
        task.cancel()
    if turn.stopped is not None:
        raise turn.stopped
    try:
        return "replied", encoded_reply(turn.command, task.result(), limits=turn.services.limits).value
    except NotReplayableError:  # the code raised it: a value that it needs is erased
        raise
    except BaseException as error:
        return "failed", failure_of(error).type_name


async def _watched(turn: Turn, task: asyncio.Task[Any]) -> None:
    """Wait for the end of a turn; stop it if it makes no progress."""
    assert turn.recorded_steps is not None  # noqa: S101 - a replayed turn has recorded steps
    stall = Stall(turn, turn.recorded_steps, turn.services.options.divergence_timeout_s, looks=1)
    while not task.done():
        error = stall.look()
        if error is not None:
            turn.stop(error)
            await asyncio.wait([task], timeout=_LAST_WORDS_S)
            return
        await asyncio.wait([task], timeout=stall.delay_s)


async def execute(turn: Turn) -> Any:
    """Run the code of a replayed turn, as the task of the turn."""
    enter(turn)
    turn.check_open()
    assert turn.actor is not None  # noqa: S101 - a replayed turn has its actor
    if type(turn.command).subject_field is not None:
        await hold_keys_of_command(turn)
    return await turn.actor.execute(turn.command)
