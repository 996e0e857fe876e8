"""Check whether this machine, and this journal on it, can keep loom's promises. Each check says what it found."""

from __future__ import annotations

import contextlib
import os
import platform
import sqlite3
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from loom.clock import AHEAD_US, datetime_from_us, us_from_datetime
from loom.config import LoomConfig
from loom.errors import JournalNotFoundError, LoomError
from loom.extension import Check
from loom.journal.sqlite import JournalFiles, WriterLock, filesystem_of
from loom.journal.sqlite.connection import connect_reader, connect_writer, has_wal_reset_bug, schema_changes
from loom.journal.sqlite.files import REFUSED_FILESYSTEMS, SUSPECT_FILESYSTEMS
from loom.journal.sqlite.heads import HeadsFile
from loom.text import age, moment, size

__all__ = ["check_journal", "check_machine", "check_place"]

_OLDEST_SQLITE = (3, 37, 0)
_TIGHT = 10
"""Below this multiple of the free space that loom needs, the check warns."""
_LAST = "SELECT position, recorded_at_us, clock_back_us FROM entries ORDER BY position DESC LIMIT 1"
_BEHIND_US = 1_000_000
_HASH_AT = "SELECT entry_hash FROM entries WHERE position = ?"
_WORKSPACE = "SELECT value FROM meta WHERE key = 'workspace'"


def check_machine() -> Iterator[Check]:
    """Look at Python and at SQLite."""
    yield Check("ok", "Python", platform.python_version())
    found = f"{sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        yield Check("bad", "SQLite", found, "use a Python whose SQLite is 3.37 or later")
    elif has_wal_reset_bug():
        yield Check(
            "ok",
            "SQLite",
            f"{found}; it may lose rows when several processes checkpoint, so loom writes from one process only",
            "let no other program write the journal file; SQLite 3.51.3 and later have this corrected",
        )
    else:
        yield Check("ok", "SQLite", found)
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        options = {row[0] for row in connection.execute("PRAGMA compile_options")}
    if "ENABLE_FTS5" not in options:
        yield Check("bad", "full text", "SQLite was built without FTS5", "use a Python whose SQLite has it")


def check_place(files: JournalFiles, config: LoomConfig) -> Iterator[Check]:
    """Look at the directory of a workspace: its file system, who may write and read it, and how much room there is."""
    directory = files.directory
    kind = filesystem_of(directory) or "unknown"
    if kind in REFUSED_FILESYSTEMS and not config.journal.allow_unsupported_filesystem:
        yield Check(
            "bad", "file system", f"{kind}, on a network", "move the data to a local disk: see data: in the config"
        )
    elif kind in REFUSED_FILESYSTEMS or kind.partition(".")[0] in SUSPECT_FILESYSTEMS | {"unknown"}:
        yield Check(
            "look", "file system", f"{kind}; locks and syncs depend on what is behind it", "a local disk is certain"
        )
    else:
        yield Check("ok", "file system", kind)
    existing = directory
    while not existing.exists():
        existing = existing.parent
    yield from _room(existing, config)
    if not os.access(existing, os.W_OK | os.X_OK):
        yield Check(
            "bad", "directory", f"{directory} cannot be written", "reading works; nothing can be run or answered"
        )
        return
    if directory.exists() and directory.stat().st_mode & 0o077:
        mode = directory.stat().st_mode & 0o777
        yield Check("look", "directory", f"{directory} is open to others ({mode:o})", f"chmod 700 {directory}")
    yield _trial(existing, config)


def check_journal(files: JournalFiles, config: LoomConfig, *, workspace: str) -> Iterator[Check]:
    """Look at a journal file: whether it is one of ours, its schema, its heads and its time; not at every entry."""
    try:
        connection = connect_reader(files.journal)
    except JournalNotFoundError:
        yield Check("look", "journal", f"there is none at {files.journal} yet", "`loom run` begins one")
        return
    except LoomError as error:
        yield Check("bad", "journal", str(error), "run `loom verify`; restore a backup")
        return
    try:
        yield from _contents(connection, files, config, workspace=workspace)
    except (sqlite3.Error, LoomError, OSError, ValueError, TypeError) as error:
        yield Check("bad", "journal", f"it cannot be read: {error}", "run `loom verify`; restore a backup")
    finally:
        connection.close()


