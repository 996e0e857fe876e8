"""Looking at journals from outside: through SQLite only, in a connection of its own."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

from loom.journal.sqlite.connection import connect_reader
from loom.journal.sqlite.verify import verify
from tests.reliability.board import Tally

__all__ = ["Row", "check_verified", "query", "rows_of"]


class Row(NamedTuple):
    """What stands in the table of one entry, as far as receipts speak of it."""

    position: int
    journal: str
    sequence: int
    kind: str
    command_id: str | None
    epoch: int
    entry_hash: bytes
    body: bytes


def rows_of(path: Path) -> list[Row]:
    """Return all entries in the order of their positions, by a scan of the table."""
    columns = ", ".join(Row._fields)
    return [Row(*row) for row in query(path, f"SELECT {columns} FROM entries NOT INDEXED ORDER BY position")]


def query(path: Path, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Return what a statement gives."""
    with contextlib.closing(connect_reader(path)) as connection:
        return connection.execute(statement, parameters).fetchall()


def check_verified(tally: Tally, path: Path, about: object) -> None:
    """Count a failure where a journal does not verify."""
    found = verify(path)
    tally.check(found.ok, f"{about}: {list(found.lines())[:5]}")
