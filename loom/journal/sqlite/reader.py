"""Streaming reads of a journal: one read-only connection, one short transaction a page, never a checkpoint."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import aiosqlite

from loom.journal.entry import Recorded
from loom.journal.sqlite.connection import connect_reader, translated

__all__ = ["COLUMNS", "Reader"]

COLUMNS = (
    "position, journal, sequence, kind, schema_version, command_id, epoch, recorded_at_us, clock_back_us, "
    "policy_hash, salt, body, body_digest, entry_hash"
)
"""The columns of an entry in the order of the fields of `Recorded`."""

_BY_SEQUENCE = f"SELECT {COLUMNS} FROM entries WHERE journal = ? AND sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?"  # noqa: S608 - constants only
_BY_POSITION = f"SELECT {COLUMNS} FROM entries WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"  # noqa: S608
_COMMAND = f"SELECT {COLUMNS} FROM entries WHERE journal = ? AND command_id = ? AND kind = 'command_received'"  # noqa: S608
_JOURNALS = "SELECT journal, max(sequence) FROM entries WHERE journal > ? GROUP BY journal ORDER BY journal LIMIT ?"
_TAIL = "SELECT coalesce(max(position), 0) FROM entries"
_WORKSPACE = "SELECT value FROM meta WHERE key = 'workspace'"

_FOREVER = 2**63 - 1


class Reader:
    """Reads a journal file, beside its writer or without one. Opens at first use."""

    def __init__(self, path: Path, *, page: int = 1_000, busy_timeout_s: float = 10.0) -> None:
        self._path = path
        self._page = page
        self._busy_timeout_s = busy_timeout_s
        self._connection: aiosqlite.Connection | None = None

    async def read(self, journal: str, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream one journal by sequence."""
        last = _FOREVER if until is None else until
        while True:
            page = await self._rows(_BY_SEQUENCE, (journal, after, last, self._page))
            for row in page:
                recorded = Recorded(*row)
                after = recorded.sequence
                yield recorded
            if len(page) < self._page:
                return

    async def read_all(self, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream the workspace by position."""
        while True:
            page = await self.page(after=after, until=until)
            for recorded in page:
                yield recorded
            if len(page) < self._page:
                return
            after = page[-1].position

    async def page(self, *, after: int, until: int | None = None) -> list[Recorded]:
        """Return the next page of the workspace by position; a short page is the last one for now."""
        last = _FOREVER if until is None else until
        return [Recorded(*row) for row in await self._rows(_BY_POSITION, (after, last, self._page))]

    async def find_command(self, journal: str, command_id: str) -> Recorded | None:
        """Return the entry with which a command was received, or None."""
        rows = await self._rows(_COMMAND, (journal, command_id))
        return next((Recorded(*row) for row in rows), None)

    async def journals(self, *, after: str = "", limit: int = 1000) -> list[tuple[str, int]]:
        """Return names and last sequences of journals by name."""
        return [(str(name), int(sequence)) for name, sequence in await self._rows(_JOURNALS, (after, limit))]

    async def tail(self) -> int:
        """Return the last position there is, 0 in an empty journal."""
        return int(next(iter(await self._rows(_TAIL, ())))[0])

    async def workspace(self) -> str | None:
        """Return the workspace that the journal belongs to."""
        row = next(iter(await self._rows(_WORKSPACE, ())), None)
        return None if row is None else str(row[0])

    async def close(self) -> None:
        """Close the connection, if one was opened."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _rows(self, statement: str, parameters: tuple[object, ...]) -> list[sqlite3.Row]:
        connection = self._connection or await self._open()
        try:
            rows: Iterable[sqlite3.Row] = await connection.execute_fetchall(statement, parameters)
        except sqlite3.DatabaseError as error:
            raise translated(error, self._path) from error
        return list(rows)

    async def _open(self) -> aiosqlite.Connection:
        path, timeout = self._path, self._busy_timeout_s
        connection = await aiosqlite.Connection(lambda: connect_reader(path, busy_timeout_s=timeout), 1)
        if self._connection is not None:  # another task was faster
            await connection.close()
            return self._connection
        self._connection = connection
        return connection
