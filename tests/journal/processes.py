"""A store as two processes see it: one SQLite store, and for each process what that process knows of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any

from loom.journal import Append, Head, Receipt, Recorded
from loom.journal.sqlite import SqliteStore
from loom.journal.store import Submitted


class Node:
    """What one process has of a store that others write too. `learn` tells it what they have committed."""

    shared = True

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._callbacks: list[Callable[[int], None]] = []
        self.looks = 0
        self.before_append: list[Callable[[], Any]] = []
        """What other processes do right before the next appends of this one, each once."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def read(self, journal: str, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        return self._store.read(journal, after=after, until=until)

    def submit(self, append: Append) -> Submitted:
        return self._store.submit(append)

    async def append(self, append: Append) -> Receipt:
        if self.before_append:
            await self.before_append.pop(0)()
        return await self._store.append(append)

    async def head(self, journal: str) -> Head:
        return await self._store.head(journal)

    def on_commit(self, callback: Callable[[int], None]) -> None:
        self._callbacks.append(callback)

    def learn(self) -> None:
        """Hear of everything that is committed by now."""
        for callback in self._callbacks:
            callback(self._store.acknowledged)

    async def heads(self, journals: Collection[str]) -> Mapping[str, int]:
        self.looks += 1
        return {name: (await self._store.head(name)).sequence for name in journals}
