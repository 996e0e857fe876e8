"""Driving recorded turns once more, to see that the code at hand still does what the journal says.

Nothing is fetched, performed or written (law 5): every step is fed from the journal, and a step that was never
recorded ends the rehearsal of its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.actors.command import encode_reply
from loom.actors.driving import found_in
from loom.actors.recovery import ENDINGS, rehearsal_turn
from loom.actors.system import ActorSystem
from loom.actors.turn import Turn, TurnStopped, enter
from loom.errors import LoomError, NotReplayableError
from loom.journal.entry import Entry, Recorded
from loom.journal.kinds import CommandReceivedEntry, TurnAbandonedEntry, TurnCompletedEntry, TurnFailedEntry
from loom.journal.store import JournalStore

__all__ = ["Rehearsal", "rehearse"]


class Rehearsal(BaseModel):
    """What became of one recorded turn when it was driven again."""

    model_config = ConfigDict(frozen=True)

    journal: str
    command_id: str
    verdict: Literal["same", "diverged", "not_replayable"]
    reason: str | None = None


async def rehearse(store: JournalStore, system: ActorSystem, journal: str) -> AsyncIterator[Rehearsal]:
    """Drive every finished turn of a journal again and yield what became of each, in the order in which they ended."""
    turns: dict[str, list[Recorded]] = {}
    async for recorded in store.read(journal):
        if recorded.command_id is None:
            continue
        if recorded.kind == CommandReceivedEntry.kind:
            turns[recorded.command_id] = [recorded]
        elif recorded.command_id in turns:
            turns[recorded.command_id].append(recorded)
            if recorded.kind in ENDINGS:
                yield await _rehearse(system, journal, turns.pop(recorded.command_id))


async def _rehearse(system: ActorSystem, journal: str, entries: list[Recorded]) -> Rehearsal:
    differences: list[str] = []

    def compare(recorded: Recorded, again: Entry) -> None:
        if recorded.entry != again:
            differences.append(f"sequence {recorded.sequence} ({recorded.kind}) comes out differently")

    command_id = str(entries[0].command_id)
    ending = entries[-1].entry
    if isinstance(ending, TurnAbandonedEntry):
        return Rehearsal(journal=journal, command_id=command_id, verdict="not_replayable", reason="abandoned")
    try:
        turn = await rehearsal_turn(system, journal, entries)
        turn.compare = compare
        said = await _drive(turn)
    except NotReplayableError as error:
        return Rehearsal(journal=journal, command_id=command_id, verdict="not_replayable", reason=error.reason)
    except LoomError as error:
        return Rehearsal(journal=journal, command_id=command_id, verdict="diverged", reason=str(error))
    if turn.script is not None and not turn.script.finished:
        differences.append(f"it never asked for {', '.join(turn.script.expected())}")
    if said != _recorded(ending):
        differences.append(f"it ended with {said!r:.200} instead of {_recorded(ending)!r:.200}")
    reason = "; ".join(differences) or None
    return Rehearsal(
        journal=journal, command_id=command_id, verdict="diverged" if differences else "same", reason=reason
    )


def _recorded(ending: Entry) -> tuple[str, JsonValue]:
    if isinstance(ending, TurnCompletedEntry):
        return "replied", ending.reply
    if isinstance(ending, TurnFailedEntry):
        return "failed", ending.type_name
    return "ended", None


async def _drive(turn: Turn) -> tuple[str, JsonValue]:
    """Run the turn in a task of its own; return how it ended, as its journal would say it."""
    task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(_execute(turn))
    waiting: set[asyncio.Task[Any]] = {task}
    while waiting:
        seen = -1 if turn.script is None else turn.script.progress
        done, waiting = await asyncio.wait(waiting, timeout=turn.host.services.options.divergence_timeout_s)
        if not done and (turn.script is None or turn.script.progress == seen):
            task.cancel()
    try:
        return "replied", encode_reply(turn.command, task.result(), limits=turn.host.services.limits)
    except asyncio.CancelledError:
        return "stalled", None
    except BaseException as error:  # noqa: BLE001 - whatever it raises is how it ended
        stopped = found_in(error, TurnStopped)
        if isinstance(stopped, TurnStopped):
            raise stopped.error from error
        refused = found_in(error, NotReplayableError)
        if isinstance(refused, NotReplayableError):
            raise refused from error
        return "failed", type(error).__name__
    finally:
        turn.close()


async def _execute(turn: Turn) -> Any:
    enter(turn)
    assert turn.actor is not None  # noqa: S101 - a rehearsal has its actor
    return await turn.actor.execute(turn.command)
