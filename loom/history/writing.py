"""The second pass of an import: each row is one append, many of them in flight, none of them half."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from loom.errors import AppendUnknownError, SequenceConflictError
from loom.history.checking import Progress
from loom.history.rows import Prepared, Preparer
from loom.history.seen import Seen
from loom.journal.appending import append_last
from loom.journal.entry import Entry
from loom.journal.store import Append, Draft, JournalStore, Receipt

__all__ = ["Writing"]

_IN_FLIGHT = 2_000
_AT_A_TIME = 64


class Writing:
    """Writes the rows that the first pass has found new."""

    def __init__(
        self,
        store: JournalStore,
        preparer: Preparer,
        seen: Seen,
        *,
        run_id: str,
        fresh: bool,
        make_draft: Callable[..., Draft],
    ) -> None:
        self._store = store
        self._preparer = preparer
        self._seen = seen
        self._run_id = run_id
        self._fresh = fresh
        """Whether there was no journal of this type before: then an unknown one is empty, and is not asked for."""
        self._draft = make_draft
        self._flying: deque[tuple[Append, asyncio.Future[Receipt]]] = deque()
        self._lost: list[Append] = []
        """Appends that lost a race: another process imports into the same journals."""
        self.written = 0

    async def write(self, *, total: int, progress: Progress) -> int:
        """Append every new row, wait until all are durable, and return how many there were."""
        try:
            for number, prepared in enumerate(self._seen.new()):
                await self._submit(prepared)
                if number % _AT_A_TIME == 0:
                    await self._store.room()
                    await asyncio.sleep(0)
                    progress(self.written, total)
        finally:
            await self._land(0)
        progress(self.written, total)
        return self.written

    async def _submit(self, prepared: Prepared) -> None:
        journal = prepared.journal
        expected = self._seen.head(journal)
        if expected is None:
            expected = 0 if self._fresh else (await self._store.head(journal)).sequence
        entry: Entry = self._preparer.entry(prepared, run_id=self._run_id)
        ready = self._draft(entry, command_id=prepared.header_id)
        append = Append(journal, expected, (ready,))
        self._flying.append((append, self._store.submit(append)))
        self._seen.set_head(journal, expected + 1)
        self.written += 1
        if len(self._flying) >= _IN_FLIGHT:
            await self._land(_IN_FLIGHT // 2)

    async def _land(self, down_to: int) -> None:
        """Wait until no more than so many appends are in flight; the first that failed is raised once none is."""
        failed: BaseException | None = None
        while len(self._flying) > (0 if failed is not None or self._lost else down_to):
            append, submitted = self._flying.popleft()
            try:
                await asyncio.shield(submitted)
            except AppendUnknownError as unknown:
                if await self._store.resolve(unknown) is None:
                    failed = failed or unknown
            except SequenceConflictError:
                self._lost.append(append)
            except Exception as error:
                failed = failed or error
        if failed is not None:
            self._lost.clear()  # the import is resumed, or abandoned
            raise failed
        await self._again()

    async def _again(self) -> None:
        """Append what lost a race at the end of its journal; nothing is in flight meanwhile.

        A row behind one that lost may be there already: the order of rows in a journal is then not that of the file.
        """
        for lost in self._lost:
            receipt = await append_last(self._store, lost.journal, lost.drafts)
            self._seen.set_head(lost.journal, receipt.sequence)
        self._lost.clear()
