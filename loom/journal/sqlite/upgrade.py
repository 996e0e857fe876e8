"""Upgrade a journal of an older format: copy it into a new file in the same directory, and swap the two.

The chain is kept bit for bit: an entry without the header fields of a later format is hashed as it was, so that every
position, hash and byte of the copy is that of the original, and heads that were written down still hold. The original
stays under another name. Killed at any moment, the journal is either the old one or the new one, whole.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from loom.errors import JournalBusyError, JournalCorruptError, JournalNotFoundError
from loom.journal.private import create_private
from loom.journal.sqlite.connection import (
    APPLICATION_ID,
    FORMAT,
    PAGE_BYTES,
    SCHEMAS,
    connect_writer,
    format_of,
    statements_in,
)
from loom.journal.sqlite.faults import explained
from loom.journal.sqlite.files import JournalFiles, WriterLock
from loom.journal.sqlite.heads import HeadsFile
from loom.journal.sqlite.reader import COLUMNS
from loom.journal.sqlite.verify import verify, verify_connection

__all__ = ["Upgraded", "upgrade"]

_PAGE = 10_000
_COPY = f"""
INSERT INTO entries ({COLUMNS})
SELECT {COLUMNS} FROM old.entries WHERE position > ? AND position <= ? ORDER BY position
"""  # noqa: S608 - constants only
_SAME = " AND ".join(f"mine.{name} IS was.{name}" for name in COLUMNS.split(", "))
_DIFFERENT = f"""
SELECT (SELECT count(*) FROM old.entries)
  - (SELECT count(*) FROM old.entries AS was JOIN entries AS mine USING (position) WHERE {_SAME})
"""  # noqa: S608
_META = "INSERT INTO meta (key, value) SELECT key, value FROM old.meta"
_EPOCH = "INSERT INTO writer (one, epoch) SELECT one, epoch FROM old.writer"
_SIZE = "SELECT coalesce(max(position), 0) FROM {}entries"

Progress = Callable[[int, int], None]


class Upgraded(NamedTuple):
    """The result of an upgrade: the old and the new format, the number of entries, and the path of the original."""

    before: int
    after: int
    entries: int
    original: Path | None


def upgrade(path: Path, *, workspace: str | None = None, progress: Progress = lambda done, total: None) -> Upgraded:
    """Copy the journal at `path` into the present format, verify the copy, and swap the two.

    Raises `JournalLockedError` where a process writes it, `JournalBusyError` where one reads it, and
    `JournalCorruptError` where the original or its copy does not verify; the journal is as it was then.
    """
    files = JournalFiles(path)
    if not files.exists():
        raise JournalNotFoundError(f"there is no journal at [{path}]; expected the file of one: check the path")
    lock = WriterLock(files.lock)
    lock.acquire(doing="upgrade")
    try:
        return _upgrade(files, workspace, progress)
    except (sqlite3.Error, OSError) as error:
        raise explained(error, files.journal, writing=True) from error
    finally:
        lock.release()


def _upgrade(files: JournalFiles, workspace: str | None, progress: Progress) -> Upgraded:
    made = Path(f"{files.journal}.upgrading")
    for left in (made, Path(f"{made}-journal")):  # by one that was killed
        left.unlink(missing_ok=True)
    before = _settle(files)
    if before == FORMAT:
        return Upgraded(before, FORMAT, 0, None)
    found = verify(files.journal, workspace=workspace)
    if not found.ok:
        raise JournalCorruptError(
            f"journal [{files.journal}] does not verify [{', '.join(sorted(found.counts))}]; expected a sound one, as "
            "a copy would hide what is wrong: run `loom verify`, then restore a backup (nothing was changed)"
        )
    create_private(made)
    try:
        entries = _copy(files, made, before, progress)
        original = _keep(files, before)
        os.replace(made, files.journal)
        _sync(files.directory)
    finally:
        made.unlink(missing_ok=True)
    return Upgraded(before, FORMAT, entries, original)


def _settle(files: JournalFiles) -> int:
    """Checkpoint the log and remove it, which proves that no other process has the file open.

    SQLite would take a log that stays for the log of the copy, by its name (reliability: finding 2).
    """
    connection = connect_writer(files.journal, synchronous="FULL", busy_timeout_s=5.0, create=False)
    try:
        before = format_of(connection)
        if before == FORMAT:
            return before
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        with contextlib.suppress(sqlite3.OperationalError):
            if not busy and connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0] == "delete":
                return before
        raise JournalBusyError(
            f"journal [{files.journal}] is being read; expected no reader while it is swapped: end what reads it, "
            "and try again (nothing was changed)"
        )
    finally:
        connection.close()


def _copy(files: JournalFiles, made: Path, before: int, progress: Progress) -> int:
    connection = sqlite3.connect(f"file:{quote(str(made))}?mode=rw", uri=True, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("ATTACH ? AS old", (f"file:{quote(str(files.journal))}?mode=ro",))
        total = int(connection.execute(_SIZE.format("old.")).fetchone()[0])
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements_in(SCHEMAS[FORMAT]):
            connection.execute(statement)
        connection.execute(_META)
        connection.execute("INSERT INTO meta (key, value) VALUES ('format', ?)", (str(FORMAT),))
        connection.execute(_EPOCH)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        for done in range(0, total, _PAGE):
            connection.execute(_COPY, (done, done + _PAGE))
            progress(min(done + _PAGE, total), total)
        connection.execute("COMMIT")
        different = int(connection.execute(_DIFFERENT).fetchone()[0])
        connection.execute("DETACH old")
        found = verify_connection(connection, heads=HeadsFile(files.heads).read().heads)
        if different or not found.ok or found.size != total:
            raise JournalCorruptError(
                f"copy of journal [{files.journal}] is not the same [{different} entries differ, "
                f"{', '.join(sorted(found.counts))}]; expected every byte: look at the disk (the journal is as it was)"
            )
        return total
    finally:
        connection.close()


def _keep(files: JournalFiles, before: int) -> Path:
    """Give the original a second name, so that no moment is without a journal of the first."""
    original = Path(f"{files.journal}.format-{before}")
    original.unlink(missing_ok=True)  # of an upgrade that was killed right here
    os.link(files.journal, original)
    _sync(files.directory)
    return original


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
