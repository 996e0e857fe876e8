"""Faults of SQLite under the writer of a journal: which statement fails, how often, before or after it was done."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class Faults:
    """What shall go wrong: for a statement that begins so, how often, with which code, before or after it was done."""

    statement: str = ""
    times: int = 0
    code: int = sqlite3.SQLITE_IOERR
    done_first: bool = False
    seen: list[str] = field(default_factory=list)

    def plan(
        self, statement: str, *, times: int = 1, code: int = sqlite3.SQLITE_IOERR, done_first: bool = False
    ) -> None:
        self.statement, self.times, self.code, self.done_first = statement, times, code, done_first

    def strike(self, statement: str, run: Callable[[], Any]) -> Any:
        self.seen.append(statement)
        if not self.times or not statement.startswith(self.statement):
            return run()
        self.times -= 1
        if self.done_first:
            run()
        error = sqlite3.OperationalError(f"planned {self.code}")
        error.sqlite_errorcode = self.code
        raise error


def faulty(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Let what the writers of journals ask of SQLite go wrong where it is planned; readers are left alone."""
    plan = Faults()

    class FaultyConnection(sqlite3.Connection):
        def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:
            return plan.strike(sql, lambda: sqlite3.Connection.execute(self, sql, *given))  # type: ignore[no-any-return]

        def executemany(self, sql: str, *given: Any) -> sqlite3.Cursor:
            return plan.strike(sql, lambda: sqlite3.Connection.executemany(self, sql, *given))  # type: ignore[no-any-return]

    real = sqlite3.connect

    def connect(database: str, **given: Any) -> sqlite3.Connection:
        # Only the writer opens with mode=rw or rwc; everything else stays as it is.
        return (
            real(database, factory=FaultyConnection, **given)
            if "?mode=rw" in str(database)
            else real(database, **given)
        )

    monkeypatch.setattr(sqlite3, "connect", connect)
    return plan
