"""Streaming reads of a journal: one read-only connection, one short transaction a page, never a checkpoint.

The connection is aiosqlite's (`SharedConnection`). A page is executed and fetched in one go, by a cursor that ends with
it, so a reader that is cancelled leaves neither a statement nor a snapshot open, which would keep the writer's log from
being folded into the database.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import from_json

from loom.errors import JournalClosedError, LoomError
from loom.identity import check_limit
from loom.journal.entry import Part, Recorded
from loom.journal.kinds import ENDINGS, MARKS
from loom.journal.sqlite.connection import SCHEMA_ROWS, connect_reader, expected_schema, format_of, has_own_ids
from loom.journal.sqlite.faults import explained, keeps_no_own_ids
from loom.journal.sqlite.reading import Reading, SharedConnection

__all__ = ["COLUMNS", "COLUMNS_3", "MARKED", "Reader"]

COLUMNS = (
    "position, journal, sequence, kind, schema_version, command_id, epoch, recorded_at_us, clock_back_us, "
    "policy_hash, salt, body, body_digest, entry_hash"
)
"""The columns of an entry in the order of the fields of `Recorded`, of formats 1 and 2."""

COLUMNS_3 = f"{COLUMNS}, body_scheme"
"""The same of format 3."""

_BY_SEQUENCE = (
    f"SELECT {COLUMNS} FROM entries WHERE journal = ? AND sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?"  # noqa: S608 - constants only
)
_BY_POSITION = f"SELECT {COLUMNS} FROM entries WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"  # noqa: S608
_PAGES = frozenset(
    each.replace(COLUMNS, some) for each in (_BY_SEQUENCE, _BY_POSITION) for some in (COLUMNS, COLUMNS_3)
)
_COMMAND = f"SELECT {COLUMNS} FROM entries WHERE journal = ? AND command_id = ? AND kind = 'command_received'"  # noqa: S608
_AT = f"SELECT {COLUMNS} FROM entries WHERE position IN (SELECT value FROM json_each(?)) ORDER BY position"  # noqa: S608
_STEPS = f"""
SELECT {COLUMNS} FROM json_each(?) AS wanted CROSS JOIN entries INDEXED BY entries_by_sequence
  ON journal = json_extract(wanted.value, '$[0]') AND sequence = json_extract(wanted.value, '$[1]')
"""  # noqa: S608
# SQLite takes a body apart in a fraction of the time that Python needs, and once for all paths.
_PARTS = """
SELECT position, journal, sequence, kind, schema_version, command_id, recorded_at_us,
  json_extract(CAST(body AS TEXT), {})
FROM entries WHERE position IN (SELECT value FROM json_each(?)) ORDER BY position
"""
_COMMANDS = """
SELECT position, journal, sequence, kind, schema_version, command_id, recorded_at_us,
  json_extract(CAST(body AS TEXT), {})
FROM json_each(?) AS turn CROSS JOIN entries INDEXED BY entries_by_command
  ON journal = json_extract(turn.value, '$[0]') AND command_id = json_extract(turn.value, '$[1]')
WHERE kind = 'command_received'
"""
_PARTS_BEGIN = _PARTS.partition("{}")[0]

MARKED = "(" + " OR ".join(f"kind = '{kind}'" for kind in sorted(MARKS)) + ")"
"""What the index on turns covers, in the words in which it is declared: SQLite takes it for nothing else."""

_ENDED = "kind IN (" + ", ".join(f"'{kind}'" for kind in sorted(ENDINGS)) + ")"

_MARKS = f"""
SELECT {COLUMNS} FROM entries {{index}} WHERE {MARKED} AND (journal, command_id) IN (
  SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))
ORDER BY position
"""  # noqa: S608
_NOT_ENDED = f"""
kind = 'command_received' AND NOT EXISTS (
  SELECT 1 FROM entries AS ending INDEXED BY entries_by_turn
  WHERE ending.journal = received.journal AND ending.command_id = received.command_id AND {_ENDED} AND {MARKED})
