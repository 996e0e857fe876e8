"""Opening database files in tests."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

__all__ = ["connected"]


@contextmanager
def connected(database: Path | str, **options: Any) -> Iterator[sqlite3.Connection]:
    """Open a database, commit at the end, and close it: `with sqlite3.connect(…)` alone leaves it open."""
    with closing(sqlite3.connect(database, **options)) as connection, connection:
        yield connection
