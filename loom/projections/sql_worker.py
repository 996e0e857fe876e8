"""Runs one SQL statement of a person over a views file, in a process of its own: `python -I -S sql_worker.py`.

It takes a request as JSON from its standard input, and gives the answer as JSON. It may only read: the file is opened
for reading, an authorizer refuses all else, and the process can neither write to a file nor use much memory. It imports
nothing but the standard library, so that it starts at once. The server ends it when it takes too long.
"""

from __future__ import annotations

import json
import math
import re
import resource
import signal
import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["LIMITS", "answered", "main"]

LIMITS: Mapping[int, int] = {
    sqlite3.SQLITE_LIMIT_LENGTH: 1_000_000,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 10_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 200,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 50_000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 32,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 500,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 32,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
"""The bounds of a statement: bytes of a value and of its text, columns, depth, instructions and the like."""

_READING = re.compile(r"(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*(select|with|values|explain)\b", re.IGNORECASE | re.DOTALL)
_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit", "fsdir", "sqlite_log"})
_OWN_TABLES = frozenset({"json_each", "json_tree"})
_OF_WORDS = ("_data", "_idx", "_content", "_docsize", "_config")
_INTERNAL = ("sqlite_", "pragma_", "dbstat", "bytecode", "tables_used")
_STEPS = 1_000
_CELL = 2_000
_ANSWER_BYTES = 2_000_000
_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
_COLUMNS = "SELECT name FROM pragma_table_info(?)"


def main() -> None:
    """Answer one request."""
    request = json.loads(sys.stdin.readline())
    _bound(memory_bytes=request["memory_bytes"])
    try:
        answer = answered(request)
    except sqlite3.Error as error:
        answer = {"problem": f"the views cannot be read now: {error}"}
    except MemoryError:
        answer = {"problem": "it takes too much memory: ask for less"}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()


def answered(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a request: tables, and columns and rows of its statement, or what is wrong with it."""
    connection = sqlite3.connect(request["uri"], uri=True, isolation_level=None, timeout=1.0)
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    for pragma in ("query_only = ON", "trusted_schema = OFF", "temp_store = MEMORY", "mmap_size = 0"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    names = [str(row[0]) for row in connection.execute(_TABLES) if row[0] not in request["hidden"]]
    words = [name[: -len("_config")] for name in names if name.endswith("_config") and name[: -len("_config")] in names]
    shown = [name for name in names if not any(name == word + end for word in words for end in _OF_WORDS)]
    tables = {name: [str(row[0]) for row in connection.execute(_COLUMNS, (name,))] for name in shown}
    statement = request["statement"]
    if statement is None:
        return {"tables": tables}
    if not _READING.match(statement):
        return {"tables": tables, "problem": "expected one statement that begins with SELECT or WITH"}
    for limit, value in LIMITS.items():
        connection.setlimit(limit, value)
    for name in (*_OWN_TABLES, *words):  # they look at the schema when they are first used
        connection.execute(f'SELECT 1 FROM "{name}" LIMIT 0').fetchall()  # noqa: S608 - names of tables
    connection.set_authorizer(_only_reading(frozenset(names)))
    until = time.monotonic() + request["timeout_s"]
    connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    return {"tables": tables, **_rows(connection, statement, most=request["rows"], timeout_s=request["timeout_s"])}


def _rows(connection: sqlite3.Connection, statement: str, *, most: int, timeout_s: float) -> dict[str, Any]:
    try:
        cursor = connection.execute(statement)
        columns = [str(each[0])[:_CELL] for each in cursor.description or ()]
        rows: list[list[Any]] = []
        size, more = 0, False
        for row in cursor:
            more = len(rows) == most or size > _ANSWER_BYTES
            if more:
                break
            rows.append([_cell(each) for each in row])
            size += sum(len(each) + 16 if isinstance(each, str) else 16 for each in rows[-1])
    except sqlite3.Error as error:
        if str(error) == "interrupted":
            return {"problem": f"it took longer than {timeout_s:g} s: ask for less"}
        return {"problem": str(error)[:500]}
    except (sqlite3.Warning, ValueError, OverflowError) as error:
        return {"problem": str(error)[:500]}
    return {"columns": columns, "rows": rows, "more": more}


def _cell(value: Any) -> Any:
    """Return a value as JSON has it: long text is cut, bytes are shown as hex."""
    if isinstance(value, bytes):
        return f"x'{value[:64].hex()}'" + ("…" if len(value) > 64 else "")
    if isinstance(value, str):
        return value if len(value) <= _CELL else f"{value[:_CELL]}… ({len(value)} characters)"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _only_reading(tables: frozenset[str]) -> Any:
    """Return the authorizer: tables of the views may be read, and functions called that touch nothing else."""

    def decide(action: int, first: str | None, second: str | None, *_: object) -> int:
        if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE):
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ:
            # Without a column it may be the name of a WITH; of a table of SQLite's own, not even that is read.
            named = not second and not (first or "").lower().startswith(_INTERNAL)
            return sqlite3.SQLITE_OK if first in tables or first in _OWN_TABLES or named else sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_FUNCTION:
            return sqlite3.SQLITE_DENY if (second or "").lower() in _FUNCTIONS else sqlite3.SQLITE_OK
        # The full-text index looks whether the file has changed.
        data_version = action == sqlite3.SQLITE_PRAGMA and (first or "").lower() == "data_version" and not second
        return sqlite3.SQLITE_OK if data_version else sqlite3.SQLITE_DENY

    return decide


def _bound(*, memory_bytes: int) -> None:
    """Take from this process what no statement needs: memory beyond a bound, writing to files, other processes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    bounds: Sequence[tuple[int, int]] = (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 16),
    )
    for what, most in bounds:
        resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    main()
