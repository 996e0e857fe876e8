"""A journal that one object folds into memory and appends to: the base of registries.

Several processes may have such an object for one journal, where the store is shared: each folds what the others append
(`following`), and one that loses a race for an append makes its entry again, from what was appended first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from loom.background import finished
from loom.errors import JournalReadOnlyError
from loom.journal.appending import Prepared, append_prepared
from loom.journal.entry import Entry, Recorded
from loom.journal.following import followers_of
from loom.journal.store import Draft, JournalReader, draft, writes

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
        controls: bool = False,
        followed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Take what folds an entry.

        `controls` says that it decides who or what may act: decisions then name how far it was folded. `followed` is
        called in the background after entries of another process were folded.
        """
        self._store = store
        self._name = name
        self._fold = fold
        self._draft = make_draft
        self.controls = controls
        self.followed = followed
        self._followers = followers_of(store)
        self._lock = asyncio.Lock()
        self._sequence = 0

    @property
    def name(self) -> str:
        """The name of the journal."""
        return self._name

    @property
    def sequence(self) -> int:
        """The last entry that was folded; 0 where there was none."""
        return self._sequence

    @property
    def writable(self) -> bool:
        """Whether entries can be appended."""
        return writes(self._store)

    async def load(self) -> None:
        """Fold the entries that were appended since the last call, each once, also if calls overlap.

        From the first call on, a shared store has it followed.
        """
        if self._followers is not None:
            self._followers.add(self)
        async for recorded in self._store.read(self._name, after=self._sequence):
            if recorded.sequence > self._sequence:
                self._fold(recorded)
                self._sequence = recorded.sequence

    async def append_if_missing(self, make: Callable[[], Entry | None]) -> None:
        """Append the entry that `make` returns, and fold it; None means that nothing is missing.

        Concurrent calls run one after the other, so `make` sees the entry of the call before. Where another process
        has appended meanwhile, its entry is folded and `make` is called again. The call runs to its end even if its
        caller is cancelled.
        """

        async def one_at_a_time() -> None:
            async with self._lock:
                await self._append(make)

        await finished(one_at_a_time())

    async def _append(self, make: Callable[[], Entry | None]) -> None:
        async def prepare() -> Prepared | None:
            await self.load()
            entry = make()
            return None if entry is None else Prepared(self._sequence, (self._draft(entry),))

        store = self._store
        if writes(store):
            if await append_prepared(store, self._name, prepare) is not None:
                await self.load()
        elif await prepare() is not None:
            raise JournalReadOnlyError(
                f"journal [{self._name}] is open for reading; expected a store: open the workspace as a loom"
            )