"""  # noqa: S608
_UNFINISHED = f"""
SELECT position FROM entries AS received INDEXED BY entries_by_command WHERE {_NOT_ENDED} ORDER BY position
"""  # noqa: S608
# An ending is for good: only what had none when it was looked for last, and what came since, need be looked at again.
_STILL_UNFINISHED = f"""
SELECT position FROM entries AS received WHERE position IN (SELECT value FROM json_each(?)) AND {_NOT_ENDED}
UNION ALL
SELECT position FROM entries AS received NOT INDEXED WHERE position > ? AND {_NOT_ENDED} ORDER BY position
"""  # noqa: S608
# Few turns ask, so those that do are looked for among the marks, and not among the commands.
_ASKED = f"""
SELECT received.position FROM (
  SELECT DISTINCT journal, command_id FROM entries AS request INDEXED BY entries_by_turn
  WHERE {MARKED} AND kind = 'approval_requested' AND NOT EXISTS (
    SELECT 1 FROM entries AS ending INDEXED BY entries_by_turn
    WHERE ending.journal = request.journal AND ending.command_id = request.command_id AND {_ENDED} AND {MARKED})
) AS asked CROSS JOIN entries AS received INDEXED BY entries_by_command
  ON received.journal = asked.journal AND received.command_id = asked.command_id AND received.kind = 'command_received'
ORDER BY received.position
"""  # noqa: S608
# Where there is no index yet, the endings are gathered first: one pass over the table for them, one for the commands.
_UNFINISHED_SLOWLY = f"""
SELECT position FROM entries WHERE kind = 'command_received' AND (journal, command_id) NOT IN (
  SELECT journal, command_id FROM entries WHERE {_ENDED} AND command_id IS NOT NULL)
