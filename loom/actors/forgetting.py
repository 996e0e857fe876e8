"""Turns that are under way while a subject of theirs is erased: they end, as what they work on is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

from loom.actors.cell import Cell
from loom.actors.protected import check_not_erased
from loom.actors.system import ActorSystem
from loom.errors import ErasedError
from loom.sealing import Subjects

__all__ = ["end_turns_of_erased"]


def end_turns_of_erased(actors: ActorSystem, subjects: Subjects) -> None:
    """Have every turn end, as failed, whose command has something sealed for a subject that is erased."""
    subjects.add(forget=partial(_forget, actors, subjects))


async def _forget(actors: ActorSystem, subjects: Subjects, _: str) -> None:
    """Stop them, and wait for a while until their ends are journaled; whatever their code does, it writes no more."""
    stopped = set(_stopped(actors.cells(), subjects)) - {asyncio.current_task()}
    if stopped:
        await asyncio.wait(stopped, timeout=actors.services.options.shutdown_grace_s)


def _stopped(cells: Iterable[Cell], subjects: Subjects) -> Iterable[asyncio.Task[None]]:
    for cell in cells:
        for turn in list(cell.turns.values()):
            try:
                check_not_erased(subjects, turn.received)
            except ErasedError:
                if turn.closed:
                    continue
                turn.stop(turn.not_resumable("erased"))
                if turn.task is not None:
                    yield turn.task
