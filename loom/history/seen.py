"""What an import has prepared of rows, in a temporary database: memory does not grow with the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from loom.history.rows import Prepared

__all__ = ["Seen"]

_SCHEMA = """
CREATE TABLE rows (
  row INTEGER PRIMARY KEY, own_id TEXT NOT NULL UNIQUE, canonical TEXT NOT NULL, is_new INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE heads (journal TEXT PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID;
"""
_TAKE = "INSERT INTO rows (row, own_id, canonical) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_OF = "SELECT row, own_id, canonical FROM rows WHERE own_id = ?"
_KNOWN = "UPDATE rows SET is_new = 0 WHERE own_id = ?"
_NEW = "SELECT row, own_id, canonical FROM rows WHERE is_new = 1 ORDER BY row"
_HEAD = "SELECT sequence FROM heads WHERE journal = ?"
_SET_HEAD = "INSERT INTO heads VALUES (?, ?) ON CONFLICT DO UPDATE SET sequence = excluded.sequence"
_MOST_HEADS = 50_000


class Seen:
    """The rows of one import by own id, and how far its journals are. Close it when done."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect("", isolation_level=None)  # a file of SQLite's own, which goes with the connection
        self._rows.executescript(_SCHEMA)
        self._rows.execute("PRAGMA synchronous = OFF")
        self._rows.execute("BEGIN")
        self._heads: dict[str, int] = {}

    def take(self, row: Prepared) -> bool:
        """Take a row; False where its own id was there before."""
        return self._rows.execute(_TAKE, (row.row, row.own_id, row.canonical)).rowcount == 1

    def of(self, own_id: str) -> Prepared:
        """Return the first row of an own id."""
        return Prepared.of(*self._rows.execute(_OF, (own_id,)).fetchone())

    def known(self, own_id: str) -> None:
        """Note that a row is in the journal already."""
        self._rows.execute(_KNOWN, (own_id,))

    def new(self) -> Iterator[Prepared]:
        """Yield the rows that are not in the journal, in the order of the file."""
        return (Prepared.of(*row) for row in self._rows.execute(_NEW))

    def head(self, journal: str) -> int | None:
        """Return the sequence of a journal that this import has set, or None."""
        known = self._heads.get(journal)
        if known is not None or len(self._heads) < _MOST_HEADS:
            return known
        row = self._rows.execute(_HEAD, (journal,)).fetchone()
        return None if row is None else int(row[0])

    def set_head(self, journal: str, sequence: int) -> None:
        """Note the sequence of a journal; those that are too many to be kept at hand are written down."""
        if journal in self._heads or len(self._heads) < _MOST_HEADS:
            self._heads[journal] = sequence
        else:
            self._rows.execute(_SET_HEAD, (journal, sequence))

    def close(self) -> None:
        """Delete it."""
        self._rows.close()
