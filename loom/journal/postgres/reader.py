"""Streaming reads of a journal: a few connections, one statement a page, no transaction that stays open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from typing import Any, TypeVar

from pydantic_core import from_json

from loom.identity import check_limit
from loom.journal.entry import Part, Recorded, at_path
from loom.journal.holders import Holder
from loom.journal.kinds import ENDINGS, MARKS
from loom.journal.postgres.options import PostgresOptions
from loom.journal.postgres.sessions import Sessions
from loom.journal.postgres.url import PostgresUrl

__all__ = ["COLUMNS", "PostgresReader"]

COLUMNS = (
    "position, journal, sequence, kind, schema_version, command_id, epoch, recorded_at_us, clock_back_us, "
    "policy_hash, salt, body, body_digest, entry_hash, body_scheme"
)
"""The columns of an entry in the order of the fields of `Recorded`."""

_MARKED = "kind IN (" + ", ".join(f"'{kind}'" for kind in sorted(MARKS)) + ")"
_ENDED = "kind IN (" + ", ".join(f"'{kind}'" for kind in sorted(ENDINGS)) + ")"
_PART = "position, journal, sequence, kind, schema_version, command_id, recorded_at_us, body"

_BY_SEQUENCE = f"""
SELECT {COLUMNS} FROM entries WHERE journal = $1 AND sequence > $2 AND sequence <= $3 ORDER BY sequence LIMIT $4
"""  # noqa: S608 - constants only
_BY_POSITION = f"SELECT {COLUMNS} FROM entries WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3"  # noqa: S608
_COMMAND = f"""
SELECT {COLUMNS} FROM entries
WHERE position = (SELECT position FROM commands WHERE journal = $1 AND command_id = $2)
"""  # noqa: S608
_AT = f"SELECT {COLUMNS} FROM entries WHERE position = ANY ($1::bigint[]) ORDER BY position"  # noqa: S608
_PARTS = f"SELECT {_PART} FROM entries WHERE position = ANY ($1::bigint[]) ORDER BY position"  # noqa: S608
_STEPS = f"""
SELECT {COLUMNS} FROM entries
WHERE (journal, sequence) IN (SELECT * FROM unnest($1::text[], $2::bigint[]))
"""  # noqa: S608
_OF_TURNS = "(SELECT * FROM unnest($1::text[], $2::text[]))"
_COMMANDS = f"""
SELECT {_PART} FROM entries
WHERE position IN (SELECT position FROM commands WHERE (journal, command_id) IN {_OF_TURNS})
"""  # noqa: S608
_MARKS = f"""
SELECT {COLUMNS} FROM entries WHERE {_MARKED} AND (journal, command_id) IN {_OF_TURNS} ORDER BY position
"""  # noqa: S608
_NOT_ENDED = f"""
NOT EXISTS (SELECT 1 FROM entries AS ending
  WHERE ending.journal = commands.journal AND ending.command_id = commands.command_id AND ending.{_ENDED})
