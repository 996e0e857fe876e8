"""Private tables of a process: rows that were compared with their entries, as a basis for sums.

A sum over the views file depends on every row there. A sum over these tables depends only on rows that match the
journal: rows that were inserted or changed in the views file by other means are not among them.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from loom.background import finished
from loom.projections.confirming import Row
from loom.projections.projection import Projection
from loom.projections.sql import quoted, statements
from loom.projections.views import Parameters

__all__ = ["PrivateViews"]

T = TypeVar("T")

_TABLE = re.compile(r"\s*(--[^\n]*\n\s*)*CREATE TABLE ")


class PrivateViews:
    """Tables of some projections, empty at first, in a database that only this process can open. Close it when done.

    They have the indexes of their keys only; `index` creates others. A row may leave columns out.
    """

    def __init__(self, *projections: Projection) -> None:
        # Without a name SQLite spills to a file that is already deleted.
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._using = asyncio.Lock()
        for projection in projections:
            for statement in statements(projection.schema):
                if _TABLE.match(statement):
                    self._connection.execute(statement.replace(" NOT NULL", ""))

    async def add(self, table: str, rows: Iterable[Row]) -> None:
        """Insert rows that all have the same columns, including their key. An existing row is left as it is."""
        plain = [dict(row) for row in rows]
        if plain:
            await self._run(lambda: self._insert(table, plain))

    async def widen(self, table: str, *columns: str) -> None:
        """Add columns of any type to a table."""
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
        """Return rows, with the parameters of `Queries.fetch`; names and consistency have no effect here."""
        return await self._run(lambda: self._connection.execute(statement, parameters).fetchall())

    async def close(self) -> None:
        """Delete the tables."""
        await self._run(self._connection.close)

    def _insert(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        names = list(rows[0])
        columns, marks = ", ".join(map(quoted, names)), ", ".join("?" * len(names))
        statement = f"INSERT OR IGNORE INTO {quoted(table)} ({columns}) VALUES ({marks})"  # noqa: S608 - of a projection
        self._connection.executemany(statement, ([row[name] for name in names] for row in rows))

    async def _run(self, work: Callable[[], T]) -> T:
        async with self._using:
            return await finished(asyncio.to_thread(work))
