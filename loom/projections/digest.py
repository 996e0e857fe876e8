"""The content of the views, independent of their history: rows in order, and one hash over them.

Two views files that were folded from the same journal must agree in this, whatever happened to each of them.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable

from loom.projections.sql import quoted

__all__ = ["digest", "dump"]

_TABLES = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' ORDER BY name"
_OWN = frozenset({"checkpoints", "snapshots", "snapshot_subjects"})


def dump(connection: sqlite3.Connection, tables: Iterable[str] | None = None) -> dict[str, list[tuple[object, ...]]]:
    """Return table → sorted rows of all plain tables of all projections, or of the projections that are named.

    Full-text indexes and their tables are left out: their layout on disk depends on the batches.
    """
    plain = [str(name) for (name,) in connection.execute(_TABLES) if not str(name).startswith("sqlite_")]
    chosen = [name for name in plain if name not in _OWN] if tables is None else sorted(set(tables) & set(plain))
    return {
        name: sorted(map(tuple, connection.execute(f"SELECT * FROM {quoted(name)}")), key=repr)  # noqa: S608
        for name in chosen
    }


def digest(connection: sqlite3.Connection, tables: Iterable[str] | None = None) -> str:
    """Return the SHA-256 over what `dump` returns, as hex digits."""
    digest = hashlib.sha256(b"loom/views/v1\n")
    for name, rows in dump(connection, tables).items():
        digest.update(f"{name} {len(rows)}\n".encode())
        for row in rows:
            digest.update(repr(row).encode() + b"\n")
    return digest.hexdigest()
