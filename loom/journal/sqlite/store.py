"""The SQLite journal store: group commit through one writer thread, and streaming reads in parallel.

All appends that wait together go into one transaction and one thread hop. Callers wait on futures that no waiter can
cancel, so a caller that gives up never touches the transaction (reliability: C1).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from loom.clock import AHEAD_US, Clock, SystemClock, datetime_from_us
from loom.errors import (
    AppendRefusedError,
    AppendUnknownError,
    JournalClosedError,
    LoomError,
    WriterFencedError,
)
from loom.identity import check_workspace
from loom.journal.fields import PLAIN_SCHEME
from loom.journal.kinds import OWN_IDS
from loom.journal.sqlite import forks
from loom.journal.sqlite.connection import has_own_ids
from loom.journal.sqlite.faults import keeps_no_own_ids, keeps_no_schemes
from loom.journal.sqlite.files import JournalFiles, WriterLock, check_filesystem
from loom.journal.sqlite.options import SqliteOptions
from loom.journal.sqlite.queue import AppendQueue, Waiting
from loom.journal.sqlite.reader import Reader
from loom.journal.sqlite.staging import Outcome, Tail, lost
from loom.journal.sqlite.store_reads import StoreReads
from loom.journal.sqlite.writer import Writer
from loom.journal.store import Append, Draft, Head, Receipt, Submitted, check_name
from loom.telemetry import get_logger

__all__ = ["SqliteOptions", "SqliteStore"]

T = TypeVar("T")

_ROUNDS = 2
"""How often the event loop goes round before an idle writer starts, some microseconds each."""

_log = get_logger(__name__)


class SqliteStore(StoreReads[Reader]):
    """A `JournalStore` in one SQLite file. Make it with `SqliteStore.open`; close it when done."""

    shared: bool = False
    """One process writes a file at a time: its lock sees to that."""

    def __init__(self, files: JournalFiles, *, workspace: str, options: SqliteOptions, clock: Clock) -> None:
        self.files = files
        self.lock = WriterLock(files.lock)
        self._workspace = workspace
        self._clock = clock
        self._writer = Writer(files, workspace=workspace, options=options.writer, clock=clock)
        self._reader = Reader(files.journal, page=options.page, busy_timeout_s=options.writer.busy_timeout_s)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loom-journal")
        self._loop = asyncio.get_running_loop()
        self._queue = AppendQueue(
            max_entries=options.max_pending_entries,
            max_bytes=options.max_pending_bytes,
            max_batch=options.max_batch_entries,
            loop=self._loop,
        )
        self._in_flight = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._callbacks: list[Callable[[int], None]] = []
        self._fenced: LoomError | None = None
        self._on_fenced: list[Callable[[LoomError], None]] = []
        self._acknowledged = 0
        self._recorded_at_us = 0
        self._format = 0
        self._is_old = False
        """Whether the file is of a format that keeps neither own ids nor body schemes."""
        self._closed: str | None = None
        self._closing: asyncio.Task[None] | None = None
        self._released = False

    @classmethod
    async def open(
        cls, path: Path, *, workspace: str = "default", options: SqliteOptions | None = None, clock: Clock | None = None
    ) -> SqliteStore:
        """Open a journal file for writing, creating it if need be, as the one process that may write it.

        Raises `JournalLockedError` where another process does, `JournalForeignError`, `JournalFormatError` or
        `JournalCorruptError` where the file is not a sound journal of this workspace and format.
        """
        options, clock = options or SqliteOptions(), clock or SystemClock()
        store = cls(JournalFiles(path), workspace=check_workspace(workspace), options=options, clock=clock)
        try:
            tail = await store._in_thread(lambda: store._take_over(allow_any=options.allow_unsupported_filesystem))
        except BaseException:  # cancellation too: the thread finishes what it is at, then gives everything back
            store._release()
            raise
        store._acknowledged = tail.position
        store._format = await store._in_thread(lambda: store._writer.format)
        store._is_old = not has_own_ids(store._format)
        store._recorded_at_us = tail.recorded_at_us
        behind_us = tail.recorded_at_us - clock.now_us() if tail.position else 0
        if behind_us > AHEAD_US:
            _log.warning("clock_behind_journal", journal=str(store.files.journal), by_s=behind_us // 1_000_000)
        forks.note(store)
        return store

    @property
    def workspace(self) -> str:
        """The workspace whose journals these are."""
        return self._workspace

    @property
    def writer(self) -> int:
        """The epoch of this process: each that opens the file takes the next one."""
        return self._writer.epoch

    @property
    def acknowledged(self) -> int:
        """The position up to which everything is known to be durable."""
        return self._acknowledged

    @property
    def recorded_at_us(self) -> int:
        """The time of the last entry known to be durable; time does not go back behind it."""
        return self._recorded_at_us

    def now(self) -> datetime:
        """Return the time by the clock that entries are stamped with, never earlier than the last entry."""
        return datetime_from_us(max(self._clock.now_us(), self._recorded_at_us))

    def submit(self, append: Append) -> Submitted:
        """Queue an append and return the future of its outcome; the order of calls is the order of entries."""
        self._check_open()
        check_name(append.journal, what="journal")
        if self._is_old and any(draft.kind in OWN_IDS for draft in append.drafts):
            raise keeps_no_own_ids(self.files.journal, self._format)
        if self._is_old and any(draft.body_scheme != PLAIN_SCHEME for draft in append.drafts):
            raise keeps_no_schemes(self.files.journal, self._format)
        waiting = self._queue.put(append)
        if self._idle.is_set():
            self._idle.clear()
            self._loop.call_soon(self._gather, _ROUNDS)
        return waiting

    def extend(self, submitted: asyncio.Future[Receipt], draft: Draft) -> bool:
        """Add an entry to an append that is still queued; False if that is not possible: submit it then."""
        return (
            self._closed is None
            and isinstance(submitted, Waiting)
            and draft.kind not in OWN_IDS
            and (not self._is_old or draft.body_scheme == PLAIN_SCHEME)
            and self._queue.extend(submitted, draft)
        )

    async def append(self, append: Append) -> Receipt:
        """Append and wait until it is durable. Cancelling the wait does not touch the append."""
        return await asyncio.shield(self.submit(append))

    @property
    def has_room(self) -> bool:
        """Whether `room` would return at once."""
        return self._closed is None and self._queue.has_room

    async def room(self) -> None:
        """Wait while the queue of the writer is over half full: how a fast producer is slowed down."""
        self._check_open()
        await self._queue.room()

    async def resolve(self, unknown: AppendUnknownError) -> Receipt | None:
        """Find the outcome of an append for certain: its receipt, or None if nothing was appended."""
        self._check_open()
        receipt = await self._in_thread(lambda: self._writer.resolve(unknown))
        if receipt is not None:
            self._note(receipt.position, receipt.recorded_at_us)
        return receipt

    async def head(self, journal: str) -> Head:
        """Return the head of a journal as far as it is durable."""
        self._check_open()
        return await self._in_thread(lambda: self._writer.head(journal))

    async def acquire(self, journal: str) -> Head:
        """Return the head of a journal: the one process that writes the file is the writer of each."""
        return await self.head(journal)

    async def refresh(self) -> int:
        """Return the acknowledged position: no other process appends."""
        return self._acknowledged

    async def fence(self, writer: int) -> None:
        """Let this process write nothing more, if it is that writer; earlier ones have ended already."""
        self._check_open()
        if writer > self.writer:
            raise AppendRefusedError(
                f"writer [{writer}] of journal [{self.files.journal}] is not known; expected at most [{self.writer}], "
                "this process: it has opened the file last"
            )
        if writer == self.writer:
            error = await self._in_thread(self._writer.fence)
            self._note_fenced(error)

    def on_fenced(self, callback: Callable[[LoomError], None]) -> None:
        """Have `callback` called on the event loop, once, when this process may write nothing more, with the reason."""
        self._on_fenced.append(callback)
        if self._fenced is not None:
            callback(self._fenced)

    async def prune(self, journal: str, *, until: int) -> None:
        """Remove the bodies of a journal, up to and including a sequence, if a journaled `PrunedEntry` declares it.

        Hashes stay, and the chain verifies. It is all or nothing: `AppendRefusedError` if nothing was declared,
        `SequenceConflictError` if the journal has grown.
        """
        self._check_open()
        await self._in_thread(lambda: self._writer.prune(journal, until))

    async def prune_bodies(self, journal: str, ranges: Sequence[tuple[int, int]]) -> None:
        """Remove bodies of a journal by ranges (first, last), if journaled `PrunedEntry`s declare them.

        All or nothing, as `prune`, but the journal may grow meanwhile.
        """
        self._check_open()
        await self._in_thread(lambda: self._writer.prune_bodies(journal, ranges))

    def on_commit(self, callback: Callable[[int], None]) -> None:
        """Have `callback` called on the event loop with each new acknowledged position."""
        self._callbacks.append(callback)

    async def close(self) -> None:
        """Write what is queued, then close. Closing twice is harmless; cancelling the wait does not stop it."""
        if self._released:
            return
        if self._closing is None:
            self._closed = "is closed; expected an open one: open it again"
            self._closing = self._loop.create_task(self._finish())
        await asyncio.shield(self._closing)

    async def _finish(self) -> None:
        try:
            await self._idle.wait()
            await self._reader.close()
            await self._in_thread(self._writer.close)
        finally:  # also when the loop is torn down in the middle of it
            self._release()

    def _take_over(self, *, allow_any: bool) -> Tail:
        """Become the one writer of the journal; runs in the writer's thread."""
        self.files.prepare()
        self.files.check_not_moved()
        warning = check_filesystem(self.files.journal, allowed=allow_any)
        if warning:
            _log.warning("filesystem_suspect", detail=warning)
        self.lock.acquire()
        return self._writer.open()

    def _gather(self, rounds: int) -> None:
        """Let the event loop go round before an idle writer starts: a turn that does not wait goes into one batch."""
        if rounds:
            self._loop.call_soon(self._gather, rounds - 1)
        else:
            self._pump()

    def _pump(self) -> None:
        """Hand the next batch to the writer's thread; called on the event loop, when no batch is in flight."""
        if self._in_flight:
            return
        batch = self._queue.take()
        if not batch:
            self._idle.set()
            return
        self._in_flight = True
        try:
            work = self._loop.run_in_executor(self._executor, self._writer.commit, [each.append for each in batch])
        except RuntimeError as error:  # the interpreter is shutting down: nothing of this was handed over
            self._in_flight = False
            self._fail(batch, error)
            self._loop.call_soon(self._pump)
            return
        work.add_done_callback(lambda done: self._landed(batch, done))

    def _landed(self, batch: list[Waiting], done: asyncio.Future[list[Outcome]]) -> None:
        """Start the next batch first, then tell the callers of this one."""
        self._in_flight = False
        self._queue.done(batch)
        failure = done.exception()
        if failure is not None:  # a defect of the writer's, which promises not to raise
            _log.error("writer_failed", journal=str(self.files.journal), error=repr(failure))
            self._closed = f"is closed, as its writer failed [{failure!r}]; expected a sound one: open it again"
        self._pump()
        outcomes = done.result() if failure is None else [lost(each.append, failure) for each in batch]
        position = at_us = 0
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Receipt):
                position, at_us = max(position, outcome.position), max(at_us, outcome.recorded_at_us)
                if not waiting.done():
                    waiting.set_result(outcome)
            else:
                if not waiting.done():
                    _give(waiting, outcome)
                if isinstance(outcome, WriterFencedError):
                    self._note_fenced(outcome)
            waiting.drafts.clear()  # those who keep the future need its outcome alone
        self._note(position, at_us)

    def _fail(self, batch: list[Waiting], error: Exception) -> None:
        self._queue.done(batch)
        for waiting in batch:
            if not waiting.done():
                _give(
                    waiting, JournalClosedError(f"journal [{self.files.journal}] cannot be written any more [{error}]")
                )

    def _note(self, position: int, at_us: int) -> None:
        """Take note of what has become durable, and tell those who listen."""
        self._recorded_at_us = max(self._recorded_at_us, at_us)
        if position > self._acknowledged:
            self._acknowledged = position
            self._announce(position)

    def _announce(self, position: int) -> None:
        for callback in self._callbacks:
            try:
                callback(position)
            except (
                Exception
            ) as error:  # a fault of one listener: the entries are durable, and the others must be notified
                _log.error("on_commit_failed", position=position, error=repr(error))

    def _note_fenced(self, error: LoomError) -> None:
        if self._fenced is None:
            self._fenced = error
            for callback in self._on_fenced:
                callback(error)

    def _check_open(self) -> None:
        if self._closed is not None:
            raise JournalClosedError(f"journal [{self.files.journal}] {self._closed}")

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run in the writer's thread, after the work queued there; a cancelled wait does not stop it."""
        return await asyncio.shield(self._loop.run_in_executor(self._executor, work))

    def _release(self) -> None:
        """Give connection, thread and lock back, in this order; what is closed already stays so."""
        if self._released:
            return
        self._released = True
        self._closed = self._closed or "is closed; expected an open one: open it again"
        forks.forget(self)
        self._executor.submit(self._writer.close)
        self._executor.shutdown(wait=True)
        self.lock.release()

    def poison(self) -> None:
        """In a forked child: a connection that was carried over a fork would corrupt the database (reliability: D4)."""
        self._closed = (
            "was opened by the parent of this forked process; expected one's own: open it after the fork, or start the "
            "process with spawn"
        )
        self._released = True
        self.lock.forget()


def _give(future: asyncio.Future[Receipt], error: LoomError) -> None:
    """Set an error that may have no waiter: the turn of a pipelined append gets it at its barrier."""
    future.set_exception(error)
    future.exception()
