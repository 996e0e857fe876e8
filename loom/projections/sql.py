"""Helpers for the views database: they split scripts into statements, and classify errors."""

from __future__ import annotations

import re
import sqlite3
from importlib.resources import files as resource_files

__all__ = ["concerns_the_file", "is_damage", "prefix_range", "quoted", "script", "statements"]

_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_FILE = _DAMAGE | {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}


def script(package: str, name: str) -> str:
    """Return the text of a .sql file in the folder of a package."""
    return (resource_files(package) / name).read_text(encoding="utf-8")


def statements(text: str) -> list[str]:
    """Split a script into statements, as SQLite itself reports them complete.

    `executescript` would commit the open transaction.
    """
    found, pending = [], ""
    for piece in re.split(r"(?<=;)", text):
        pending += piece
        if sqlite3.complete_statement(pending):
            found.append(pending.strip())
            pending = ""
    return [*found, pending] if pending.strip() else found


def quoted(name: str) -> str:
    """Return a name as an SQL identifier, for places where no parameter can be bound."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def prefix_range(prefix: str) -> tuple[str, str]:
    """Return bounds, the lower one included, of all ids with this prefix; an empty range for what is no such prefix."""
    try:
        prefix.encode()
    except UnicodeEncodeError:
        return "", ""
    return (prefix, prefix + "\U0010ffff") if prefix else ("", "")


def is_damage(error: BaseException) -> bool:
    """Tell whether an error says that the file is not a sound database."""
    return _code(error) in _DAMAGE


def concerns_the_file(error: BaseException) -> bool:
    """Tell whether an error is about the file or the disk, and not about the statement."""
    return _code(error) in _FILE


def _code(error: BaseException) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
