"""Which rows of a projection have changed: triggers of SQLite write down their keys, in the transaction of the change.

Whatever a projection does in SQL is seen, without a line of code of its own. What was written down since the last page
that is known to be published is a superset of what is missing there: to publish it twice does no harm.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from loom.errors import ProjectionFailedError
from loom.projections.projection import Projection
from loom.projections.published import published_by
from loom.projections.sql import quoted

__all__ = [
    "Changes",
    "PublishedTable",
    "Rows",
    "base_of",
    "changes_of",
    "forget_changes",
    "is_captured",
    "key_of",
    "start_capture",
    "tables_of",
    "whole",
]

_TYPES = {"INTEGER": "bigint", "INT": "bigint", "TEXT": "text", "REAL": "double precision", "BLOB": "bytea"}
_COLUMNS = "SELECT name, type, pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid"
_TRIGGERS = (
    "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ? AND name LIKE 'published % of %'"
)
_EVENTS = (("insert", ("NEW",)), ("update", ("OLD", "NEW")), ("delete", ("OLD",)))
_BASES = "CREATE TABLE IF NOT EXISTS published_bases (name TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT"
_SET_BASE = "INSERT INTO published_bases VALUES (?, ?) ON CONFLICT DO UPDATE SET position = excluded.position"
_BASE = "SELECT position FROM published_bases WHERE name = ?"
_AT_ONCE = 5_000

Rows = list[tuple[Any, ...]]


class PublishedTable(NamedTuple):
    """A table that is published: its columns in order, with the types of PostgreSQL, and those of its key."""

    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    key: tuple[str, ...]
    text: tuple[str, ...]
    indexes: tuple[tuple[str, ...], ...]

    def type_of(self, column: str) -> str:
        """Return the type of a column in PostgreSQL."""
        return self.types[self.columns.index(column)]


class Changes(NamedTuple):
    """What has changed of a table: rows as they are now, and the keys of those that are gone."""

    rows: Rows
    gone: Rows


def tables_of(projection: Projection, view: sqlite3.Connection) -> tuple[PublishedTable, ...]:
    """Return the tables that are published of a projection; raise `ProjectionFailedError` for one that cannot be."""
    return tuple(_table(projection, each.table, view) for each in published_by(projection))


def _table(projection: Projection, name: str, view: sqlite3.Connection) -> PublishedTable:
    (declared,) = [each for each in published_by(projection) if each.table == name]
    found = [tuple(row) for row in view.execute(_COLUMNS, (name,))]
    key = tuple(column for column, _, pk, _ in sorted(found, key=lambda row: row[2]) if pk)
    left_out = set(declared.leaves_out)
    kept = [(column, kind) for column, kind, _, hidden in found if hidden != 1 and column not in left_out]
    problem = None
    if name not in projection.tables:
        problem = f"[{name}] is no table of it"
    elif not key or left_out & set(key):
        problem = f"table [{name}] has no primary key"
    elif unknown := [f"{column} {kind}" for column, kind in kept if kind.upper() not in _TYPES]:
        problem = f"table [{name}] has columns of other types [{', '.join(unknown)}]"
    elif missing := (
        {*declared.text, *(each for some in declared.indexes for each in some)} - {each for each, _ in kept}
    ):
        problem = f"table [{name}] has no columns [{', '.join(sorted(missing))}]"
    if problem is not None:
        raise ProjectionFailedError(
            f"projection [{projection.name}] cannot be published: {problem}; expected tables with a primary key and "
            f"columns of types [{', '.join(_TYPES)}]: correct what it publishes"
        )
    columns, kinds = tuple(column for column, _ in kept), tuple(_TYPES[kind.upper()] for _, kind in kept)
    return PublishedTable(name, columns, kinds, key, declared.text, declared.indexes)


def is_captured(tables: Sequence[PublishedTable], view: sqlite3.Connection) -> bool:
    """Tell whether the changes of tables are written down; they are not in a file that was made again."""
    view.execute("PRAGMA recursive_triggers = ON")  # else a row that another one replaces is not seen to go
    return all(view.execute(_TRIGGERS, (table.name,)).fetchone()[0] == len(_EVENTS) for table in tables)


def start_capture(name: str, tables: Sequence[PublishedTable], view: sqlite3.Connection) -> None:
    """Begin to write down the changes of the tables of a projection, which are empty."""
    view.execute(_BASES)
    view.execute(_SET_BASE, (name, 0))
    for table in tables:
        log, names = quoted(_log_of(table)), ", ".join(map(quoted, table.key))
        view.execute(f"DROP TABLE IF EXISTS {log}")
        view.execute(f"CREATE TABLE {log} ({names})")
        for event, images in _EVENTS:
            trigger = quoted(f"published {event} of {table.name}")
            inserts = " ".join(
                f"INSERT INTO {log} VALUES ({', '.join(f'{image}.{quoted(each)}' for each in table.key)});"  # noqa: S608 - names of a projection
                for image in images
            )
            view.execute(f"DROP TRIGGER IF EXISTS {trigger}")
            view.execute(f"CREATE TRIGGER {trigger} AFTER {event.upper()} ON {quoted(table.name)} BEGIN {inserts} END")


def changes_of(table: PublishedTable, view: sqlite3.Connection) -> Changes:
    """Return what has changed since it was last forgotten."""
    key, log = ", ".join(map(quoted, table.key)), quoted(_log_of(table))
    same = " AND ".join(f"own.{quoted(each)} IS log.{quoted(each)}" for each in table.key)
    columns = ", ".join(f"own.{quoted(each)}" for each in table.columns)
    changed = f"(SELECT DISTINCT {key} FROM {log}) AS log"  # noqa: S608
    own = f"{quoted(table.name)} AS own"
    rows = view.execute(f"SELECT {columns} FROM {changed} JOIN {own} ON {same}").fetchall()  # noqa: S608
    gone = view.execute(
        f"SELECT {', '.join(f'log.{quoted(each)}' for each in table.key)} FROM {changed} "  # noqa: S608
        f"WHERE NOT EXISTS (SELECT 1 FROM {own} WHERE {same})"
    ).fetchall()
    return Changes(_plain(rows), _plain(gone))


def base_of(name: str, view: sqlite3.Connection) -> int:
    """Return the position from which on all changes of a projection are written down."""
    return int(view.execute(_BASE, (name,)).fetchone()[0])


def forget_changes(name: str, tables: Sequence[PublishedTable], position: int, view: sqlite3.Connection) -> None:
    """Forget what has changed up to a position: it is published."""
    view.execute(_SET_BASE, (name, position))
    for table in tables:
        view.execute(f"DELETE FROM {quoted(_log_of(table))}")  # noqa: S608


def whole(table: PublishedTable, view: sqlite3.Connection, *, after: tuple[Any, ...] | None) -> Rows:
    """Return the next rows of a table by its key; an empty list at its end."""
    columns, key = ", ".join(map(quoted, table.columns)), ", ".join(map(quoted, table.key))
    where = "" if after is None else f"WHERE ({key}) > ({', '.join('?' * len(after))})"
    statement = f"SELECT {columns} FROM {quoted(table.name)} {where} ORDER BY {key} LIMIT {_AT_ONCE}"  # noqa: S608
    return _plain(view.execute(statement, after or ()).fetchall())


def key_of(table: PublishedTable, row: Sequence[Any]) -> tuple[Any, ...]:
    """Return the key of a row."""
    return tuple(row[table.columns.index(each)] for each in table.key)


def _plain(rows: Sequence[Any]) -> Rows:
    return [tuple(_without_null(value) for value in row) for row in rows]


def _without_null(value: Any) -> Any:
    """Return a value as PostgreSQL can keep it: no entry of loom's own has U+0000, one of a foreign file may."""
    return value.replace("\x00", "\ufffd") if isinstance(value, str) and "\x00" in value else value


def _log_of(table: PublishedTable) -> str:
    return f"published {table.name}"
