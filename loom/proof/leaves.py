"""Where the leaves of the tree come from: position, journal, sequence and hash of each entry, in order."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from loom.errors import JournalCorruptError
from loom.journal.chain import HASH_BYTES
from loom.journal.sqlite.connection import connect_reader
from loom.journal.sqlite.faults import explained
from loom.journal.store import JournalReader

__all__ = ["Leaf", "Leaves", "ReaderLeaves", "SqliteLeaves"]

_LEAVES = "SELECT position, journal, sequence, entry_hash FROM entries WHERE position > ? ORDER BY position LIMIT ?"
_WORKSPACE = "SELECT value FROM meta WHERE key = 'workspace'"
_FOREVER = 2**63 - 1
_PAGE = 1_000


class Leaf(NamedTuple):
    """What the tree takes of an entry."""

    position: int
    journal: str
    sequence: int
    entry_hash: bytes


class Leaves(Protocol):
    """Reads the leaves of one workspace."""

    @property
    def workspace(self) -> str:
        """The workspace whose entries these are."""
        ...

    def after(self, position: int, *, limit: int = _FOREVER) -> Iterator[tuple[int, str, int, bytes]]:
        """Yield the leaves after a position, in order: the fields of `Leaf`."""
        ...


class SqliteLeaves:
    """The leaves of a journal file, with or without a running writer; each call opens the file and closes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._workspace: str | None = None

    @property
    def workspace(self) -> str:
        """The workspace that the journal says it belongs to."""
        if self._workspace is None:
            with self._connected() as connection:
                row = connection.execute(_WORKSPACE).fetchone()
            self._workspace = "" if row is None else str(row[0])
        return self._workspace

    def after(self, position: int, *, limit: int = _FOREVER) -> Iterator[tuple[int, str, int, bytes]]:
        """Yield the leaves after a position, in order; raise `JournalCorruptError` for one that is none."""
        with self._connected() as connection:
            for row in connection.execute(_LEAVES, (position, limit)):
                if not (isinstance(row[1], str) and isinstance(row[2], int) and _is_hash(row[3])):
                    raise JournalCorruptError(
                        f"entry at position [{row[0]}] of [{self._path}] has damaged columns; expected a journal, a "
                        "sequence and a hash: run `loom verify`"
                    )
                yield row

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(connect_reader(self._path)) as connection:
                yield connection
        except (sqlite3.Error, UnicodeError) as error:
            raise explained(error, self._path, writing=False) from error


class ReaderLeaves:
    """The leaves of any journal, by its reader on the event loop; it is to be asked from other threads alone."""

    def __init__(self, reader: JournalReader, workspace: str, loop: asyncio.AbstractEventLoop) -> None:
        self._reader = reader
        self._loop = loop
        self.workspace = workspace

    def after(self, position: int, *, limit: int = _FOREVER) -> Iterator[tuple[int, str, int, bytes]]:
        """Yield the leaves after a position, in order."""
        last = min(position + limit, _FOREVER)
        while position < last:
            page = self._page(position, min(position + _PAGE, last))
            yield from page
            if not page:
                return
            position = page[-1][0]

    def _page(self, after: int, until: int) -> list[tuple[int, str, int, bytes]]:
        async def read() -> list[tuple[int, str, int, bytes]]:
            stream = self._reader.read_all(after=after, until=until)
            return [(each.position, each.journal, each.sequence, each.entry_hash) async for each in stream]

        return asyncio.run_coroutine_threadsafe(read(), self._loop).result()


def _is_hash(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == HASH_BYTES