ORDER BY position
"""  # noqa: S608
_REQUESTED = "SELECT journal, command_id FROM entries WHERE kind = 'approval_requested'"
_ASKED_SLOWLY = _UNFINISHED_SLOWLY.replace("ORDER BY", f"AND (journal, command_id) IN ({_REQUESTED}) ORDER BY")
_OWN_IDS = """
SELECT command_id, position FROM entries INDEXED BY entries_by_own_id
WHERE kind = 'decision_observed' AND command_id IN (SELECT value FROM json_each(?))
"""
_FORMAT = "PRAGMA user_version"
_TAIL = "SELECT coalesce(max(position), 0) FROM entries"
_WORKSPACE = "SELECT value FROM meta WHERE key = 'workspace'"
# One seek a name: grouping would walk all entries of all journals.
_JOURNALS = """
WITH RECURSIVE names(name) AS (
  SELECT min(journal) FROM entries WHERE journal > ?
  UNION ALL
  SELECT (SELECT min(journal) FROM entries WHERE journal > name) FROM names WHERE name IS NOT NULL
)
SELECT name, (SELECT max(sequence) FROM entries WHERE journal = name) FROM names WHERE name IS NOT NULL LIMIT ?
"""

_FOREVER = 2**63 - 1
_CHUNK = 50
_AT_ONCE = 500
_STREAMED = 50
_PAGE_BYTES = 4 * 1024 * 1024
_POSITION, _SEQUENCE, _BODY = map(COLUMNS.split(", ").index, ("position", "sequence", "body"))

T = TypeVar("T")
Row = tuple[Any, ...]


class Reader:
    """Reads a journal file, with or without a running writer. Opens at first use; close it when done."""

    def __init__(self, path: Path, *, page: int = 1_000, busy_timeout_s: float = 10.0) -> None:
        self._path = path
        self._page = page
        self._busy_timeout_s = busy_timeout_s
        self._connection = SharedConnection(self._connect, name="loom-reader")
        self._workspace = ""
        self._process = os.getpid()
        self._closed = False
        self._indexed = False
        self._unfinished: tuple[list[int], int] = ([], 0)
        """The commands whose turns had no end when they were looked for last, and the last position at that time."""
        self._has_schemes = False

    async def read(self, journal: str, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream one journal by sequence: those after `after`, up to and with `until`."""
        last = _FOREVER if until is None else until
        while True:
            rows, more = await self._pages(_BY_SEQUENCE, (journal, after, last, self._page))
            for row in rows:  # one at a time: entries that are not kept alive cost the collector nothing
                yield self._recorded(row)
            if not more:
                return
            after = rows[-1][_SEQUENCE]

    async def read_all(self, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream the workspace by position: those after `after`, up to and with `until`."""
        last = _FOREVER if until is None else until
        while True:
            rows, more = await self._pages(_BY_POSITION, (after, last, self._page))
            for row in rows:
                yield self._recorded(row)
            if not more:
                return
            after = rows[-1][_POSITION]

    async def page(self, *, after: int, until: int | None = None) -> list[Recorded]:
        """Return the next page of the workspace by position; an empty page says that there is no more for now."""
        rows, _ = await self._pages(_BY_POSITION, (after, _FOREVER if until is None else until, self._page))
        return [self._recorded(row) for row in rows]

    async def find_command(self, journal: str, command_id: str) -> Recorded | None:
        """Return the entry with which a command was received, or None."""
        rows = await self._rows(_COMMAND, (journal, command_id))
        return next((self._recorded(row) for row in rows), None)

    async def at(self, positions: Collection[int]) -> dict[int, Recorded]:
        """Return position → entry of those positions at which there is one."""
        found: dict[int, Recorded] = {}
        for some in _chunks(sorted(set(positions))):
            for row in await self._rows(_AT, (json.dumps(some),)):
                found[row[_POSITION]] = self._recorded(row)
        return found

    async def parts(self, positions: Collection[int], paths: Sequence[str]) -> dict[int, Part]:
        """Return position → the values in the body of its entry at two or more paths, of names joined by dots."""
        statement, given = _taking_apart(_PARTS, paths)
        found: dict[int, Part] = {}
        for some in _chunks(sorted(set(positions))):
            for part in await self._rows(statement, (*given, json.dumps(some))):
                found[part.position] = part
        return found

    async def steps(self, wanted: Collection[tuple[str, int]]) -> dict[tuple[str, int], Recorded]:
        """Return (journal, sequence) → entry of those at which there is one."""
        found: dict[tuple[str, int], Recorded] = {}
        for some in _chunks(sorted(set(wanted))):
            for row in await self._rows(_STEPS, (json.dumps(some),)):
                recorded = self._recorded(row)
                found[recorded.journal, recorded.sequence] = recorded
        return found

    async def commands(self, turns: Collection[tuple[str, str]], paths: Sequence[str]) -> dict[tuple[str, str], Part]:
        """Return turn → the values in the body of its `CommandReceivedEntry` at two or more paths."""
        statement, given = _taking_apart(_COMMANDS, paths)
        found: dict[tuple[str, str], Part] = {}
        for some in _chunks(sorted(set(turns))):
            for part in await self._rows(statement, (*given, json.dumps(some))):
                found[part.journal, str(part.command_id)] = part
        return found

    async def marks(self, turns: Collection[tuple[str, str]]) -> list[Recorded]:
        """Return the entries of `MARKS` that turns have, by position."""
        statement = _MARKS.format(index="INDEXED BY entries_by_turn" if await self._has_turn_index() else "")
        rows = [row for some in _chunks(sorted(set(turns))) for row in await self._rows(statement, (json.dumps(some),))]
        return [self._recorded(row) for row in sorted(rows, key=itemgetter(_POSITION))]

    async def unfinished(self, *, asked: bool = False) -> AsyncIterator[Recorded]:
        """Stream the `CommandReceivedEntry` of every turn without an end, by position, or where it has `asked`."""
        if not await self._has_turn_index():
            positions = [row[0] for row in await self._rows(_ASKED_SLOWLY if asked else _UNFINISHED_SLOWLY, ())]
        elif asked:
            positions = [row[0] for row in await self._rows(_ASKED, ())]
        else:
            positions = await self._still_unfinished()
        for some in _chunks(positions, of=_STREAMED):
            for recorded in (await self.at(some)).values():
                yield recorded

    async def _still_unfinished(self) -> list[int]:
        [(tail,)] = await self._rows(_TAIL, ())
        before, looked_to = self._unfinished
        if looked_to == 0:
            rows = await self._rows(_UNFINISHED, ())
        else:
            rows = await self._rows(_STILL_UNFINISHED, (json.dumps(before), looked_to))
        positions = [row[0] for row in rows]
        self._unfinished = (positions, tail)
        return positions

    async def journals(self, *, after: str = "", limit: int = 1000) -> list[tuple[str, int]]:
        """Return names and last sequences of journals by name."""
        return [
            (str(name), int(sequence)) for name, sequence in await self._rows(_JOURNALS, (after, check_limit(limit)))
        ]

    async def own_ids(self, ids: Collection[str]) -> dict[str, int]:
        """Return own id → position of the observed decisions that have one of these, the name of its source included.

        Raises `JournalFormatError` for a journal that keeps none.
        """
        if not has_own_ids(await self.format()):
            raise keeps_no_own_ids(self._path, await self.format())
        rows = [row for some in _chunks(sorted(set(ids))) for row in await self._rows(_OWN_IDS, (json.dumps(some),))]
        return {str(own_id): int(position) for own_id, position in rows}

    async def format(self) -> int:
        """Return the format of the journal."""
        return int((await self._rows(_FORMAT, ()))[0][0])

    async def tail(self) -> int:
        """Return the last position there is, 0 in an empty journal."""
        return int((await self._rows(_TAIL, ()))[0][0])

    async def workspace(self) -> str | None:
        """Return the workspace that the journal belongs to."""
        rows = await self._rows(_WORKSPACE, ())
        return str(rows[0][0]) if rows else None

    async def close(self) -> None:
        """Close the connection, if one was opened. Closing twice is harmless."""
        self._closed = True
        if self._process == os.getpid():
            await self._connection.close()

    async def _pages(self, statement: str, parameters: Row) -> tuple[list[Row], bool]:
        """Return a page, and whether there may be another: it is full by its number of entries, or by their size."""
        page = await self._rows(statement, parameters)
        return page, len(page) == self._page or _size(page) >= _PAGE_BYTES

    async def _rows(self, statement: str, parameters: Row) -> list[Any]:
        if self._closed or self._process != os.getpid():
            raise self._is_closed()
        try:
            connection = self._connection.open or await self._connection.opened()
            return await connection.fetch(self._stated(statement), parameters)
        except LoomError:
            raise
        except (sqlite3.Error, TypeError, ValueError, OverflowError) as error:
            raise self._failed(error) from error

    async def _has_turn_index(self) -> bool:
        if not self._indexed:  # once there it stays; if it is dropped, the statements that use it fail
            found = dict(await self._rows(SCHEMA_ROWS, ()))
            self._indexed = found.get("entries_by_turn") == expected_schema()["entries_by_turn"]
        return self._indexed

    def _failed(self, error: Exception) -> LoomError:
        """Return what to raise for an error of SQLite, or of a connection that was closed meanwhile."""
        return self._is_closed() if self._closed else explained(error, self._path, writing=False)

    def _is_closed(self) -> JournalClosedError:
        why = "is closed" if self._closed else "was opened for reading by the parent of this forked process"
        return JournalClosedError(f"journal [{self._path}] {why}; expected an open one: open it again")

    def _connect(self) -> Reading:
        connection = connect_reader(self._path, busy_timeout_s=self._busy_timeout_s, factory=_Reading)
        row = connection.execute(_WORKSPACE).fetchone()
        self._workspace = "" if row is None else str(row[0])
        self._has_schemes = has_own_ids(format_of(connection))
        return connection

    def _stated(self, statement: str) -> str:
        """Return a statement in the words of the file's format, which is known once there is a connection."""
        return statement.replace(COLUMNS, COLUMNS_3) if self._has_schemes else statement

    def _recorded(self, row: Row) -> Recorded:
        return Recorded(*row, workspace=self._workspace)


class _Reading(Reading):
    """Gives pages and parts cursors of their own, so that each is fetched in one go."""

    def cursor_of(self, sql: str) -> type[sqlite3.Cursor]:
        return _Page if sql in _PAGES else _Parts if sql.startswith(_PARTS_BEGIN) else sqlite3.Cursor


class _Page(sqlite3.Cursor):
    """Reads until the page is full, in entries (the statement's own limit) or in bytes; the statement ends with it."""

    def fetchall(self) -> list[Row]:
        try:
            rows: list[Row] = []
            size = 0
            while size < _PAGE_BYTES:
                chunk = self.fetchmany(_CHUNK)
                rows += chunk
                size += _size(chunk)
                if len(chunk) < _CHUNK:
                    break
            return rows
        finally:
            self.close()


class _Parts(sqlite3.Cursor):
    """Reads rows of a statement on parts as what they are."""

    def fetchall(self) -> list[Part]:
        return [
            Part._make((*header, None if values is None else tuple(from_json(values))))
            for *header, values in super().fetchall()
        ]


def _taking_apart(statement: str, paths: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return a statement for so many paths, and the paths as SQLite writes them."""
    if len(paths) < 2:
        raise ValueError(f"[{len(paths)}] paths were given; expected two or more, as one alone has another shape")
    return statement.format(", ".join("?" * len(paths))), tuple(f"$.{path}" for path in paths)


def _chunks(values: Sequence[T], *, of: int = _AT_ONCE) -> Iterator[Sequence[T]]:
    return (values[start : start + of] for start in range(0, len(values), of))


def _size(rows: list[Row]) -> int:
    return sum([len(row[_BODY]) for row in rows if row[_BODY] is not None])
