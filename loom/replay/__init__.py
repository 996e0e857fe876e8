"""What was, again: states out of journals, and recorded turns driven once more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from loom.actors.system import ActorSystem
from loom.journal.store import JournalStore
from loom.replay.rehearsal import Rehearsal, rehearse
from loom.replay.state import StateAfter, fold_state, fold_states

__all__ = ["Rehearsal", "Replay", "StateAfter"]


class Replay:
    """Reads journals and runs recorded turns again; what it reads stays as it was, bytes and hashes (law 5)."""

    def __init__(self, store: JournalStore, system: ActorSystem) -> None:
        self._store = store
        self._system = system

    async def state(self, journal: str, *, until: int | None = None) -> Any:
        """Return the state that a journal folds to, after all of it or up to and with sequence `until`."""
        return await fold_state(self._store, self._system, journal, until=until)

    def states(self, journal: str, *, until: int | None = None) -> AsyncIterator[StateAfter]:
        """Yield the state after each entry of a journal."""
        return fold_states(self._store, self._system, journal, until=until)

    def verify(self, journal: str) -> AsyncIterator[Rehearsal]:
        """Drive every finished turn of a journal again and yield whether the code still does what it did."""
        return rehearse(self._store, self._system, journal)
