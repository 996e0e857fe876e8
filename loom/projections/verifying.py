"""Verify views: fold the journal again into a temporary file, and compare every table with it, row by row.

The views are compared as they are, at the position up to which they were folded, with or without a running loom.
Nothing is written next to the journal, and nothing is repaired: to repair a views file, delete it; it is rebuilt.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loom.journal.entry import Recorded
from loom.journal.places import PlaceReader, reader_of
from loom.journal.sqlite import JournalFiles
from loom.journal.sqlite.connection import reader_uri
from loom.projections.comparing import Difference, compare_tables
from loom.projections.joining import OpenTurns
from loom.projections.opening import HoldsOpened
from loom.projections.projection import Checkpoint, Projection, shape_of
from loom.projections.projector import Progress
from loom.projections.sql import statements

__all__ = ["VIEW_CODES", "VIEW_DECLARED", "ViewFinding", "ViewsVerification", "verify_views"]

VIEW_CODES = {
    "DIFFERS": "a row is not what the journal gives",
    "MISSING": "a row that the journal gives is missing",
    "INVENTED": "a row exists that no entry gives",
    "SCHEMA_CHANGED": "a table, an index or a trigger was changed",
    "AHEAD": "the views hold more than the journal: an older backup of the journal was restored",
    "OF_ANOTHER_JOURNAL": "the views were folded from another journal",
    "STOPPED": "a projection has stopped at an error",
    "DAMAGED": "something cannot be read",
    "NOT_FOLDED": "a projection cannot be folded again",
    "OUTDATED": "the tables are of another version of their projection: the next loom rebuilds them",
    "SEALED": "a row depends on what is sealed, which is not opened here: it was not compared",
    "PRUNED": "a row depends on pruned bodies, or may: rebuilt views do not have it",
    "UNKNOWN": "the tables are of a projection that is not installed here: they were not compared",
}
"""Every code, with its meaning."""

VIEW_DECLARED = frozenset({"OUTDATED", "PRUNED", "SEALED", "UNKNOWN"})
"""The codes that are reported but are no fault."""

_MOST_PER_CODE = 100
_CHECKPOINTS = "SELECT name, version, shape, position, entry_hash, failed FROM checkpoints"
_OWN = ("checkpoints", "snapshots", "snapshot_subjects")


@dataclass(slots=True)
class _Pruned:
    """Entries whose bodies are pruned: what was folded from them earlier cannot be folded again."""

    positions: set[int] = field(default_factory=set)
    journals: set[str] = field(default_factory=set)
    closed: set[int] = field(default_factory=set)
    """Entries with a sealed part that views have opened, and that is not opened here."""

    def note(self, page: Sequence[Recorded]) -> None:
        """Record the pruned entries of a page."""
        for recorded in page:
            if recorded.body is None:
                self.positions.add(recorded.position)
                self.journals.add(recorded.journal)

    def may_be_of(self, row: Mapping[str, object]) -> bool:
        """Tell whether a row may depend on one of them. For a row that names no entry this cannot be excluded."""
        if not self.positions:
            return False
        named = [value for name, value in row.items() if name.endswith("position")]
        journal = row.get("journal")
        if not named and journal is None:
            return True
        return journal in self.journals or any(value in self.positions for value in named)


@dataclass(frozen=True, slots=True)
class ViewFinding:
    """One finding, with its projection, table, key of the row, and columns, where they apply."""

    code: str
    message: str
    projection: str | None = None
    table: str | None = None
    key: str | None = None
    columns: tuple[str, ...] = ()


@dataclass(slots=True)
class ViewsVerification:
    """The result of the comparison of a views file; `compared` is the number of rows by table."""

    path: str
    position: int = 0
    compared: dict[str, int] = field(default_factory=dict)
    findings: list[ViewFinding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Tell whether there is no fault: no finding with a code that is not in `VIEW_DECLARED`."""
        return all(code in VIEW_DECLARED for code in self.counts)

    def add(self, code: str, message: str, **where: Any) -> None:
        """Add a finding. Of each code the first 100 are kept, and the others only counted."""
        self.counts[code] = self.counts.get(code, 0) + 1
        if self.counts[code] <= _MOST_PER_CODE:
            self.findings.append(ViewFinding(code, message, **where))

    def verdict(self) -> str:
        """Return the result in one line."""
        faults = sum(count for code, count in self.counts.items() if code not in VIEW_DECLARED)
        rows = f"{sum(self.compared.values())} rows of {len(self.compared)} tables, at position {self.position}"
        noun = "finding" if faults == 1 else "findings"
        return f"VIEWS NOT VERIFIED: {faults} {noun} in {rows}" if faults else f"VIEWS VERIFIED: {rows}"


