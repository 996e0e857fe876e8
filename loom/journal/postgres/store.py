"""The PostgreSQL journal store: any number of processes write one workspace, each journal by the one that acquired it.

All appends of a process that wait together go into one transaction. Callers wait on futures that no waiter can cancel,
so a caller that gives up never touches the transaction.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from loom.background import Background
from loom.clock import AHEAD_US, Clock, SystemClock, datetime_from_us
from loom.errors import AppendUnknownError, JournalClosedError, LoomError
from loom.journal.chain import genesis
from loom.journal.floor import Floor
from loom.journal.holders import Holder
from loom.journal.kinds import OWN_IDS
from loom.journal.lowering import stop_asking
from loom.journal.postgres.anchor import Anchor
from loom.journal.postgres.follower import Follower
from loom.journal.postgres.options import PostgresOptions
from loom.journal.postgres.others import Others
from loom.journal.postgres.pump import Pump
from loom.journal.postgres.reader import PostgresReader
from loom.journal.postgres.staging import Wanted
from loom.journal.postgres.url import PostgresUrl
from loom.journal.postgres.writer import Writer
from loom.journal.sqlite.files import JournalFiles, WriterLock
from loom.journal.sqlite.heads import Loss
from loom.journal.sqlite.queue import Waiting
from loom.journal.sqlite.staging import Outcome
from loom.journal.sqlite.store_reads import StoreReads
from loom.journal.store import Append, Draft, Head, Receipt, Submitted, check_name
from loom.telemetry import get_logger

__all__ = ["PostgresStore"]

_log = get_logger(__name__)


class PostgresStore(StoreReads[PostgresReader], Others):
    """A `JournalStore` in PostgreSQL. Make it with `PostgresStore.open`; close it when done."""

    def __init__(
        self,
        url: PostgresUrl,
        files: JournalFiles,
        *,
        options: PostgresOptions,
        clock: Clock,
        name: str | None = None,
        address: str | None = None,
    ) -> None:
        self.url = url
        self.files = files
        """Where this process keeps what is its own: the views, the heads, the keys and the control socket."""
        self.lock = WriterLock(files.lock)
        self._options = options
        self._clock = clock
        self._reader = PostgresReader(url, options=options, primary=True)
        name = name or f"{socket.gethostname()}:{os.getpid()}"
        sessions = self._reader.sessions
        self._writer = Writer(url, sessions, options=options, clock=clock, name=name, address=address)
        self._anchor = Anchor(files, url, self._reader, every=options.head_every)
        self._floor = Floor(self)
        self._pump = Pump(self._commit, options)
        self._background = Background()
        self._follower: Follower | None = None
        self._claims: dict[str, int] = {}
        self._under: dict[Waiting, int] = {}
        """The epochs under which appends were submitted: a journal that is acquired again fences those before, too."""
        self._callbacks: list[Callable[[int], None]] = []
        self._on_fenced: list[Callable[[LoomError], None]] = []
        self._was_told_fenced = False
        self._acknowledged = 0
        self._recorded_at_us = 0
        self._closed: str | None = None
        self._closing: asyncio.Task[None] | None = None
        self._process = os.getpid()

    @classmethod
    async def open(
        cls,
        url: PostgresUrl | str,
        files: JournalFiles,
        *,
        options: PostgresOptions | None = None,
        clock: Clock | None = None,
        name: str | None = None,
        address: str | None = None,
        accept_loss: bool = False,
    ) -> PostgresStore:
        """Open a journal for writing, making its tables if need be, as one of the processes that write it.

        `files` is the place of this process, which no other one uses at the same time; `address` is where others reach
        it. Raises `ConfigError` where the server refuses the account or has no such database, `JournalBusyError` where
        it does not answer, `JournalReadOnlyError` for a replica, `JournalForeignError` or `JournalFormatError` where
        its tables are others', and `JournalCorruptError` where entries are gone that this place knows of: then
        `accept_loss` opens it all the same.
        """
        parsed = url if isinstance(url, PostgresUrl) else PostgresUrl.parse(url)
        store = cls(
            parsed,
            files,
            options=options or PostgresOptions(),
            clock=clock or SystemClock(),
            name=name,
            address=address,
        )
        try:
            await store._take_over(accept_loss=accept_loss)
        except BaseException:
            await store._release()
            raise
        return store

    @property
    def workspace(self) -> str:
        """The workspace whose journals these are."""
        return self.url.workspace

    @property
    def writer(self) -> int:
        """The number under which this process is registered: what `fence` takes."""
        return self._writer.number

    @property
    def shared(self) -> bool:
        """Several processes write the workspace at the same time."""
        return True

    @property
    def acknowledged(self) -> int:
        """The position up to which everything is known to be durable."""
        return self._acknowledged

    @property
    def recorded_at_us(self) -> int:
        """The time of the last entry known to be durable; time does not go back behind it."""
        return self._recorded_at_us

    @property
    def loss(self) -> Loss | None:
        """The last head that this node has written down, if it is not there any more and that was accepted."""
        return self._anchor.loss

    def now(self) -> datetime:
        """Return the time by the clock that entries are stamped with, never earlier than the last entry."""
        return datetime_from_us(max(self._clock.now_us(), self._recorded_at_us))

    # --- writing -----------------------------------------------------------------------------------

    def submit(self, append: Append) -> Submitted:
        """Queue an append and return the future of its outcome; the order of calls is the order of a journal."""
        self._check_open()
        check_name(append.journal, what="journal")
        waiting = self._pump.put(append)
        claim = self._claims.get(append.journal)
        if claim is not None:
            self._under[waiting] = claim
        return waiting

    def extend(self, submitted: asyncio.Future[Receipt], draft: Draft) -> bool:
        """Add an entry to an append that is still queued; False if that is not possible: submit it then."""
        return (
            self._closed is None
            and isinstance(submitted, Waiting)
            and draft.kind not in OWN_IDS
            and self._pump.queue.extend(submitted, draft)
        )

    async def append(self, append: Append) -> Receipt:
        """Append and wait until it is durable. Cancelling the wait does not touch the append."""
        return await asyncio.shield(self.submit(append))

    @property
    def has_room(self) -> bool:
        """Whether `room` would return at once."""
        return self._closed is None and self._pump.queue.has_room

    async def room(self) -> None:
        """Wait while the queue of the writer is over half full: how a fast producer is slowed down."""
        self._check_open()
        await self._pump.queue.room()

    async def resolve(self, unknown: AppendUnknownError) -> Receipt | None:
        """Find the outcome of an append for certain: its receipt, or None if nothing was appended."""
        self._check_open()
        receipt = await self._writer.resolve(unknown)
        if receipt is not None:
            self._note(receipt.position, receipt.recorded_at_us)
        return receipt

    async def prune(self, journal: str, *, until: int) -> None:
        """Remove the bodies of a journal, up to and including a sequence, if a journaled `PrunedEntry` declares it.

        Hashes stay, and the chain verifies. It is all or nothing: `AppendRefusedError` if nothing was declared,
        `SequenceConflictError` if the journal has grown.
        """
        self._check_open()
        await self._writer.prune(journal, [(1, until)], last=until)

    async def prune_bodies(self, journal: str, ranges: Sequence[tuple[int, int]]) -> None:
        """Remove bodies of a journal by ranges (first, last), if journaled `PrunedEntry`s declare them.

        All or nothing, as `prune`, but the journal may grow meanwhile.
        """
        self._check_open()
        await self._writer.prune(journal, ranges, last=None)

    # --- several processes -------------------------------------------------------------------------

    async def acquire(self, journal: str) -> Head:
        """Become the one writer of a journal, before it is read, and return its head.

        What a former writer still sends is refused with `WriterFencedError`; so is what was submitted here before.
        """
        self._check_open()
        check_name(journal, what="journal")
        head, epoch = await self._writer.acquire(journal)
        self._claims[journal] = max(epoch, self._claims.get(journal, 0))
        return head

    async def refresh(self) -> int:
        """Learn of what other processes have appended: return the position up to which everything is durable."""
        self._check_open()
        self._note(*await self._reader.tail_and_time())
        return self._acknowledged

    async def fence(self, writer: int) -> None:
        """Declare a process dead: nothing that it sends later is appended. What it has begun ends first."""
        self._check_open()
        await self._writer.fence(writer)
        if writer == self.writer:
            self._was_fenced(self._writer.fenced())

    async def holders(self, journals: Collection[str]) -> Mapping[str, Holder]:
        """Return journal → the process that acquired it last, for those that one has."""
        self._check_open()
        return await self._reader.holders(journals)

    def on_fenced(self, callback: Callable[[LoomError], None]) -> None:
        """Have `callback` called on the event loop, once, when this process may write nothing more, with the reason."""
        self._on_fenced.append(callback)
        if self._writer.refusal is not None:
            callback(self._writer.refusal)

    # --- reading -----------------------------------------------------------------------------------

    async def head(self, journal: str) -> Head:
        """Return the head of a journal as far as it is durable."""
        self._check_open()
        found = await self._reader.head(journal)
        return Head(0, genesis(self.workspace, journal)) if found is None else Head(*found)

    def on_commit(self, callback: Callable[[int], None]) -> None:
        """Have `callback` called on the event loop with each new acknowledged position, of whatever process."""
        self._callbacks.append(callback)

    # --- opening and closing -----------------------------------------------------------------------

    async def close(self) -> None:
        """Write what is queued, then close. Closing twice is harmless; cancelling the wait does not stop it."""
        if self._closing is None:
            self._closed = self._closed or "is closed; expected an open one: open it again"
            self._closing = asyncio.get_running_loop().create_task(self._finish())
        await asyncio.shield(self._closing)

    async def _take_over(self, *, accept_loss: bool) -> None:
        self.files.prepare()
        self.lock.acquire()
        await self._writer.open()
        position, at_us = await self._reader.tail_and_time()
        await self._anchor.check(accept_loss=accept_loss)
        await self._floor.load()
        self._acknowledged, self._recorded_at_us = position, at_us
        behind_us = at_us - self._clock.now_us() if position else 0
        if behind_us > AHEAD_US:
            _log.warning("clock_behind_journal", journal=str(self.url), by_s=behind_us // 1_000_000)
        self._follower = Follower(
            self.url, options=self._options, writer=self.writer, reached=self._note, fenced=self._beat_no_more
        )
        self._background.keep_running(self._follower.run, name="journal-follower")

    async def _finish(self) -> None:
        try:
            await self._pump.idle()
            await self._anchor.write(self._acknowledged)
        except (LoomError, OSError) as error:  # a head that is not written loses nothing
            _log.warning("housekeeping_failed", journal=str(self.url), error=repr(error))
        finally:
            await self._release()

    async def _release(self) -> None:
        self._closed = self._closed or "is closed; expected an open one: open it again"
        stop_asking(self)
        await self._background.close()
        await self._writer.close()
        await self._reader.close()
        self.lock.release()

    # --- what becomes known ------------------------------------------------------------------------

    async def _commit(self, batch: list[Waiting]) -> list[Outcome]:
        """Append a batch, and take note of what became durable before a caller goes on."""
        wanted = [Wanted(each.append, self._under.pop(each, None)) for each in batch]
        outcomes = await self._writer.commit(wanted)
        position = at_us = 0
        for outcome in outcomes:
            if isinstance(outcome, Receipt):
                position, at_us = max(position, outcome.position), max(at_us, outcome.recorded_at_us)
        if position:
            self._note(position, at_us)
            if self._follower is not None:
                self._follower.tell(position)
            await self._keep_house(position)
        if self._writer.refusal is not None:
            self._was_fenced(self._writer.refusal)
        return outcomes

    async def _keep_house(self, position: int) -> None:
        """Write a head down and make a partition where they are due; what fails here is tried again later."""
        try:
            await self._anchor.after(position)
            await self._writer.keep_partitions(position)
        except (LoomError, OSError) as error:
            _log.warning("housekeeping_failed", journal=str(self.url), error=repr(error))

    def _note(self, position: int, at_us: int) -> None:
        """Take note of what has become durable, and tell those who listen."""
        self._recorded_at_us = max(self._recorded_at_us, at_us)
        if position > self._acknowledged:
            self._acknowledged = position
            for callback in self._callbacks:
                try:
                    callback(position)
                except Exception as error:  # a fault of one listener: the others must be notified
                    _log.error("on_commit_failed", position=position, error=repr(error))

    def _was_fenced(self, error: LoomError) -> None:
        self._writer.refusal = self._writer.refusal or error
        if not self._was_told_fenced:
            self._was_told_fenced = True
            _log.error("writer_fenced", journal=str(self.url), writer=self.writer)
            for callback in self._on_fenced:
                callback(self._writer.refusal)

    def _beat_no_more(self) -> None:
        self._was_fenced(self._writer.fenced())

    def _check_open(self) -> None:
        if self._closed is not None:
            raise JournalClosedError(f"journal [{self.url}] {self._closed}")
        if self._process != os.getpid():
            raise JournalClosedError(
                f"journal [{self.url}] was opened by the parent of this forked process; expected one's own: open it "
                "after the fork, or start the process with spawn"
            )
