"""Changing a views file behind a loom's back, as anybody may who can write it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loom.projections.sql import quoted

__all__ = ["Change", "forgeries", "tamper"]

_OTHER: Mapping[str, object] = {
    "INTEGER": 987_654_321,
    "REAL": 0.123,
    "TEXT": "forged",
    "BLOB": b"forged",
    "": "forged",
}


@dataclass(frozen=True)
class Change:
    """One statement that changes one row, and what `loom verify --views` is to say of it."""

    table: str
    code: str
    statement: str
    parameters: Sequence[object] = ()
    column: str | None = None

    def __str__(self) -> str:
        return f"{self.table} {self.code.lower()} {self.column or ''}".strip()


def tamper(views: Path, statement: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> int:
    """Run one statement on a views file and return how many rows it changed."""
    with contextlib.closing(sqlite3.connect(views, timeout=10)) as connection, connection:
        return connection.execute(statement, parameters).rowcount


def forgeries(views: Path, table: str, *, rows: int = 1) -> Iterator[Change]:
    """Yield changes of the first rows of a table: each column to something else, a row gone, a row more."""
    named = quoted(table)
    with contextlib.closing(sqlite3.connect(views)) as connection:
        connection.row_factory = sqlite3.Row
        info = connection.execute("SELECT name, type, pk FROM pragma_table_info(?)", (table,)).fetchall()
        [(of_type, sql)] = connection.execute("SELECT type, sql FROM sqlite_schema WHERE name = ?", (table,))
        if of_type == "view":  # it holds nothing itself
            return
        if sql.startswith("CREATE VIRTUAL"):
            yield Change(table, "INVENTED", f"INSERT INTO {named} (rowid, rationale) VALUES (7654321, 'forged')")
            return
        columns = [row["name"] for row in info]
        keys = [row["name"] for row in info if row["pk"]] or columns
        found = connection.execute(f"SELECT * FROM {named} LIMIT ?", (rows,)).fetchall()
    types = {row["name"]: row["type"] for row in info}
    where = " AND ".join(f"{key} IS ?" for key in keys)
    for row in found:
        key = [row[each] for each in keys]
        for column in columns:
            if column not in keys and row[column] != (other := _other(types[column], row[column])):
                yield Change(table, "DIFFERS", f"UPDATE {named} SET {column} = ? WHERE {where}", [other, *key], column)
        yield Change(table, "MISSING", f"DELETE FROM {named} WHERE {where}", key)
        copied = {name: row[name] if name not in keys else _other(types[name], row[name]) for name in columns}
        copied |= {name: "forged" for name in ("decision_id", "approval_id", "run_id") if name in copied}
        marks = ", ".join("?" * len(copied))
        into = ", ".join(copied)
        yield Change(table, "INVENTED", f"INSERT INTO {named} ({into}) VALUES ({marks})", [*copied.values()])


def _other(of_type: str, value: Any) -> object:
    """Return a value of a type that is not the one that is there; a number stays near, so that it makes sense."""
    if isinstance(value, bool) or value in (0, 1):
        return 1 - value
    if isinstance(value, int):
        return value + 1_000_003
    if isinstance(value, float):
        return value + 0.25
    return _OTHER.get(of_type, "forged")
