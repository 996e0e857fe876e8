"""The reference of a shared store: one process that writes a SQLite journal, and serves it to others over a socket.

It is simple, and for tests only: `python -m tests.shared.server JOURNAL SOCKET [no-epochs]`. What it shows is what the
contract asks for: each `acquire` takes a new epoch, and every append is checked against it before its sequence.
`no-epochs` is the control that fails: it checks sequences alone.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from loom.clock import SystemClock
from loom.errors import AppendRefusedError, LoomError, WriterFencedError
from loom.journal.sqlite import SqliteOptions, SqliteStore, WriterOptions
from loom.journal.sqlite.files import JournalFiles
from loom.journal.sqlite.staging import Outcome, Staged, stage
from loom.journal.sqlite.writer import Writer
from loom.journal.store import Append, Head, Receipt
from tests.shared import wire

OPTIONS = SqliteOptions(writer=WriterOptions(min_free_bytes=0, durability="process-crash-only"))


class Claim(NamedTuple):
    """The writer of a journal, and the epoch under which it writes it."""

    writer: int
    epoch: int


class SharedWriter(Writer):
    """Appends for several processes; everything in here runs in the one thread of the writer."""

    has_epochs = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.claims: dict[str, Claim] = {}
        self.fenced: set[int] = set()
        self.writers = 0
        self._epochs: dict[str, int] = {}

    def register(self) -> int:
        self.writers = self._next_epoch()
        return self.writers

    def acquire(self, writer: int, journal: str) -> tuple[Head, int]:
        if self.has_epochs:
            self._check(writer)
        before = self.claims.get(journal)
        claim = self.claims[journal] = Claim(writer, self._next_epoch())
        return self.head(journal)._replace(taken_over=before is not None and before.writer != writer), claim.epoch

    def put_down(self, writer: int) -> None:
        """Fence a writer. What it has begun has ended: there is one thread."""
        if writer > self.writers:
            raise AppendRefusedError(
                f"writer [{writer}] is not known; expected at most [{self.writers}]: it has not opened the store"
            )
        self.fenced.add(writer)

    def commit_for(self, writer: int, appends: Sequence[tuple[Append, int | None]]) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        allowed: list[tuple[int, Append]] = []
        new: dict[str, Claim] = {}
        for index, (append, epoch) in enumerate(appends):
            try:
                claim = self._claim_for(writer, append.journal, epoch, new)
            except WriterFencedError as error:
                outcomes[index] = error
            else:
                self._epochs[append.journal] = claim.epoch
                allowed.append((index, append))
        written = self.commit([append for _, append in allowed]) if allowed else []
        for (index, append), outcome in zip(allowed, written, strict=True):
            outcomes[index] = outcome
            if isinstance(outcome, Receipt) and append.journal in new:
                self.claims[append.journal] = new[append.journal]
        return [outcomes[index] for index in range(len(appends))]

    def _claim_for(self, writer: int, journal: str, epoch: int | None, new: dict[str, Claim]) -> Claim:
        claim = self.claims.get(journal)
        if not self.has_epochs:
            return Claim(writer, self.epoch)
        self._check(writer)
        if epoch is not None and claim != Claim(writer, epoch):
            raise WriterFencedError(
                f"journal [{journal}] is not written by writer [{writer}] in epoch [{epoch}] any more; expected "
                f"[{claim}]: another process has acquired it"
            )
        if claim is not None and claim.writer == writer:
            return claim
        if journal not in new:  # never acquired: it is, with what is appended, if the sequence fits
            new[journal] = Claim(writer, self._next_epoch())
        return new[journal]

    def _stage(self, batch: Sequence[Append]) -> Staged:
        whole = Staged(self._connection.tail)
        for append in batch:
            part = stage(
                [append],
                workspace=self._workspace,
                epoch=self._epochs[append.journal],
                now_us=self._clock.now_us(),
                tail=whole.tail,
                head_of=lambda journal: whole.heads.get(journal) or self._connection.head(journal),
            )
            whole.tail = part.tail
            whole.heads.update(part.heads)
            whole.rows += part.rows
            whole.outcomes += part.outcomes
        return whole

    def _check(self, writer: int) -> None:
        if writer in self.fenced:
            raise WriterFencedError(
                f"writer [{writer}] was fenced; expected one that may write: end this process, and start another"
            )

    def _next_epoch(self) -> int:
        self._connection.sqlite().execute("UPDATE writer SET epoch = epoch + 1")
        self._connection.epoch += 1
        return self._connection.epoch


class ServedStore(SqliteStore):
    """The store in the process of the server."""

    def __init__(self, files: JournalFiles, *, workspace: str, options: SqliteOptions, clock: Any) -> None:
        super().__init__(files, workspace=workspace, options=options, clock=clock)
        self.shared_writer = SharedWriter(files, workspace=workspace, options=options.writer, clock=clock)
        self._writer = self.shared_writer


class Server:
    """Answers requests of clients; those of one client in order."""

    def __init__(self, store: ServedStore) -> None:
        self._store = store
        self._writer = store.shared_writer
        self._connections: dict[int, asyncio.StreamWriter] = {}
        self._followers: dict[int, asyncio.StreamWriter] = {}
        self._outcomes: dict[tuple[int, int], list[Outcome]] = {}
        self._position = 0
        self._serving: set[asyncio.Task[Any]] = set()
        self.drop: dict[int, str] = {}
        """By writer: whether its connection is dropped `before` or `after` its next commit."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            while True:
                op, *args = await wire.read(reader)
                if op == "hello":
                    await self._hello(writer, *args)
                elif op == "follow":
                    self._followers[args[0]] = writer
                    writer.write(wire.packed(("position", await self._tail())))
                else:
                    writer.write(wire.packed(await self._answer(op, args)))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.transport.abort()

    async def close(self) -> None:
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await asyncio.sleep(0)  # the transports close in the next round

    async def _hello(self, writer: asyncio.StreamWriter, number: int | None, workspace: str) -> None:
        if number is None:
            number = await self._store._in_thread(self._writer.register)
        elif (former := self._connections.get(number)) is not None:
            former.transport.abort()  # what it has sent and was not read is never done: `resolve` relies on it
        self._connections[number] = writer
        tail = await self._store._in_thread(lambda: self._writer._connection.tail)
        writer.write(wire.packed((number, tail, self._store._format, self._store.workspace == workspace)))

    async def _tail(self) -> tuple[int, int]:
        tail = await self._store._in_thread(lambda: self._writer._connection.tail)
        return tail.position, tail.recorded_at_us

    async def _answer(self, op: str, args: list[Any]) -> object:
        if op == "commit":
            return await self._commit(*args)
        if op == "outcome":
            await self._store._in_thread(lambda: None)  # what was begun before has ended
            return [wire.plain(each) for each in self._outcomes.get((args[0], args[1]), [])]
        try:
            return "ok", await self._store._in_thread(lambda: self._do(op, args))
        except LoomError as error:
            return "error", wire.plain(error)

    def _do(self, op: str, args: list[Any]) -> object:
        if op == "fence":
            self._writer.put_down(args[0])
            if (follower := self._followers.get(args[0])) is not None:
                self._store._loop.call_soon_threadsafe(follower.write, wire.packed(("fenced", None)))
            return None
        if op == "drop":
            self.drop[args[0]] = args[1]
            return None
        does: dict[str, Any] = {
            "acquire": self._writer.acquire,
            "head": self._writer.head,
            "tail": lambda: self._writer._connection.tail,
            "prune": self._writer.prune,
            "prune_bodies": self._writer.prune_bodies,
        }
        return does[op](*args)

    async def _commit(self, writer: int, number: int, appends: list[tuple[Append, int | None]]) -> object:
        drop = self.drop.pop(writer, None)
        if drop == "before":
            raise ConnectionError("dropped by a test")
        outcomes = await self._store._in_thread(lambda: self._writer.commit_for(writer, appends))
        self._outcomes[writer, number] = outcomes
        written = [each for each in outcomes if isinstance(each, Receipt)]
        if written:
            self._position = max(self._position, max(each.position for each in written))
            for follower in self._followers.values():
                if not follower.transport.is_closing():
                    follower.write(wire.packed(("position", (self._position, written[-1].recorded_at_us))))
        if drop == "after":
            raise ConnectionError("dropped by a test")
        return [wire.plain(each) for each in outcomes]


async def main(journal: Path, path: str) -> None:
    store = await ServedStore.open(journal, options=OPTIONS, clock=SystemClock())
    assert isinstance(store, ServedStore)
    server = await asyncio.start_unix_server(Server(store).serve, path)
    print("serving", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    SharedWriter.has_epochs = "no-epochs" not in sys.argv
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
