"""A journal that one object folds into memory and appends to: the base of registries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from loom.background import finished
from loom.errors import AppendUnknownError, JournalReadOnlyError
from loom.journal.entry import Entry, Recorded
from loom.journal.store import Append, Draft, JournalReader, JournalWriter, draft

__all__ = ["SingletonJournal"]


class SingletonJournal:
    """The entries of one journal, folded in order by `fold`; missing entries are appended one at a time.

    Over a `JournalReader` that is no store, it is folded and never appended to.
    """

    def __init__(
        self,
        store: JournalReader,
        name: str,
        fold: Callable[[Recorded], None],
        *,
        make_draft: Callable[[Entry], Draft] = draft,
    ) -> None:
        self._store = store
        self._name = name
        self._fold = fold
        self._draft = make_draft
        self._lock = asyncio.Lock()
        self._sequence = 0

    @property
    def writable(self) -> bool:
        """Whether entries can be appended."""
        return isinstance(self._store, JournalWriter)

    async def load(self) -> None:
        """Fold the entries that were appended since the last call, each once, also if calls overlap."""
        async for recorded in self._store.read(self._name, after=self._sequence):
            if recorded.sequence > self._sequence:
                self._fold(recorded)
                self._sequence = recorded.sequence

    async def append_if_missing(self, make: Callable[[], Entry | None]) -> None:
        """Append the entry that `make` returns, and fold it; None means that nothing is missing.

        Concurrent calls run one after the other, so `make` sees the entry of the call before. The call runs to its end
        even if its caller is cancelled.
        """

        async def one_at_a_time() -> None:
            async with self._lock:
                await self.load()
                entry = make()
                if entry is not None:
                    await self._append(entry)
                    await self.load()

        await finished(one_at_a_time())

    async def _append(self, entry: Entry) -> None:
        store = self._store
        if not isinstance(store, JournalWriter):
            raise JournalReadOnlyError(
                f"journal [{self._name}] is open for reading; expected a store: open the workspace as a loom"
            )
        try:
            await store.append(Append(self._name, self._sequence, (self._draft(entry),)))
        except AppendUnknownError as unknown:
            if await store.resolve(unknown) is None:
                raise
