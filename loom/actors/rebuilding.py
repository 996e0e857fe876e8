"""Folds the state of an actor again while it is awake: after a failure, and after an erasure of one of its subjects."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from loom.actors.actor import Actor
from loom.actors.ports import Seen, StateRef
from loom.actors.protected_entries import seen_by_apply
from loom.actors.recovery import recover
from loom.actors.services import Services
from loom.actors.state import Fold
from loom.journal.store import Receipt

__all__ = ["Rebuilt", "rebuild"]


class Rebuilt(Protocol):
    """The actor, while it is awake, whose state is rebuilt."""

    services: Services
    cls: type[Any]
    journal: str
    sequence: int
    state: Fold
    actor: Actor[Any]
    rebuilding: asyncio.Lock
    appended_during_rebuild: list[tuple[int, Seen]] | None

    @property
    def state_ref(self) -> StateRef:
        """The reference to the shared state."""
        ...

    @property
    def written(self) -> asyncio.Future[Receipt] | None:
        """The append that was queued last, if its result is not known yet."""
        ...

    def new_actor(self) -> Actor[Any]:
        """Make an instance of the actor with its own initial state."""
        ...


async def rebuild(cell: Rebuilt, *, folded: int) -> None:
    """Fold the journal again, up to a sequence: the state in memory is uncertain, or must not be kept.

    Entries that are queued in the meantime are noted, and folded after those that are read, so that the new state lacks
    nothing. A running turn continues with the new state.
    """
    async with cell.rebuilding:
        fold = await _rebuilt(cell, folded)
        fold.until(max(folded, cell.state.sequence))
        shared = cell.state_ref
        shared.state = fold.actor.state
        fold.actor._state_ref = shared
        cell.state, cell.actor = fold, fold.actor


async def _rebuilt(cell: Rebuilt, folded: int) -> Fold:
    fold = Fold(cell.new_actor())
    if not fold.wanted:
        return fold
    until, cell.appended_during_rebuild = cell.sequence, []
    try:
        if cell.written is not None:
            await asyncio.wait([cell.written])
        if folded:
            await recover(cell.services, cell.cls, cell.journal, fold, until=folded)
        async for recorded in cell.services.store.read(cell.journal, after=folded, until=until):
            seen = await seen_by_apply(cell.services, recorded)
            fold.feed(recorded.sequence, seen)
        for sequence, seen in cell.appended_during_rebuild:
            fold.feed(sequence, seen)
    finally:
        cell.appended_during_rebuild = None
    return fold