async def verify_views(
    files: JournalFiles, projections: Sequence[Projection], *, progress: Progress | None = None
) -> ViewsVerification:
    """Compare the views of a journal with what the journal gives. Without a views file nothing is compared."""
    found = ViewsVerification(str(files.views))
    if not files.views.exists():
        return found
    reader = reader_of(files)
    with tempfile.TemporaryDirectory(prefix="loom-verify-") as directory:
        copy, rebuilt = Path(directory) / "views.db", Path(directory) / "rebuilt.db"
        try:
            await asyncio.to_thread(_copy, files.views, copy)
            checkpoints = _checkpoints(copy)
            wanted = await _comparable(checkpoints, projections, reader, found)
            pruned = _Pruned()
            folded = await _fold(rebuilt, wanted, reader, found, pruned, progress)
            await asyncio.to_thread(_compare, copy, rebuilt, folded, checkpoints, pruned, found)
        except sqlite3.DatabaseError as error:
            found.add("DAMAGED", f"it cannot be read [{error}]")
        finally:
            await reader.close()
    return found


def _copy(original: Path, path: Path) -> None:
    """Copy views as they are at one moment: a comparison takes long, and a loom may write to them meanwhile."""
    with closing(sqlite3.connect(reader_uri(original), uri=True)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)


def _checkpoints(path: Path) -> dict[str, tuple[Checkpoint, str]]:
    with closing(sqlite3.connect(path)) as views:
        return {
            name: (Checkpoint(name, version, position, entry_hash, failed), shape)
            for name, version, shape, position, entry_hash, failed in views.execute(_CHECKPOINTS)
        }


async def _comparable(
    checkpoints: dict[str, tuple[Checkpoint, str]],
    projections: Sequence[Projection],
    reader: PlaceReader,
    found: ViewsVerification,
) -> list[tuple[Projection, int]]:
    """Return the projections whose tables can be compared, and at which position."""
    known = {each.name: each for each in projections}
    tail = await reader.tail()
    wanted: list[tuple[Projection, int]] = []
    for name, (checkpoint, shape) in sorted(checkpoints.items()):
        projection = known.get(name)
        if projection is None:
            found.add("UNKNOWN", f"projection [{name}] is not installed here", projection=name)
        elif (checkpoint.version, shape) != (projection.version, shape_of(projection)):
            found.add("OUTDATED", f"projection [{name}] is of version {checkpoint.version}", projection=name)
        elif checkpoint.position > tail:
            ahead = f"projection [{name}] is at position {checkpoint.position}, the journal ends at {tail}"
            found.add("AHEAD", ahead, projection=name)
        elif not await _is_there(checkpoint, reader):
            other = f"projection [{name}] ends with another entry at position {checkpoint.position}"
            found.add("OF_ANOTHER_JOURNAL", other, projection=name)
        else:
            if checkpoint.failed is not None:
                found.add("STOPPED", f"projection [{name}] has stopped [{checkpoint.failed}]", projection=name)
            wanted.append((projection, checkpoint.position))
    found.position = max((position for _, position in wanted), default=0)
    return wanted


async def _is_there(checkpoint: Checkpoint, reader: PlaceReader) -> bool:
    if not checkpoint.position:
        return checkpoint.entry_hash == b""
    recorded = (await reader.at([checkpoint.position])).get(checkpoint.position)
    return recorded is not None and recorded.entry_hash == checkpoint.entry_hash


