"""Fold an actor's state from its journal, at any sequence, without running its commands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from loom.actors.checkpoints import Refold
from loom.actors.state import Fold
from loom.actors.system import ActorSystem
from loom.errors import JournalNotFoundError
from loom.journal.entry import Recorded
from loom.journal.store import JournalReader

__all__ = ["StateAfter", "fold_state", "fold_states"]


class StateAfter(NamedTuple):
    """The state right after an entry. It is the live object: copy what you want to keep."""

    recorded: Recorded
    state: Any


async def fold_states(
    store: JournalReader, system: ActorSystem, journal: str, *, until: int | None = None
) -> AsyncIterator[StateAfter]:
    """Yield the state after each entry of a journal, up to and including sequence `until`.

    If bodies were pruned, no state is yielded before the checkpoint that replaces them.
    """
    fold = Fold(system.detached_cell(journal).actor)
    refold = Refold(system.services, fold, journal)
    async for recorded in store.read(journal, until=until):
        await refold.take(recorded)
        if refold.is_whole:
            yield StateAfter(recorded, fold.actor.state)
    if refold.check():
        return
    fold.reset()
    refold = refold.again()
    async for recorded in store.read(journal, until=until):
        await refold.take(recorded)
        yield StateAfter(recorded, fold.actor.state)
    refold.check()


async def fold_state(store: JournalReader, system: ActorSystem, journal: str, *, until: int | None = None) -> Any:
    """Return the state after the whole of a journal, or up to and including sequence `until`."""
    last: StateAfter | None = None
    async for each in fold_states(store, system, journal, until=until):
        last = each
    if last is None:
        raise JournalNotFoundError(f"journal [{journal}] has no entries; expected a journal: see `loom journal`")
    return last.state
