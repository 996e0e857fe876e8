"""The raw limit: the standard library's sqlite3 with the same pragmas, table and rows, and nothing around it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

from loom.journal.sqlite.connection import SCHEMA

__all__ = ["appends_per_second", "one_row_commit_s", "one_row_commits_s", "validate_json_per_second"]

_INSERT = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def _connection(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 4000"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    connection.executescript(SCHEMA)
    return connection


def _rows(count: int, journals: int, body: bytes) -> list[tuple[object, ...]]:
    return [
        (
            number + 1,
            f"bench-agent/{number % journals}",
            number // journals + 1,
            "decision",
            1,
            f"command-{number}",
            1,
            number,
            0,
            b"p" * 32,
            b"s" * 16,
            body,
            b"d" * 32,
            b"h" * 32,
        )
        for number in range(count)
    ]


def appends_per_second(path: Path, *, count: int, batch: int, body: bytes) -> float:
    """Return rows per second when `batch` rows go into one transaction."""
    connection = _connection(path)
    rows = _rows(count, max(batch // 5, 1), body)
    began = time.perf_counter()
    for start in range(0, count, batch):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT, rows[start : start + batch])
        connection.execute("COMMIT")
    elapsed = time.perf_counter() - began
    connection.close()
    return count / elapsed


def one_row_commits_s(path: Path, *, count: int, body: bytes) -> Generator[float, None, None]:
    """Commit `count` transactions of one row, and yield the seconds that each took."""
    with closing(_connection(path)) as connection:
        for row in _rows(count, 1, body):
            began = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_INSERT, row)
            connection.execute("COMMIT")
            yield time.perf_counter() - began


def one_row_commit_s(path: Path, *, count: int, body: bytes) -> list[float]:
    """Return the seconds that each of `count` transactions of one row took."""
    return list(one_row_commits_s(path, count=count, body=body))


def validate_json_per_second(rows: Sequence[tuple[type, bytes]]) -> float:
    """Return how many bodies per second `validate_json` alone decodes: the limit of any replay."""
    validators = {cls: cls.__pydantic_validator__.validate_json for cls, _ in rows}  # type: ignore[attr-defined]
    began = time.perf_counter()
    for cls, body in rows:
        validators[cls](body)
    return len(rows) / (time.perf_counter() - began)
