"""Compare a table of two databases row by row, in the order of its key, with one row of each in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from loom.projections.sql import quoted

__all__ = ["Difference", "compare_tables"]


class Difference(NamedTuple):
    """A row with a fault: it `DIFFERS` in some columns, is `MISSING`, or `INVENTED`. With the row itself."""

    code: str
    key: str
    columns: tuple[str, ...]
    row: Mapping[str, Any]


_FTS = "SELECT 1 FROM sqlite_schema WHERE name = ? AND sql LIKE 'CREATE VIRTUAL TABLE%USING fts5%'"


def compare_tables(there: sqlite3.Connection, told: sqlite3.Connection, table: str) -> Iterator[Difference | int]:
    """Yield the differences of a table from the expected one, and at the end how many rows are expected.

    A full-text index is compared by its words, with document, column and place. Its layout on disk means nothing.
    """
    names, keys = _columns(told, table)
    pairs = _rows(there, table, names, keys), _rows(told, table, names, keys)
    ours, theirs = next(pairs[0], None), next(pairs[1], None)
    count, width = 0, len(keys)
    while ours is not None or theirs is not None:
        order = 1 if ours is None else -1 if theirs is None else _order(ours[:width], theirs[:width])
        if order < 0 and ours is not None:
            yield Difference("INVENTED", _key_as_text(ours[:width]), (), dict(zip(names, ours, strict=True)))
            ours = next(pairs[0], None)
            continue
        if order > 0 and theirs is not None:
            yield Difference("MISSING", _key_as_text(theirs[:width]), (), dict(zip(names, theirs, strict=True)))
        elif ours is not None and theirs is not None:
            if differing := tuple(n for n, a, b in zip(names, ours, theirs, strict=True) if not _same(a, b)):
                yield Difference("DIFFERS", _key_as_text(ours[:width]), differing, dict(zip(names, ours, strict=True)))
            ours = next(pairs[0], None)
        theirs = next(pairs[1], None)
        count += 1
    yield count


def _columns(connection: sqlite3.Connection, table: str) -> tuple[list[str], list[str]]:
    """Return the columns of a table, those of its key first, and its key: all columns where it has none."""
    if connection.execute(_FTS, (table,)).fetchone():
        return ["doc", "term", "col", "offset"], ["doc", "term", "col", "offset"]
    found = connection.execute(
        "SELECT name, pk FROM pragma_table_xinfo(?) WHERE hidden IN (0, 2, 3)", (table,)
    ).fetchall()
    keys = [name for name, place in sorted(found, key=lambda each: each[1]) if place]
    names = [name for name, _ in found]
    return (keys + [name for name in names if name not in keys], keys) if keys else (names, names)


def _rows(
    connection: sqlite3.Connection, table: str, names: Sequence[str], keys: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    source = quoted(table)
    if connection.execute(_FTS, (table,)).fetchone():
        words = f"words of {table}"
        connection.execute(f"CREATE VIRTUAL TABLE temp.{quoted(words)} USING fts5vocab(main, {source}, instance)")
        source = f"temp.{quoted(words)}"
    columns, order = (", ".join(map(quoted, each)) for each in (names, keys))
    cursor = connection.execute(f"SELECT {columns} FROM {source} ORDER BY {order}")  # noqa: S608 - names of the schema
    while page := list(islice(cursor, 1_000)):
        yield from page


def _order(ours: Sequence[object], theirs: Sequence[object]) -> int:
    """Return which of two keys comes first, as SQLite orders them."""
    left, right = [_rank(each) for each in ours], [_rank(each) for each in theirs]
    return (left > right) - (left < right)


def _rank(value: object) -> tuple[int, Any]:
    if value is None:
        return 0, 0
    if isinstance(value, int | float):
        return 1, value
    return (2, value.encode("utf-8", "surrogateescape")) if isinstance(value, str) else (3, value)


def _same(a: object, b: object) -> bool:
    return type(a) is type(b) and a == b


def _key_as_text(key: Sequence[object]) -> str:
    return " ".join(each.hex() if isinstance(each, bytes) else str(each) for each in key)
