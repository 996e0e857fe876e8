"""The simulated machine: its clocks, its random numbers, its disk and its threads, in place of those of the system.

`installed` replaces what loom reads of the system by what `Machine.current` gives, for as long as seeds are run.
Everything that is durable goes through `Disk`: it decides which commits fail, and keeps what an outside observer would
find in the journal at any moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import os
import random
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar
from unittest import mock

import loom.actors.stopped
import loom.journal.sqlite.store
import loom.projections.views
from loom import identity
from loom.background import to_its_end
from loom.clock import datetime_from_us
from loom.journal.sqlite.files import WriterLock
from loom.journal.sqlite.reading import ReadConnection, Reading
from loom.policies.policy import Policy
from tests.simulation.loop import Lane, Pace, VirtualLoop, VirtualTime

__all__ = ["Disk", "Durable", "Machine", "installed"]

START_US = 1_760_011_200_000_000
"""Noon, so that a short story does not cross midnight."""

T = TypeVar("T")

_connect = sqlite3.connect


class Durable(NamedTuple):
    """An entry that is durable."""

    position: int
    journal: str
    sequence: int
    kind: str
    command_id: str | None
    body: bytes
    entry_hash: bytes


@dataclass
class Chances:
    """How likely faults are; all zero in the last life of a seed."""

    refused: float = 0.0
    """A batch is refused for certain, before its COMMIT."""
    undone: float = 0.0
    """COMMIT fails, and nothing was written."""
    lost: float = 0.0
    """COMMIT is carried out, and its answer is an error."""
    views: float = 0.0
    """A page of entries cannot be folded into the views."""


class Disk:
    """The disk under the journal: faults at COMMIT, and what is durable."""

    _SINCE = (
        "SELECT position, journal, sequence, kind, command_id, body, entry_hash FROM entries WHERE position > ? "
        "ORDER BY position"
    )

    def __init__(self, dice: random.Random, note: Callable[[str], None]) -> None:
        self.dice = dice
        self.note = note
        self.chances = Chances()
        self.entries: list[Durable] = []
        self.by_turn: dict[tuple[str, str | None], list[Durable]] = {}
        self.failed_last = False

    ALL = _SINCE.replace("> ?", "> 0")

    def catch_up(self, directory: Path) -> None:
        """Take note of what the journal of a copied workspace holds."""
        with contextlib.closing(_connect(directory / "default" / "journal.db")) as database:
            for row in database.execute(self.ALL):
                entry = Durable(*row)
                self.entries.append(entry)
                self.by_turn.setdefault((entry.journal, entry.command_id), []).append(entry)

    def commit(self, connection: JournalConnection) -> sqlite3.Cursor:
        """Carry a COMMIT out, or not, and say so, or not."""
        if not connection.has_entries:
            return connection.really("COMMIT")
        connection.has_entries = False
        chances, drawn = self.chances, self.dice.random()
        if self.failed_last:  # two failures in a row let nothing more be written: that is a story of its own
            drawn += self.dice.choice((0.0, 1.0))
        self.failed_last = False
        if drawn < chances.undone:
            self.failed_last = True
            self.note("disk: commit fails")
            connection.really("ROLLBACK")
            raise _broken("commit fails")
        done = connection.really("COMMIT")
        self._note_durable(connection)
        if drawn < chances.undone + chances.lost:
            self.failed_last = True
            self.note("disk: answer to commit is lost")
            raise _broken("answer lost")
        return done

    def begin(self, connection: JournalConnection) -> None:
        """Refuse entries now and then, as a full disk does."""
        connection.has_entries = True
        if self.chances.refused and self.dice.random() < self.chances.refused:
            self.note("disk: full")
            raise _full()

    def _note_durable(self, connection: JournalConnection) -> None:
        last = self.entries[-1].position if self.entries else 0
        for row in connection.really(self._SINCE, (last,)):
            entry = Durable(*row)
            self.entries.append(entry)
            self.by_turn.setdefault((entry.journal, entry.command_id), []).append(entry)
            self.note(
                f"durable {entry.position} {entry.journal}/{entry.sequence} {entry.kind} "
                f"{str(entry.command_id)[:24]} {entry.entry_hash.hex()[:12]}"
            )


class JournalConnection(sqlite3.Connection):
    """The connection of the writer of a journal, on the simulated disk."""

    has_entries = False

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Execute a statement; entries and COMMIT are the disk's affair."""
        if sql == "COMMIT":
            return Machine.current.disk.commit(self)
        if sql.startswith("INSERT INTO entries") and not self.has_entries:
            Machine.current.disk.begin(self)
        return super().execute(sql, parameters)

    def really(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        """Execute a statement without faults."""
        return super().execute(sql, parameters)


class HeldLock(WriterLock):
    """A lock that the kernel takes from a process that is killed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        Machine.current.locks.append(self)


class ViewsConnection(sqlite3.Connection):
    """The connection of the writer of the views: folding a page may fail at its COMMIT."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Execute a statement."""
        if sql == "COMMIT":
            disk = Machine.current.disk
            if disk.chances.views and disk.dice.random() < disk.chances.views:
                disk.note("disk: views are not written")
                raise _full()
        return super().execute(sql, parameters)


class Machine:
    """One machine for one seed; its processes come and go."""

    current: ClassVar[Machine]

    def __init__(self, seed: int, directory: Path) -> None:
        self.seed = seed
        self.directory = directory
        self.dice = random.Random(f"faults {seed}")
        self.ids = random.Random(f"ids {seed}")
        self.time = VirtualTime(START_US)
        self.trace: list[str] = []
        self.disk = Disk(self.dice, self.note)
        self.connections: list[sqlite3.Connection] = []
        self.locks: list[WriterLock] = []
        self.unhandled: list[str] = []
        self.callbacks = 0
        self.is_dead = False
        """Whether a process is being killed: what it says in that moment is not heard."""
        self.pace = Pace()

    def begin(self) -> None:
        """Put this machine in the place of the one before, of which nothing is left."""
        Machine.current = self
        identity._entropy.forget()

    def note(self, what: str) -> None:
        """Add a line to the trace of the seed."""
        if not self.is_dead:
            self.trace.append(f"{self.time.elapsed_s - 1_000:.6f} {what}")

    def moment(self) -> datetime:
        """Return the time of day."""
        return datetime_from_us(self.time.now_us())

    @property
    def digest(self) -> str:
        """The digest of the trace: the same for the same seed."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()

    def connect(self, database: Any, *given: Any, **more: Any) -> sqlite3.Connection:
        """Open a database; the journal's and the views' writers get the simulated disk."""
        if "factory" not in more:
            name = str(database)
            if "journal.db?mode=rw" in name:
                more["factory"] = JournalConnection
            elif name.endswith("views.db"):
                more["factory"] = ViewsConnection
        made: sqlite3.Connection = _connect(database, *given, **more)
        if database not in (":memory:", ""):  # those are scratch paper, kept from one use to the next
            self.connections.append(made)
        return made

    def process(self, *, reorder: float, crash_after: int | None) -> VirtualLoop:
        """Return the loop of a new process."""
        loop = VirtualLoop(self.dice, self.time, pace=self.pace, reorder=reorder, crash_after=crash_after)
        loop.set_exception_handler(self._heard)
        return loop

    def _heard(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Keep what nothing has handled in a process that lives: loom handles everything."""
        lives = not self.is_dead and not (isinstance(loop, VirtualLoop) and loop.has_crashed)
        if lives and not loop.is_closed():
            self.unhandled.append(f"{context.get('message')}: {context.get('exception')!r}")

    def kill(self, loop: VirtualLoop) -> None:
        """End a process as a kill does: what is not durable is gone, and none of its code runs on."""
        tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
        loop.die()
        self.is_dead = True
        for connection in self.connections:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
        self.connections.clear()
        for lock in self.locks:
            lock.release()
        self.locks.clear()
        self.callbacks += loop.callbacks
        asyncio.set_event_loop(None)
        for task in tasks:
            _close(task.get_coro())
        loop.die()
        loop.close()
        self.is_dead = False


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Say nothing of what code does that is torn down: a killed process says nothing either."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
            gc.collect()
    finally:
        sys.unraisablehook = hook


def _close(work: Any) -> None:
    """Close a coroutine, however often it goes on to wait for something while it is closed."""
    for _ in range(50):
        try:
            work.close()
        except BaseException:
            continue
        return


async def _open_reading(connect: Callable[[], Reading], *, name: str) -> ReadConnection:
    loop, lane = asyncio.get_running_loop(), Lane()

    def connected() -> Reading:
        made = connect()
        made.watch()
        return made

    return SimulatedReads(await loop.run_in_executor(lane, connected), lane)


class SimulatedReads(ReadConnection):
    """A connection for reading whose thread is a lane of the virtual loop."""

    def __init__(self, reading: Reading, lane: Lane) -> None:
        super().__init__()
        self._reading = reading
        self._lane = lane
        self._open = True

    @property
    def is_alive(self) -> bool:
        """Whether it answers."""
        return self._open

    async def fetch(self, statement: str, parameters: Any = ()) -> list[Any]:
        """Execute a statement in the lane, and return all that it gives."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._lane, lambda: self._reading.execute(statement, parameters).fetchall())

    async def close(self) -> None:
        """Close it."""
        self._open = False
        await to_its_end(_in_lane(self._lane, self._reading.close))


async def _in_lane(lane: Lane, work: Callable[[], Any]) -> None:
    await asyncio.get_running_loop().run_in_executor(lane, work)


def _remembered(ask: Callable[[Any, Any], T]) -> Callable[[Any, Any], T]:
    """Have what code says of a document computed once: it is a pure function of both, and dear."""
    known: dict[tuple[int, str], T] = {}

    def answer(policy: Any, document: Any) -> T:
        key = (id(policy), repr(document))
        if key not in known:
            known[key] = ask(policy, document)
        return known[key]

    return answer


def _full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


def _broken(words: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(words)
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Put the simulated machine in the place of the real one, in this process, until the end of the block."""

    def elapsed_s() -> float:
        return Machine.current.time.elapsed_s

    def urandom(size: int) -> bytes:
        return Machine.current.ids.randbytes(size)

    def connect(*given: Any, **more: Any) -> sqlite3.Connection:
        return Machine.current.connect(*given, **more)

    with contextlib.ExitStack() as stack:
        stack.enter_context(_unheard())
        for owner, name, stand_in in (
            (time, "monotonic", elapsed_s),
            (time, "perf_counter", elapsed_s),
            (time, "time", lambda: Machine.current.time.now_us() / 1_000_000),
            (time, "time_ns", lambda: Machine.current.time.now_us() * 1_000),
            (os, "urandom", urandom),
            (random, "_urandom", urandom),
            (sqlite3, "connect", connect),
            (loom.journal.sqlite.store, "ThreadPoolExecutor", Lane),
            (loom.journal.sqlite.store, "WriterLock", HeldLock),
            (loom.projections.views, "ThreadPoolExecutor", Lane),
            (loom.journal.sqlite.store, "check_filesystem", lambda *_, **__: None),
            (ReadConnection, "open", _open_reading),
            (Policy, "departure", _remembered(Policy.departure)),
            (Policy, "under", _remembered(Policy.under)),
        ):
            stack.enter_context(mock.patch.object(owner, name, stand_in))
        identity._entropy.forget()
        collected = gc.isenabled()
        gc.disable()  # what a seed leaves is collected between two seeds, and at no other time
        try:
            yield
        finally:
            if collected:
                gc.enable()
            identity._entropy.forget()
