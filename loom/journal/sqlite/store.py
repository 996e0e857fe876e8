"""The SQLite journal store: group commit through one writer thread, streaming reads beside it.

All appends that wait together go into one transaction and one thread hop. Callers wait on futures that nobody else can
cancel, so a caller that gives up never touches the transaction (reliability: C1).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from loom.clock import Clock, SystemClock
from loom.errors import AppendUnknownError, JournalBusyError, JournalClosedError, LoomError
from loom.journal.entry import Recorded
from loom.journal.sqlite.files import JournalFiles, WriterLock, check_filesystem
from loom.journal.sqlite.reader import Reader
from loom.journal.sqlite.writer import Outcome, Writer, WriterOptions
from loom.journal.store import Append, Head, Receipt
from loom.telemetry import get_logger

__all__ = ["SqliteOptions", "SqliteStore"]

T = TypeVar("T")

_log = get_logger("loom.journal")


@dataclass(frozen=True, slots=True)
class SqliteOptions:
    """What a store may be told beside where it lies; the defaults keep every promise."""

    writer: WriterOptions = WriterOptions()
    max_pending_entries: int = 10_000
    max_batch_entries: int = 1_000
    page: int = 1_000
    allow_unsupported_filesystem: bool = False


class SqliteStore:
    """A `JournalStore` in one SQLite file. Make it with `SqliteStore.open`; close it when done."""

    def __init__(self, files: JournalFiles, *, workspace: str, options: SqliteOptions, clock: Clock) -> None:
        self.files = files
        self.lock = WriterLock(files.lock)
        self._workspace = workspace
        self._options = options
        self._writer = Writer(files, workspace=workspace, options=options.writer, clock=clock)
        self._reader = Reader(files.journal, page=options.page, busy_timeout_s=options.writer.busy_timeout_s)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loom-journal")
        self._loop = asyncio.get_running_loop()
        self._pending: list[tuple[Append, asyncio.Future[Receipt]]] = []
        self._pending_entries = 0
        self._in_flight = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._roomy = asyncio.Event()
        self._roomy.set()
        self._callbacks: list[Callable[[int], None]] = []
        self._acknowledged = 0
        self._recorded_at_us = 0
        self._closed: LoomError | None = None

    @classmethod
    async def open(
        cls, path: Path, *, workspace: str = "default", options: SqliteOptions | None = None, clock: Clock | None = None
    ) -> SqliteStore:
        """Open a journal file for writing, creating it if need be, as the one process that may write it.

        Raises `JournalLockedError` where another process does, `JournalForeignError`, `JournalFormatError` or
        `JournalCorruptError` where the file is not a sound journal of this workspace and format.
        """
        options = options or SqliteOptions()
        files = JournalFiles(path)
        files.prepare()
        warning = check_filesystem(files.journal, allowed=options.allow_unsupported_filesystem)
        if warning:
            _log.warning("filesystem_suspect", detail=warning)
        store = cls(files, workspace=workspace, options=options, clock=clock or SystemClock())
        store.lock.acquire()
        try:
            tail = await store._in_thread(store._writer.open)
        except BaseException:
            store._executor.shutdown(wait=True)
            store.lock.release()
            raise
        store._acknowledged = tail.position
        store._recorded_at_us = tail.recorded_at_us
        _poison_after_fork(store)
        return store

    @property
    def workspace(self) -> str:
        """The workspace whose journals these are."""
        return self._workspace

    @property
    def acknowledged(self) -> int:
        """The position up to which everything is known to be durable."""
        return self._acknowledged

    @property
    def recorded_at_us(self) -> int:
        """The time of the last entry known to be durable; time does not go back behind it."""
        return self._recorded_at_us

    # --- appending ------------------------------------------------------------------------------

    def submit(self, append: Append) -> asyncio.Future[Receipt]:
        """Put an append in line and return its outcome to come; the order of calls is the order of entries."""
        if self._closed is not None:
            raise self._closed
        future: asyncio.Future[Receipt] = self._loop.create_future()
        count = len(append.drafts)
        if self._pending_entries + count > self._options.max_pending_entries:
            raise JournalBusyError(
                f"[{self._pending_entries}] entries wait to be written; expected room for [{count}] within "
                f"[{self._options.max_pending_entries}]: slow down, or await room() before each command"
            )
        self._pending.append((append, future))
        self._pending_entries += count
        if self._pending_entries * 2 > self._options.max_pending_entries:
            self._roomy.clear()
        if self._idle.is_set():
            self._idle.clear()
            self._loop.call_soon(self._pump)
        return future

    async def append(self, append: Append) -> Receipt:
        """Append and wait until it is durable. Cancelling the wait does not touch the append."""
        return await asyncio.shield(self.submit(append))

    async def room(self) -> None:
        """Wait while the queue of the writer is over half full: how a fast producer is slowed down."""
        if not self._roomy.is_set():
            await self._roomy.wait()

    async def resolve(self, unknown: AppendUnknownError) -> Receipt | None:
        """Say for certain what became of an append: its receipt, or None if nothing was appended."""
        return await self._in_thread(lambda: self._writer.resolve(unknown))

    def _pump(self) -> None:
        """Hand the next batch to the writer's thread; called on the event loop, when no batch is in flight."""
        if self._in_flight:
            return
        if not self._pending:
            self._idle.set()
            return
        batch, self._pending = _split(self._pending, self._options.max_batch_entries)
        self._in_flight = True
        appends = [append for append, _ in batch]
        work = self._loop.run_in_executor(self._executor, self._writer.commit, appends)
        work.add_done_callback(lambda done: self._landed(batch, done))

    def _landed(
        self, batch: list[tuple[Append, asyncio.Future[Receipt]]], done: asyncio.Future[list[Outcome]]
    ) -> None:
        """Start the next batch first, then tell the callers of this one."""
        self._in_flight = False
        self._pending_entries -= sum(len(append.drafts) for append, _ in batch)
        if self._pending_entries * 2 <= self._options.max_pending_entries:
            self._roomy.set()
        self._pump()
        error = done.exception()
        if error is not None:  # a defect in the writer: nobody knows what it did
            _log.error("writer_failed", error=repr(error))
            self._closed = JournalClosedError(f"the writer of [{self.files.journal}] failed [{error!r}]: open it again")
        position = self._acknowledged
        for (_, future), outcome in zip(batch, done.result() if error is None else [self._closed] * len(batch), strict=True):
            if isinstance(outcome, Receipt):
                position = max(position, outcome.position)
                self._recorded_at_us = max(self._recorded_at_us, outcome.recorded_at_us)
            if future.done():
                continue
            if isinstance(outcome, Receipt):
                future.set_result(outcome)
            else:
                assert outcome is not None
                future.set_exception(outcome)
                future.exception()  # a pipelined append may have nobody waiting; its turn learns of it at the barrier
        if position > self._acknowledged:
            self._acknowledged = position
            for callback in self._callbacks:
                callback(position)

    # --- reading --------------------------------------------------------------------------------

    async def head(self, journal: str) -> Head:
        """Return the head of a journal as far as it is durable."""
        return await self._in_thread(lambda: self._writer.head(journal))

    async def find_command(self, journal: str, command_id: str) -> Recorded | None:
        """Return the `CommandReceivedEntry` of a command, or None."""
        return await self._reader.find_command(journal, command_id)

    async def find_turn(self, journal: str, command_id: str) -> list[Recorded]:
        """Return all entries of one turn, in order."""
        return [recorded async for recorded in self._reader.read(journal) if recorded.command_id == command_id]

    def read(self, journal: str, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream a journal by sequence: those after `after`, up to and with `until`, page by page."""
        return self._reader.read(journal, after=after, until=until)

    def read_all(self, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream the workspace by position: those after `after`, up to and with `until`, page by page."""
        return self._reader.read_all(after=after, until=until)

    async def journals(self, *, after: str = "", limit: int = 1000) -> list[tuple[str, int]]:
        """Return names and last sequences of journals by name, those after `after`."""
        return await self._reader.journals(after=after, limit=limit)

    def on_commit(self, callback: Callable[[int], None]) -> None:
        """Have `callback` called on the event loop with each new acknowledged position."""
        self._callbacks.append(callback)

    # --- the end --------------------------------------------------------------------------------

    async def close(self) -> None:
        """Write what is in line, then close. Closing twice is harmless."""
        if isinstance(self._closed, JournalClosedError) and self._executor._shutdown:
            return
        self._closed = JournalClosedError(f"journal [{self.files.journal}] is closed; expected an open one: open it again")
        await self._idle.wait()
        await self._reader.close()
        with contextlib.suppress(LoomError):
            await self._in_thread(self._writer.close)
        self._executor.shutdown(wait=True)
        self.lock.release()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run in the writer's thread, after what is in line there; a cancelled wait leaves the work to finish."""
        return await asyncio.shield(self._loop.run_in_executor(self._executor, work))

    def _poison(self) -> None:
        """In a forked child: a connection that was carried over a fork would corrupt the database (reliability: D4)."""
        self._closed = JournalClosedError(
            f"journal [{self.files.journal}] was opened by the parent of this forked process; expected one's own: "
            "open it after the fork, or start the process with spawn"
        )
        self.lock.forget()


_open_stores: weakref.WeakSet[SqliteStore] = weakref.WeakSet()


def _poison_after_fork(store: SqliteStore) -> None:
    _open_stores.add(store)


def _poison_all() -> None:
    for store in list(_open_stores):
        store._poison()


os.register_at_fork(after_in_child=_poison_all)


def _split(
    pending: list[tuple[Append, asyncio.Future[Receipt]]], limit: int
) -> tuple[list[tuple[Append, asyncio.Future[Receipt]]], list[tuple[Append, asyncio.Future[Receipt]]]]:
    """Take whole appends from the front, at least one, as long as they have no more than `limit` entries together."""
    entries = 0
    for index, (append, _) in enumerate(pending):
        entries += len(append.drafts)
        if entries > limit and index:
            return pending[:index], pending[index:]
    return pending, []