def _contents(
    connection: sqlite3.Connection, files: JournalFiles, config: LoomConfig, *, workspace: str
) -> Iterator[Check]:
    position, recorded_at_us, held_back_us = connection.execute(_LAST).fetchone() or (0, 0, 0)
    named = (connection.execute(_WORKSPACE).fetchone() or ("",))[0]
    wal = files.wal.stat().st_size if files.wal.exists() else 0
    about = f"{files.journal}, {position} entries, {size(files.journal.stat().st_size)}" + (
        f" + {size(wal)} log" if wal else ""
    )
    if named != workspace:
        yield Check(
            "bad", "journal", f"{about}, of workspace {named}", f"expected workspace {workspace}: name {named} with -w"
        )
    else:
        yield Check("ok", "journal", about)
    changed = schema_changes(connection)
    if changed:
        yield Check("bad", "schema", f"changed: {', '.join(changed)}", "run `loom verify`; restore a backup")
    else:
        yield Check("ok", "schema", "as it was made; triggers refuse changes")
    yield from _heads(connection, files, config, position)
    yield from _clock(recorded_at_us, recorded_at_us - held_back_us)


def _clock(recorded_at_us: int, said_us: int) -> Iterator[Check]:
    """Compare the time of day with the last entry's, and with the clock at the time when that was written."""
    now_us = us_from_datetime(datetime.now(UTC))
    last = f"{moment(datetime_from_us(recorded_at_us))} UTC"
    if recorded_at_us - max(now_us, said_us) > AHEAD_US:
        by = age((recorded_at_us - max(now_us, said_us)) / 1e6)
        yield Check(
            "look",
            "clock",
            f"an entry was written by a clock that was {by} ahead: entries have its time until {last}",
            "nothing: deadlines do not wait for it; `loom verify` names the entry",
        )
    elif recorded_at_us - now_us > _BEHIND_US:
        by = age((recorded_at_us - now_us) / 1e6)
        yield Check(
            "look",
            "clock",
            f"it is {by} behind the last entry, of {last}",
            "set the clock if it is wrong; if it was wrong then, deadlines do not wait for that entry",
        )


def _heads(connection: sqlite3.Connection, files: JournalFiles, config: LoomConfig, position: int) -> Iterator[Check]:
    """Compare the last head that is recorded outside the database with the entry at its position."""
    lines = HeadsFile(files.heads).read()
    if lines.damaged:
        yield Check(
            "bad",
            "anchor",
            f"{files.heads.name} is damaged at line {', '.join(map(str, lines.damaged[:5]))}",
            "the heads on these lines anchor nothing any more: run `loom verify`, restore a copy of the file",
        )
    last = lines.heads[-1] if lines.heads else None
    if last is None:
        if position:
            yield Check(
                "look",
                "anchor",
                f"no head is recorded: none of {position} entries is anchored",
                "a head is written at every clean end of a loom",
            )
        return
    row = connection.execute(_HASH_AT, (last.position,)).fetchone()
    tail = position - last.position
    if row is None or row[0] != last.entry_hash:
        what = "is gone" if row is None else "is another one now"
        yield Check(
            "bad",
            "anchor",
            f"the entry at position {last.position} {what}",
            "the journal was cut or rewritten: run `loom verify`, restore a backup",
        )
    elif tail > 2 * config.journal.head_every:
        yield Check(
            "look", "anchor", f"{tail} entries since the last head, at {last.position}", "stop the loom in order once"
        )
    else:
        since = f"; {tail} entries since then" if tail else ", the last entry"
        yield Check("ok", "anchor", f"head at position {last.position}{since}")


def _room(directory: Path, config: LoomConfig) -> Iterator[Check]:
    stat = os.statvfs(directory)
    free, least = stat.f_bavail * stat.f_frsize, config.journal.min_free_bytes
    if free < least:
        yield Check("bad", "free space", f"{size(free)}; loom begins nothing new below {size(least)}", "make room")
    elif free < _TIGHT * least:
        yield Check(
            "look", "free space", f"{size(free)}; loom begins nothing new below {size(least)}", "make room soon"
        )
    else:
        yield Check("ok", "free space", size(free))


def _trial(directory: Path, config: LoomConfig) -> Check:
    """Open a trial journal next to the real one and read the pragmas back, as each writer does."""
    synchronous = {"full": "FULL", "process-crash-only": "NORMAL"}[config.journal.durability]
    try:
        with tempfile.TemporaryDirectory(prefix="loom-doctor-", dir=directory) as trial:
            connect_writer(Path(trial) / "trial.db", synchronous=synchronous, busy_timeout_s=1.0).close()
    except (LoomError, OSError) as error:
        return Check(
            "bad",
            "durability",
            f"a trial journal cannot be made: {error}",
            "use another directory, or correct this one",
        )
    if synchronous == "NORMAL":
        return Check(
            "look",
            "durability",
            "process-crash-only: a power cut may take acknowledged entries away",
            "journal.durability: full survives it",
        )
    return Check("ok", "durability", "write-ahead log, synchronous FULL, read back from a trial journal here")


def lock_of(files: JournalFiles) -> tuple[bool, dict[str, object]]:
    """Return whether a loom runs on a journal, and what it recorded about itself."""
    lock = WriterLock(files.lock)
    return lock.held(), lock.holder() or {}