"""  # noqa: S608
# An ending is for good: only what had none when it was looked for last, and what came since, need be looked at again.
_UNFINISHED = f"""
SELECT position FROM commands WHERE (position = ANY ($1::bigint[]) OR position > $2) AND {_NOT_ENDED} ORDER BY position
"""  # noqa: S608
_ASKED = f"""
SELECT commands.position FROM commands JOIN (
  SELECT DISTINCT journal, command_id FROM entries WHERE kind = 'approval_requested'
) AS asked USING (journal, command_id) WHERE {_NOT_ENDED} ORDER BY commands.position
"""  # noqa: S608
_OWN_IDS = "SELECT own_id, position FROM own_ids WHERE own_id = ANY ($1::text[])"
_JOURNALS = "SELECT journal, sequence FROM heads WHERE journal > $1 AND sequence > 0 ORDER BY journal LIMIT $2"
_HEAD = "SELECT sequence, entry_hash FROM heads WHERE journal = $1 AND sequence > 0"
_HOLDERS = """
SELECT journal, writer, address, fenced_at IS NOT NULL AS fenced
FROM heads JOIN writers USING (writer) WHERE journal = ANY ($1::text[])
"""
_TAIL = "SELECT position, recorded_at_us FROM tail"

_FOREVER = 2**63 - 1
_AT_ONCE = 1_000
_STREAMED = 50

T = TypeVar("T")


class PostgresReader:
    """Reads a journal while any process writes it. Opens at first use; close it when done."""

    def __init__(self, url: PostgresUrl, *, options: PostgresOptions | None = None, primary: bool = False) -> None:
        self.url = url
        self._options = options or PostgresOptions()
        self.sessions = Sessions(url, self._options, name="loom reader", primary=primary)
        self._unfinished: tuple[list[int], int] = ([], 0)
        """The commands whose turns had no end when they were looked for last, and the last position at that time."""

    async def read(self, journal: str, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream one journal by sequence: those after `after`, up to and with `until`."""
        last, page = _bounded(until), self._options.page
        while True:
            rows = await self.rows(_BY_SEQUENCE, journal, _bounded(after), last, page)
            for row in rows:
                yield self._recorded(row)
            if len(rows) < page:
                return
            after = rows[-1]["sequence"]

    async def read_all(self, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream the workspace by position: those after `after`, up to and with `until`."""
        while True:
            found = await self.page(after=after, until=until)
            for recorded in found:
                yield recorded
            if len(found) < self._options.page:
                return
            after = found[-1].position

    async def page(self, *, after: int, until: int | None = None) -> list[Recorded]:
        """Return the next page of the workspace by position; an empty page says that there is no more for now."""
        rows = await self.rows(_BY_POSITION, _bounded(after), _bounded(until), self._options.page)
        return [self._recorded(row) for row in rows]

    async def find_command(self, journal: str, command_id: str) -> Recorded | None:
        """Return the entry with which a command was received, or None."""
        rows = await self.rows(_COMMAND, journal, command_id)
        return next((self._recorded(row) for row in rows), None)

    async def at(self, positions: Collection[int]) -> dict[int, Recorded]:
        """Return position → entry of those positions at which there is one."""
        rows = [row for some in _chunks(_known(positions)) for row in await self.rows(_AT, some)]
        return {row["position"]: self._recorded(row) for row in rows}

    async def parts(self, positions: Collection[int], paths: Sequence[str]) -> dict[int, Part]:
        """Return position → the values in the body of its entry at two or more paths, of names joined by dots."""
        _check_paths(paths)
        rows = [row for some in _chunks(_known(positions)) for row in await self.rows(_PARTS, some)]
        return {row["position"]: _part(row, paths) for row in rows}

    async def steps(self, wanted: Collection[tuple[str, int]]) -> dict[tuple[str, int], Recorded]:
        """Return (journal, sequence) → entry of those at which there is one."""
        rows = [row for some in _chunks(sorted(set(wanted))) for row in await self.rows(_STEPS, *_columns(some))]
        return {(row["journal"], row["sequence"]): self._recorded(row) for row in rows}

    async def commands(self, turns: Collection[tuple[str, str]], paths: Sequence[str]) -> dict[tuple[str, str], Part]:
        """Return turn → the values in the body of its `CommandReceivedEntry` at two or more paths."""
        _check_paths(paths)
        rows = [row for some in _chunks(sorted(set(turns))) for row in await self.rows(_COMMANDS, *_columns(some))]
        return {(row["journal"], row["command_id"]): _part(row, paths) for row in rows}

    async def marks(self, turns: Collection[tuple[str, str]]) -> list[Recorded]:
        """Return the entries of `MARKS` that turns have, by position."""
        rows = [row for some in _chunks(sorted(set(turns))) for row in await self.rows(_MARKS, *_columns(some))]
        return [self._recorded(row) for row in sorted(rows, key=lambda row: int(row["position"]))]

    async def unfinished(self, *, asked: bool = False) -> AsyncIterator[Recorded]:
        """Stream the `CommandReceivedEntry` of every turn without an end, by position, or where it has `asked`."""
        if asked:
            positions = [row["position"] for row in await self.rows(_ASKED)]
        else:
            tail = await self.tail()
            positions = [row["position"] for row in await self.rows(_UNFINISHED, *self._unfinished)]
            self._unfinished = (positions, tail)
        for some in _chunks(positions, of=_STREAMED):
            for recorded in (await self.at(some)).values():
                yield recorded

    async def journals(self, *, after: str = "", limit: int = 1000) -> list[tuple[str, int]]:
        """Return names and last sequences of journals by name."""
        return [(row["journal"], row["sequence"]) for row in await self.rows(_JOURNALS, after, check_limit(limit))]

    async def own_ids(self, ids: Collection[str]) -> dict[str, int]:
        """Return own id → position of observed decisions; an own id includes the name of its source."""
        rows = [row for some in _chunks(sorted(set(ids))) for row in await self.rows(_OWN_IDS, some)]
        return {row["own_id"]: row["position"] for row in rows}

    async def head(self, journal: str) -> tuple[int, bytes] | None:
        """Return the last sequence of a journal and its hash, None where there is no entry."""
        rows = await self.rows(_HEAD, journal)
        return (rows[0]["sequence"], rows[0]["entry_hash"]) if rows else None

    async def holders(self, journals: Collection[str]) -> dict[str, Holder]:
        """Return journal → the process that acquired it last, for those that one has."""
        rows = await self.rows(_HOLDERS, list(journals)) if journals else []
        return {row["journal"]: Holder(row["writer"], row["address"], row["fenced"]) for row in rows}

    async def tail(self) -> int:
        """Return the last position there is, 0 in an empty journal."""
        return (await self.tail_and_time())[0]

    async def tail_and_time(self) -> tuple[int, int]:
        """Return the last position there is, and the time of its entry."""
        (row,) = await self.rows(_TAIL)
        return int(row["position"]), int(row["recorded_at_us"])

    async def workspace(self) -> str | None:
        """Return the workspace that the journal belongs to."""
        return self.url.workspace

    async def rows(self, statement: str, *parameters: object) -> list[Any]:
        """Return what a statement finds, on a connection of its own meanwhile; raise what its failure means."""
        async with self.sessions.one() as connection:
            return list(await connection.fetch(statement, *parameters))

    async def close(self) -> None:
        """Close the connections. Closing twice is harmless; a server that does not answer is not waited for."""
        await self.sessions.close()

    def _recorded(self, row: Any) -> Recorded:
        return Recorded(*row, workspace=self.url.workspace)


def _bounded(number: int | None) -> int:
    return _FOREVER if number is None else max(-_FOREVER, min(number, _FOREVER))


def _known(positions: Collection[int]) -> list[int]:
    return sorted({each for each in positions if 0 < each <= _FOREVER})


def _columns(pairs: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [first for first, _ in pairs], [second for _, second in pairs]


def _chunks(given: Sequence[T], *, of: int = _AT_ONCE) -> Iterator[Sequence[T]]:
    for start in range(0, len(given), of):
        yield given[start : start + of]


def _check_paths(paths: Sequence[str]) -> None:
    if len(paths) < 2:
        raise ValueError(f"parts of entries were asked for at [{len(paths)}] paths; expected two or more: name another")


def _part(row: Any, paths: Sequence[str]) -> Part:
    *header, body = row
    shape = None if body is None else from_json(body)
    values = None if body is None else tuple(at_path(shape, path) for path in paths)
    return Part._make((*header, values))