async def _fold(
    path: Path,
    wanted: Sequence[tuple[Projection, int]],
    reader: PlaceReader,
    found: ViewsVerification,
    pruned: _Pruned,
    progress: Progress | None,
) -> list[Projection]:
    """Fold projections into a new file, each up to its position. Return those that could be folded."""
    going = dict.fromkeys(range(len(wanted)))
    last = max((position for _, position in wanted), default=0)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        for pragma in ("journal_mode = OFF", "synchronous = OFF"):
            connection.execute(f"PRAGMA {pragma}")
        for projection, _ in wanted:
            for statement in statements(projection.schema):
                connection.execute(statement)
        after, turns = 0, OpenTurns(reader)
        opening = [projection for projection, _ in wanted if isinstance(projection, HoldsOpened)]
        while after < last:
            page = await reader.page(after=after, until=last)
            if not page:
                break
            pruned.note(page)
            pruned.closed |= {each.position for each in page if any(one.is_closed(each) for one in opening)}
            await turns.take(page)
            await asyncio.to_thread(_feed, connection, page, wanted, going, found)
            after = page[-1].position
            if progress is not None:
                progress(after, last)
    finally:
        connection.close()
    return [wanted[index][0] for index in going]


def _feed(
    connection: sqlite3.Connection,
    page: Sequence[Recorded],
    wanted: Sequence[tuple[Projection, int]],
    going: dict[int, None],
    found: ViewsVerification,
) -> None:
    connection.execute("BEGIN")
    for index in list(going):
        projection, until = wanted[index]
        kinds = projection.kinds
        try:
            for recorded in page:
                if recorded.position <= until and (kinds is None or recorded.kind in kinds):
                    projection.apply(recorded, connection)
        except Exception as error:  # the views stopped at it as well, or did not record that
            found.add(
                "NOT_FOLDED",
                f"projection [{projection.name}]: {type(error).__name__}: {error}",
                projection=projection.name,
            )
            del going[index]
    connection.execute("COMMIT")


def _compare(
    copy: Path,
    rebuilt: Path,
    projections: Sequence[Projection],
    checkpoints: Collection[str],
    pruned: _Pruned,
    found: ViewsVerification,
) -> None:
    with closing(_opened(copy)) as there, closing(_opened(rebuilt)) as expected:
        changed = set()
        for name, problem in _schema_changes(there, expected, projections, checkpoints):
            found.add("SCHEMA_CHANGED", f"{name} {problem}", table=name)
            changed.add(name)
        for projection in projections:
            for table in projection.tables:
                if table in changed or _is_view(expected, table):
                    continue
                count = 0
                for difference in compare_tables(there, expected, table):
                    if isinstance(difference, int):
                        count = difference
                    else:
                        _, key, columns, _ = difference
                        code = _declared_code(projection, table, difference, pruned) or difference.code
                        shown = f"{table} [{key}]" + (f" in {', '.join(columns)}" if columns else "")
                        found.add(code, shown, projection=projection.name, table=table, key=key, columns=columns)
                found.compared[table] = count


def _declared_code(projection: Projection, table: str, difference: Difference, pruned: _Pruned) -> str | None:
    """Return the code of a difference that is no fault; None for a fault."""
    _, _, columns, row = difference
    if pruned.may_be_of(row):
        return "PRUNED"
    opened = projection.opened_tables.get(table) if isinstance(projection, HoldsOpened) else None
    if opened is None or not pruned.closed or not opened.issuperset(columns if opened else ()):
        return None
    if opened and not columns:
        return None
    return "SEALED" if row.get("position", next(iter(pruned.closed))) in pruned.closed else None


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    return connection


def _schema_changes(
    there: sqlite3.Connection,
    rebuilt: sqlite3.Connection,
    projections: Sequence[Projection],
    checkpoints: Collection[str],
) -> Iterator[tuple[str, str]]:
    """Yield what in the schema differs from that of the projections. Tables of other owners are ignored."""
    found, expected = _schema(there), _schema(rebuilt)
    compared = {table for projection in projections for table in projection.tables}
    everything = {each.name for each in projections} >= set(checkpoints)
    for name in sorted(found.keys() | expected.keys()):
        of_compared = name in expected or found[name][0] in compared or (everything and found[name][0] not in _OWN)
        if of_compared and found.get(name) != expected.get(name):
            yield (
                name,
                "is gone" if name not in found else "was changed" if name in expected else "does not belong there",
            )


def _is_view(connection: sqlite3.Connection, name: str) -> bool:
    """Tell whether a name is that of an SQL view, which has no rows of its own."""
    return (
        connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ? AND type = 'view'", (name,)).fetchone()
        is not None
    )


def _schema(connection: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    rows = connection.execute("SELECT name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return {name: (table, sql) for name, table, sql in rows if not name.startswith("sqlite_")}
