"""A read-only connection on a thread of its own, by aiosqlite, that no cancelled reader leaves halfway.

Three things of aiosqlite have to be kept from happening. A reader that is cancelled between executing and fetching
leaves its statement, and so its snapshot, open: here each statement is executed and fetched in one go, and interrupted
when no task waits for it any more. A connection whose opening or closing is cancelled keeps its thread: here both go on
to their end. And a thread whose connection was not closed keeps the interpreter from exiting: here it is a daemon,
which is safe for a connection that only reads.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import aiosqlite

from loom.background import to_its_end

__all__ = ["Parameters", "ReadConnection", "Reading", "SharedConnection", "to_its_end"]

T = TypeVar("T")

_LOOK_EVERY = 50_000
"""After so many instructions of SQLite, about a millisecond, a statement checks whether a task waits for it."""

Parameters: TypeAlias = Sequence[object] | Mapping[str, object]
"""What is bound to a statement."""


class Reading(sqlite3.Connection):
    """Counts its statements, and interrupts one that no task waits for any more."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.number = 0
        self.abandoned: set[int] = set()

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Execute the next statement by a cursor of the kind that it gets."""
        self.abandoned.discard(self.number)
        self.number += 1
        if self.number in self.abandoned:
            raise sqlite3.OperationalError("interrupted")
        return self.cursor(self.cursor_of(sql)).execute(sql, parameters)

    def cursor_of(self, sql: str) -> type[sqlite3.Cursor]:
        """Return the class whose `fetchall` reads what a statement gives."""
        return sqlite3.Cursor

    def watch(self) -> None:
        """Begin to count, and to check regularly whether a task waits."""
        self.number = 0
        here = weakref.ref(self)  # SQLite keeps the function, and nothing would let go of a connection that it keeps
        self.set_progress_handler(
            lambda: (found := here()) is not None and found.number in found.abandoned, _LOOK_EVERY
        )


class ReadConnection:
    """Reads one statement after the other, in the order in which they are asked for. Made by `open`."""

    _connection: aiosqlite.Connection
    _reading: Reading
    _thread: threading.Thread

    def __init__(self) -> None:
        self._asked = 0

    @classmethod
    async def open(cls, connect: Callable[[], Reading], *, name: str) -> ReadConnection:
        """Call `connect` in the thread of the connection, which gets the name, and return it open.

        Raises what `connect` raises. A caller that may be cancelled uses `to_its_end`.
        """
        self = cls()

        def connected() -> sqlite3.Connection:
            self._thread = threading.current_thread()
            self._thread.name = name
            self._reading = connect()
            self._reading.watch()
            return self._reading

        try:
            self._connection = await _on_a_daemon(connected)
        except Exception:
            self._thread.join(1)  # aiosqlite has asked it to end, and waited for nothing
            raise
        return self

    @property
    def is_alive(self) -> bool:
        """Whether there is still a thread to answer; it dies with an event loop that was closed under its reads."""
        return self._thread.is_alive()

    async def fetch(self, statement: str, parameters: Parameters = ()) -> list[Any]:
        """Execute a statement and return what its cursor gives for all of it; cancelled, it is interrupted."""
        self._asked += 1
        number = self._asked
        try:
            return list(await self._connection.execute_fetchall(statement, parameters))
        except asyncio.CancelledError:
            if self._reading.number <= number:
                self._reading.abandoned.add(number)
            raise

    async def close(self) -> None:
        """Close the connection after what was asked for before, and end its thread, also where this is cancelled."""
        if self.is_alive:
            await to_its_end(self._ended())

    async def _ended(self) -> None:
        await self._connection.close()
        self._thread.join(1)  # it has answered: nothing is left of it but to return


class SharedConnection:
    """A connection that is opened by the first who needs it, and once for all who need it at the same time.

    One whose thread died is opened again.
    """

    def __init__(self, connect: Callable[[], Reading], *, name: str) -> None:
        self._connect = connect
        self._name = name
        self._connection: ReadConnection | None = None
        self._opening: asyncio.Task[ReadConnection] | None = None
        self._is_closed = False

    @property
    def open(self) -> ReadConnection | None:
        """The connection, if there is one that answers."""
        connection = self._connection
        return connection if connection is not None and connection.is_alive else None

    async def opened(self) -> ReadConnection:
        """Return the connection, opened if it is not; raise what opening raises, `sqlite3.Error` once it is closed."""
        while not self._is_closed:
            if self._opening is None:
                self._opening = asyncio.create_task(self._open())
                self._opening.add_done_callback(_looked_at)
            await asyncio.shield(self._opening)
            if self.open is not None:
                return self.open
        raise sqlite3.ProgrammingError("the connection was closed")

    async def close(self) -> None:
        """Close the connection, if there is one, also where this is cancelled. Closing twice is harmless."""
        self._is_closed = True
        await to_its_end(self._end())

    async def _open(self) -> ReadConnection:
        try:
            self._connection = await ReadConnection.open(self._connect, name=self._name)
            return self._connection
        finally:
            self._opening = None

    async def _end(self) -> None:
        if self._opening is not None:
            await asyncio.wait([self._opening])
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _looked_at(opening: asyncio.Task[ReadConnection]) -> None:
    """Retrieve the result of opening: the task that asked for it may be gone."""
    if not opening.cancelled():
        opening.exception()


def _on_a_daemon(connect: Callable[[], sqlite3.Connection]) -> aiosqlite.Connection:
    """Make a connection whose thread is a daemon, as threads are that a daemon makes."""
    made: list[aiosqlite.Connection] = []
    maker = threading.Thread(target=lambda: made.append(aiosqlite.Connection(connect, 1)), daemon=True)
    maker.start()
    maker.join()
    return made[0]
