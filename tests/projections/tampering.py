"""Changing a views file behind a loom's back, as anybody may who can write it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path


def tamper(views: Path, statement: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> int:
    """Run one statement on a views file and return how many rows it changed."""
    with contextlib.closing(sqlite3.connect(views, timeout=10)) as connection, connection:
        return connection.execute(statement, parameters).rowcount
