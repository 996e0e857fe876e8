"""The client of the reference of a shared store: reads the journal file, and appends through the server's process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from loom.clock import Clock, SystemClock
from loom.errors import AppendUnknownError, JournalForeignError, LoomError, WriterFencedError
from loom.identity import check_workspace
from loom.journal.sqlite import SqliteOptions, SqliteStore
from loom.journal.sqlite.connection import FORMAT
from loom.journal.sqlite.files import JournalFiles
from loom.journal.sqlite.staging import Outcome, Tail
from loom.journal.store import Append, Head, Receipt
from tests.shared import wire


class RemoteWriter:
    """The writer of a `SqliteStore`, in another process. One thread uses it."""

    format = FORMAT

    def __init__(self, path: str, workspace: str) -> None:
        self._path = path
        self._workspace = workspace
        self._connection: socket.socket | None = None
        self._numbers = itertools.count(1)
        self.epoch = 0
        """The number of this process among the writers."""
        self.claims: dict[str, int] = {}
        self.tail = Tail(0, b"", 0)

    def open(self) -> Tail:
        self._connect()
        return self.tail

    def commit(self, batch: Sequence[Append]) -> list[Outcome]:
        number = next(self._numbers)
        appends = [
            (Append(each.journal, each.expected, tuple(each.drafts)), self.claims.get(each.journal)) for each in batch
        ]
        try:
            said = self._ask("commit", self.epoch, number, appends)
        except (OSError, EOFError) as error:
            self.close()
            return [_unknown(append, number, index, error) for index, append in enumerate(batch)]
        return [wire.outcome_of(each) for each in said]

    def resolve(self, unknown: AppendUnknownError) -> Receipt | None:
        number, _, index = unknown.entry_hash.partition(b"/")
        if not index:
            raise unknown
        found = self._ask("outcome", self.epoch, int(number))
        outcome = wire.outcome_of(found[int(index)]) if found else None
        return outcome if isinstance(outcome, Receipt) else None

    def acquire(self, journal: str) -> Head:
        head, self.claims[journal] = self.call("acquire", self.epoch, journal)
        return Head(*head)

    def head(self, journal: str) -> Head:
        return Head(*self.call("head", journal))

    def prune(self, journal: str, until: int) -> None:
        self.call("prune", journal, until)

    def prune_bodies(self, journal: str, ranges: Sequence[tuple[int, int]]) -> None:
        self.call("prune_bodies", journal, ranges)

    def call(self, op: str, *args: object) -> Any:
        how, what = self._ask(op, *args)
        if how == "error":
            error = wire.outcome_of(what)
            assert isinstance(error, LoomError)
            raise error
        return what

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ask(self, op: str, *args: object) -> Any:
        connection = self._connection or self._connect()
        connection.sendall(wire.packed((op, *args)))
        return wire.receive(connection)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        connection.connect(self._path)
        connection.sendall(wire.packed(("hello", self.epoch or None, self._workspace)))
        self.epoch, tail, self.format, known = wire.receive(connection)
        if not known:
            connection.close()
            raise JournalForeignError("the journal is of another workspace; expected the same: name that")
        self.tail = Tail(*tail)
        self._connection = connection
        return connection


class SharedStore(SqliteStore):
    """A `JournalStore` that other processes write at the same time."""

    shared = True

    def __init__(
        self, files: JournalFiles, *, workspace: str, options: SqliteOptions, clock: Clock, address: str
    ) -> None:
        super().__init__(files, workspace=workspace, options=options, clock=clock)
        self.address = address
        self.remote = RemoteWriter(address, workspace)
        self._writer: Any = self.remote
        self._following: asyncio.Task[None] | None = None
        self._told_by: asyncio.StreamWriter | None = None

    @classmethod
    async def connect(
        cls,
        address: str,
        *,
        workspace: str = "default",
        options: SqliteOptions | None = None,
        clock: Clock | None = None,
    ) -> Self:
        """Open the store whose server listens at the socket `address`, next to its journal file."""
        journal = Path(address).with_suffix(".db")
        store = cls(
            JournalFiles(journal),
            workspace=check_workspace(workspace),
            options=options or SqliteOptions(),
            clock=clock or SystemClock(),
            address=address,
        )
        try:
            tail = await store._in_thread(store.remote.open)
        except BaseException:
            store._release()
            raise
        store._format = store.remote.format
        store._acknowledged, store._recorded_at_us = tail.position, tail.recorded_at_us
        reader, writer = await asyncio.open_unix_connection(address)
        store._told_by = writer
        writer.write(wire.packed(("follow", store.writer)))
        store._note(*(await wire.read(reader))[1])
        store._following = asyncio.get_running_loop().create_task(store._follow(reader))
        return store

    async def acquire(self, journal: str) -> Head:
        self._check_open()
        return await self._in_thread(lambda: self.remote.acquire(journal))

    async def refresh(self) -> int:
        tail = await self._in_thread(lambda: Tail(*self.remote.call("tail")))
        self._note(tail.position, tail.recorded_at_us)
        return self._acknowledged

    async def fence(self, writer: int) -> None:
        self._check_open()
        await self._in_thread(lambda: self.remote.call("fence", writer))
        if writer == self.writer:
            self._end()

    async def drop_connection(self, when: str) -> None:
        """Have the server drop the connection `before` or `after` the next commit of this process."""
        await self._in_thread(lambda: self.remote.call("drop", self.writer, when))

    async def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self._told_by is not None:
            self._told_by.transport.abort()
        await super().close()

    async def _follow(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                what, about = await wire.read(reader)
                if what == "fenced":
                    self._end()
                else:
                    self._note(*about)

    def _note_fenced(self, error: LoomError) -> None:
        """Ignore what was refused for one journal: the server says when the whole process was fenced."""

    def _end(self) -> None:
        super()._note_fenced(
            WriterFencedError(f"writer [{self.writer}] was fenced; expected one that may write: start another process")
        )


def _unknown(append: Append, number: int, index: int, error: Exception) -> AppendUnknownError:
    return AppendUnknownError(
        f"journal [{append.journal}] may or may not have gone on from [{append.expected}] [{error!r}]; expected an "
        "answer: resolve it",
        journal=append.journal,
        sequence=append.expected + len(append.drafts),
        entry_hash=b"%d/%d" % (number, index),
    )
