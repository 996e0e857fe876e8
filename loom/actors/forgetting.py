"""Actors during the erasure of a subject: its turns end, and states in memory and snapshots are discarded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

from loom.actors.cell import Cell
from loom.actors.failures import construction_failed
from loom.actors.protected import check_not_erased
from loom.actors.rebuilding import rebuild
from loom.actors.system import ActorSystem
from loom.actors.turn import Turn
from loom.errors import ActorStoppedError, ErasedError, TurnInterruptedError
from loom.journal.kinds import CommandReceivedEntry
from loom.sealing import Subjects
from loom.sealing.concerning import sealed_values

__all__ = ["forget_erased", "let_go_of_state"]


def forget_erased(actors: ActorSystem, subjects: Subjects) -> None:
    """Ends the turns of erased subjects, as failed, and has actors discard what they hold of these subjects."""
    subjects.add(forget=partial(_forget, actors, subjects))


async def _forget(actors: ActorSystem, subjects: Subjects, subject: str) -> None:
    """Stop the turns, and wait for a while until their ends are journaled; their code can write nothing more."""
    await actors.woken()  # reads from here on see the values as erased
    stopped = set(_stopped(actors.cells(), subjects, subject)) - {asyncio.current_task()}
    if stopped:
        await asyncio.wait(stopped, timeout=actors.services.options.shutdown_grace_s)
    for cell in actors.cells():
        if subject in cell.state.subjects:
            await let_go_of_state(actors, cell)
    if actors.services.snapshots is not None:
        await actors.services.snapshots.forget(subject)


def _stopped(cells: Iterable[Cell], subjects: Subjects, subject: str) -> Iterable[asyncio.Task[None]]:
    for cell in cells:
        for turn in list(cell.turns.values()):
            if turn.closed or not _concerns(turn, subjects, subject):
                continue
            turn.stop(turn.erased(subject))
            if turn.task is not None:
                yield turn.task


def _concerns(turn: Turn, subjects: Subjects, subject: str) -> bool:
    """Tell whether a turn has values of an erased subject, from its command or from its steps."""
    try:
        check_not_erased(subjects, turn.received)
    except ErasedError:
        return True
    if subject not in {turn.received.subject, *turn.protected.subjects}:
        return False
    return subject not in _sealed_for(turn.received)  # else its keys are of a later generation


def _sealed_for(received: CommandReceivedEntry) -> set[str]:
    return {sealed.subject for sealed in sealed_values(received.payload)}


async def let_go_of_state(actors: ActorSystem, cell: Cell) -> None:
    """Have an actor discard its state: an idle one wakes again for its next command, another folds it again."""
    if cell.idle:
        actors.let_go(cell)
    elif any(_has_own_state(cell, turn) for turn in cell.turns.values()):
        cell.invalidate(
            TurnInterruptedError(
                f"actor [{cell.journal}] was discarded, as its state may have held values of an erased subject; "
                "expected a state without them: wait, as its turns continue by themselves"
            )
        )
    else:
        try:
            await rebuild(cell, folded=cell.state.sequence)
        except Exception as error:  # mostly of its `apply`, which is user code: the erasure continues
            stopped = error if isinstance(error, ActorStoppedError) else construction_failed(cell.journal, error)
            actors.stop_actor(cell, stopped)


def _has_own_state(cell: Cell, turn: Turn) -> bool:
    """Tell whether a resumed turn still has a state of its own that was folded before the erasure."""
    return turn.actor is not None and turn.actor._state_ref is not cell.state_ref
