"""What SQLite's errors mean, in loom's words."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from loom.errors import (
    AppendRefusedError,
    DiskFullError,
    JournalBusyError,
    JournalCorruptError,
    JournalForeignError,
    JournalFormatError,
    JournalReadOnlyError,
    LoomError,
)

__all__ = ["BUSY", "code_of", "explained"]

BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
"""The codes that say that another program holds a lock: SQLITE_PROTOCOL comes after a race for the log's locks that was
lost many times, for one against a process that was stopped while it held one."""


def code_of(error: BaseException) -> int:
    """Return the primary result code of an error of SQLite's, 0 where there is none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def explained(error: Exception, path: Path, *, writing: bool) -> LoomError:
    """Return the error to raise in place of one that came up over a journal file, before any COMMIT."""
    if isinstance(error, LoomError):
        return error
    code = code_of(error)
    if code == sqlite3.SQLITE_NOTADB:
        return JournalForeignError(f"file [{path}] is not a database; expected a journal: check the path")
    if code == sqlite3.SQLITE_CORRUPT:
        return JournalCorruptError(
            f"journal [{path}] is damaged [{error}]; expected a sound database: run `loom verify`, then restore a "
            "backup"
        )
    if code == sqlite3.SQLITE_FULL:
        return DiskFullError(
            f"disk of [{path.parent}] is full; expected room for the entries: make room and try again (nothing was "
            "written)"
        )
    if code in BUSY:
        return JournalBusyError(
            f"journal [{path}] is kept locked by another program [{error}]; expected that its writer locks it, and "
            "briefly: "
            "end that program, a shell of SQLite's perhaps, and try again (nothing was written)"
        )
    if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_READONLY_ROLLBACK and not writing:
        return JournalReadOnlyError(
            f"journal [{path}] was being made when its process ended; expected one that is whole: open it once for "
            "writing, which undoes what was begun"
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        wanted = "written" if writing else "opened for reading"
        return JournalReadOnlyError(
            f"journal [{path}] cannot be {wanted} [{error}]; expected a file and a directory that can: change their "
            "permissions"
        )
    if writing:
        return AppendRefusedError(
            f"SQLite refused to write journal [{path}] [{error}]; expected a disk that works: run `loom doctor` "
            "(nothing was written)"
        )
    return JournalCorruptError(
        f"journal [{path}] cannot be read [{type(error).__name__}: {error}]; expected a sound database on a sound "
        "disk: "
        "run `loom verify`"
    )


def keeps_no_own_ids(path: Path, version: int) -> JournalFormatError:
    """Say that a journal is of a format without own ids, and what takes it to the next."""
    return JournalFormatError(
        f"journal [{path}] is of format [{version}], which keeps no own ids; expected [3] or newer: stop what writes "
        "it, and run `loom upgrade`, which copies it"
    )


def keeps_no_schemes(path: Path, version: int) -> JournalFormatError:
    """Say that a journal is of a format without body schemes, and what takes it to the next."""
    return JournalFormatError(
        f"journal [{path}] is of format [{version}], in which no field of an entry can be left out later; expected [3] "
        "or newer for kinds that are redactable: stop what writes it, and run `loom upgrade`, which copies it"
    )
