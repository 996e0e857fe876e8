"""Tables of a process's own: rows that were held against their entries, for sums to be made of.

A sum that is made in the views file rests on every row there. One that is made in here rests on rows that the journal
gives: what somebody put into the views, or changed there, is not among them.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from loom.projections.confirming import Row
from loom.projections.projection import Projection
from loom.projections.sql import quoted, statements
from loom.projections.views import Parameters

__all__ = ["PrivateViews"]

T = TypeVar("T")

_TABLE = re.compile(r"\s*(--[^\n]*\n\s*)*CREATE TABLE ")


class PrivateViews:
    """Tables of some projections, empty at first, in a database that nobody else can open; close it when done.

    They have no indexes but those of their keys, `index` makes others; and a row may leave columns out.
    """

    def __init__(self, *projections: Projection) -> None:
        # Without a name SQLite spills to a file that is deleted already.
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._using = asyncio.Lock()
        for projection in projections:
            for statement in statements(projection.schema):
                if _TABLE.match(statement):
                    self._connection.execute(statement.replace(" NOT NULL", ""))

    async def add(self, table: str, rows: Iterable[Row]) -> None:
        """Insert rows that all have the same columns, their key among them; one that is there is left as it is."""
        plain = [dict(row) for row in rows]
        if plain:
            await self._run(lambda: self._insert(table, plain))

    async def widen(self, table: str, *columns: str) -> None:
        """Give a table more columns, for anything."""
        for column in columns:
            statement = f"ALTER TABLE {quoted(table)} ADD COLUMN {quoted(column)} ANY"
            await self._run(lambda statement=statement: self._connection.execute(statement))  # type: ignore[misc]

    async def index(self, table: str, *columns: str) -> None:
        """Index a table by some columns."""
        name = quoted(f"{table} by {' '.join(columns)}")
        statement = f"CREATE INDEX {name} ON {quoted(table)} ({', '.join(map(quoted, columns))})"
        await self._run(lambda: self._connection.execute(statement))

    async def fetch(
        self, statement: str, parameters: Parameters = (), *, names: Iterable[str] = (), consistent: bool = True
    ) -> list[sqlite3.Row]:
        """Return rows, asked for as of `Queries`: names and consistency say nothing here."""
        return await self._run(lambda: self._connection.execute(statement, parameters).fetchall())

    async def close(self) -> None:
        """Drop all of it."""
        await self._run(self._connection.close)

    def _insert(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        names = list(rows[0])
        columns, marks = ", ".join(map(quoted, names)), ", ".join("?" * len(names))
        statement = f"INSERT OR IGNORE INTO {quoted(table)} ({columns}) VALUES ({marks})"  # noqa: S608 - of a projection
        self._connection.executemany(statement, ([row[name] for name in names] for row in rows))

    async def _run(self, work: Callable[[], T]) -> T:
        async with self._using:
            return await asyncio.shield(asyncio.ensure_future(asyncio.to_thread(work)))
