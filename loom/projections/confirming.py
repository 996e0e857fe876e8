"""Compare rows of views with the entries that they were made from.

A views file is a cache, and everyone with write access can change it. Therefore each row that is shown or used is
compared with its entries in the journal: a view can hide rows, but not invent them. The expected row has no code of its
own: the projection folds those entries again, in memory.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from loom.errors import ViewsDifferError
from loom.journal.entry import Recorded
from loom.journal.store import JournalReader
from loom.projections.joining import join
from loom.projections.projection import Projection
from loom.projections.sql import quoted, statements
from loom.telemetry import get_logger

__all__ = ["Confirmation", "Differences", "Row", "differing", "folded_in_memory", "refolded"]

_MOST = 100
_MOST_SCRATCH = 64

_log = get_logger("loom.projections")


class Row(Protocol):
    """A row by the names of its columns: a row of SQLite, or a dictionary."""

    def keys(self) -> Iterable[str]:
        """Return the names of its columns."""
        ...

    def __getitem__(self, name: str, /) -> Any: ...


class Differences:
    """Rows of the views that differ from the journal. Each is logged once, and the first ones are kept."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], str] = {}
        self.count = 0

    def __iter__(self) -> Iterator[str]:
        return iter([f"{table} {key}: {problem}" for (table, key), problem in self._found.items()])

    def add(self, table: str, key: object, problem: str) -> ViewsDifferError:
        """Record a row that differs, and return the error that refuses it."""
        row = (table, str(key))
        if row not in self._found:
            self.count += 1
            if len(self._found) < _MOST:
                self._found[row] = problem
            _log.warning("views_differ", table=table, key=str(key), problem=problem)
        return ViewsDifferError(
            f"row [{table} {key}] of the views is not what the journal says [{problem}]; expected what its entries "
            "give: see `loom verify --views`, then delete the views file, it is rebuilt from the journal"
        )


class Confirmation(NamedTuple):
    """How the rows of a table are compared with their entries.

    `key` are the columns that identify a row. `rests_on` returns the positions of the entries that a row is made from,
    as far as the row contains them. `commands` adds the entries with which the commands of their turns were received.
    """

    projection: Projection
    table: str
    key: tuple[str, ...] = ("position",)
    rests_on: Callable[[Row], Iterable[int | None]] = lambda row: (row["position"],)
    commands: bool = False


async def confirmed(
    entries: JournalReader, rows: Sequence[Row], how: Confirmation, differences: Differences
) -> list[Row]:
    """Return the rows that match their entries. Record the others, unless bodies of their entries are pruned."""
    if not rows:
        return []
    wanted = [[at for at in how.rests_on(row) if at is not None] for row in rows]
    found = await entries.at({at for positions in wanted for at in positions})
    received: list[Recorded] = []
    if how.commands:
        turns = {(each.journal, each.command_id) for each in found.values() if each.command_id is not None}
        received = [each for turn in turns if (each := await entries.find_command(*turn)) is not None]
    given = {each.position: each for each in [*found.values(), *received]}
    await join(entries, given.values())
    expected = {_key(row, how): row for row in refolded(how.projection, given.values(), how.table)}
    kept: list[Row] = []
    for row, positions in zip(rows, wanted, strict=True):
        if any(at in found and found[at].body is None for at in positions):
            continue  # pruned: a rebuilt view does not have this row
        problem = differing(row, expected.get(_key(row, how)))
        if problem is None:
            kept.append(row)
        else:
            differences.add(how.table, " ".join(map(str, _key(row, how))), problem)
    return kept


def differing(row: Row, expected: Row | None) -> str | None:
    """Return how a row differs from the expected one, in the columns that both have; None where it does not."""
    if expected is None:
        return "no entry gives it"
    both = set(expected.keys())
    names = [name for name in row.keys() if name in both and row[name] != expected[name]]  # noqa: SIM118 - no mapping
    return f"other than its entry in {', '.join(names)}" if names else None


def refolded(projection: Projection, entries: Iterable[Recorded], table: str) -> list[Row]:
    """Return the rows of a table that a projection makes from these entries alone, folded by position."""
    in_order = sorted(entries, key=lambda each: each.position)
    with folded_in_memory(projection, in_order) as view:
        return [dict(row) for row in view.execute(f"SELECT * FROM {quoted(table)}")]  # noqa: S608 - of a projection


@contextmanager
def folded_in_memory(projection: Projection, entries: Iterable[Recorded]) -> Iterator[sqlite3.Connection]:
    """Yield a database in memory with the tables that a projection makes from entries, in the order given.

    It exists until the block ends. Each thread creates the tables once and empties them by a rollback: to create them
    takes longer than to fold the few entries of a turn.
    """
    view = _scratch.views.pop(projection.schema, None) or _empty(projection)
    try:
        view.execute("BEGIN")
        for recorded in entries:
            if projection.kinds is None or recorded.kind in projection.kinds:
                projection.apply(recorded, view)
        yield view
        view.execute("ROLLBACK")
    except BaseException:
        view.close()
        raise
    if len(_scratch.views) < _MOST_SCRATCH:
        _scratch.views[projection.schema] = view
    else:
        view.close()


def _empty(projection: Projection) -> sqlite3.Connection:
    # Not of one thread alone: it may be collected in another one than the one that ended.
    view = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, factory=_InMemory)
    view.row_factory = sqlite3.Row
    for statement in statements(projection.schema):
        view.execute(statement)
    return view


class _InMemory(sqlite3.Connection):
    """A database that is closed with the thread that has it; from Python 3.13 on, one that is collected open warns."""

    def __del__(self) -> None:
        self.close()


class _Scratch(threading.local):
    """Empty databases in memory, by the schema of a projection. Each thread has its own."""

    def __init__(self) -> None:
        self.views: dict[str, sqlite3.Connection] = {}


_scratch = _Scratch()


def _key(row: Row, how: Confirmation) -> tuple[object, ...]:
    return tuple(row[name] for name in how.key)
