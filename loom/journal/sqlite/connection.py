"""How a journal database is opened: pragmas that are read back, the schema that is compared, errors that say why."""

from __future__ import annotations

import os
import sqlite3
from functools import lru_cache
from importlib.resources import files as resource_files
from pathlib import Path
from typing import Any, TypeVar, overload
from urllib.parse import quote

from loom.errors import (
    JournalCorruptError,
    JournalForeignError,
    JournalFormatError,
    JournalNotFoundError,
)
from loom.journal.private import create_private, keep_private
from loom.journal.sqlite.faults import code_of, explained
from loom.telemetry import get_logger

__all__ = [
    "APPLICATION_ID",
    "FORMAT",
    "PAGE_BYTES",
    "SCHEMA_ROWS",
    "connect_reader",
    "connect_writer",
    "epochs_are_per_journal",
    "expected_schema",
    "format_differs",
    "format_of",
    "has_own_ids",
    "has_turn_index",
    "has_wal_reset_bug",
    "reader_uri",
    "schema_changes",
    "schema_of",
    "statements_in",
]

APPLICATION_ID = 0x4C4F4F4D
"""`LOOM`, in the header of every journal file."""

FORMAT = 3
"""The format of new journals, in the header's user version and in `meta`.

A journal of format 1 gets the index of format 2 when it is written; to 3 only `loom upgrade` takes one, by copying it.
"""

SCHEMA = (resource_files("loom.journal.sqlite") / "schema.sql").read_text(encoding="utf-8")
FORMAT_2 = (resource_files("loom.journal.sqlite") / "format_2.sql").read_text(encoding="utf-8")
FORMAT_3 = (resource_files("loom.journal.sqlite") / "format_3.sql").read_text(encoding="utf-8")
SCHEMAS = {1: SCHEMA, 2: SCHEMA + FORMAT_2, 3: FORMAT_3}
"""The schema of each format."""

SCHEMA_ROWS = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name"

PAGE_BYTES = 8_192
"""The pages of new files: bodies are large for pages of 4 KiB, which then end empty. A file keeps the pages it has."""

_HEADER_BYTES = 100
_OWN_IDS_SINCE = 3
_MINIMUM = (3, 37, 0)  # STRICT tables

C = TypeVar("C", bound=sqlite3.Connection)

_log = get_logger(__name__)


def has_wal_reset_bug(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Tell whether this SQLite may lose committed rows when several processes checkpoint (reliability: finding 1)."""
    return version < (3, 51, 3) or version[:3] == (3, 52, 0)


def connect_writer(path: Path, *, synchronous: str, busy_timeout_s: float, create: bool = True) -> sqlite3.Connection:
    """Open a journal for writing; every pragma that matters is read back. A new one is for its owner only.

    Checkpoints are the writer's own affair and never automatic: with an old SQLite that is what keeps rows (D2).
    """
    if sqlite3.sqlite_version_info < _MINIMUM:
        raise JournalFormatError(
            f"SQLite is of version [{sqlite3.sqlite_version}]; expected at least [3.37], for STRICT tables: "
            "use a Python with a newer one"
        )
    size = path.stat().st_size if path.exists() else None
    if size is not None and 0 < size < _HEADER_BYTES:  # SQLite takes a file of one byte for an empty one
        raise JournalForeignError(f"file [{path}] is not a database; expected a journal: check the path")
    if create:
        create_private(path)
    connection = _connect(
        f"file:{quote(str(path))}?mode={'rwc' if create else 'rw'}", path, busy_timeout_s, writing=True
    )
    try:
        _recognise(connection, path)
        if not size:
            keep_private(path)  # the log and its index take their permissions from the database
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a file that is new; others keep theirs
        _set(connection, "journal_mode", "WAL", "wal")
        _set(connection, "synchronous", synchronous, {"FULL": 2, "NORMAL": 1}[synchronous])
        _set(connection, "wal_autocheckpoint", "0", 0)
        _set(connection, "recursive_triggers", "ON", 1)
        _set(connection, "fullfsync", "ON", 1)
        _set(connection, "checkpoint_fullfsync", "ON", 1)
        _harden(connection)
        _create_schema(connection)
        _raise_format(connection, path)
        _compare_schema(connection, path)
    except (sqlite3.Error, OSError) as error:
        connection.close()
        raise explained(error, path, writing=True) from error
    except BaseException:
        connection.close()
        raise
    return connection


def reader_uri(path: Path) -> str:
    """Return the URI under which readers open a journal: read-only, and immutable only where nothing can be shared.

    A database in a directory that cannot be written has no write-ahead log and cannot get one.
    """
    immutable = "&immutable=1" if _alone_and_unwritable(path) else ""
    return f"file:{quote(str(path))}?mode=ro{immutable}"


@overload
def connect_reader(path: Path, *, busy_timeout_s: float = 10.0) -> sqlite3.Connection: ...
@overload
def connect_reader(path: Path, *, busy_timeout_s: float = 10.0, factory: type[C]) -> C: ...
def connect_reader(
    path: Path, *, busy_timeout_s: float = 10.0, factory: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    """Open a journal for reading only; it never checkpoints and cannot change anything."""
    if not path.exists():
        raise JournalNotFoundError(f"there is no journal at [{path}]; expected the file of one: check the path")
    connection = _connect(reader_uri(path), path, busy_timeout_s, writing=False, factory=factory)
    try:
        _harden(connection)
        connection.execute("PRAGMA query_only = ON")
        if _recognise(connection, path):
            raise JournalForeignError(f"database [{path}] is empty; expected a journal: check the path")
    except sqlite3.Error as error:
        connection.close()
        raise explained(error, path, writing=False) from error
    except BaseException:
        connection.close()
        raise
    return connection


@lru_cache(maxsize=FORMAT)
def expected_schema(version: int = FORMAT) -> dict[str, str]:
    """Return name → SQL of everything that the schema of a format creates, as SQLite itself keeps it."""
    scratch = sqlite3.connect(":memory:")
    try:
        scratch.executescript(SCHEMAS[version])
        return schema_of(scratch)
    finally:
        scratch.close()


def schema_changes(connection: sqlite3.Connection) -> dict[str, str]:
    """Return name → `is gone`, `was changed` or `does not belong there` of what is not as the file's format has it."""
    version = format_of(connection)
    found, expected = schema_of(connection), expected_schema(version if version in SCHEMAS else FORMAT)
    return {
        name: "is gone" if name not in found else "was changed" if name in expected else "does not belong there"
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    }


def has_turn_index(connection: sqlite3.Connection) -> bool:
    """Tell whether entries can be found by their turn: a journal that was never written by this loom has no index."""
    return schema_of(connection).get("entries_by_turn") == expected_schema()["entries_by_turn"]


def has_own_ids(version: int) -> bool:
    """Tell whether a format keeps own ids, and body schemes: what observed decisions need."""
    return version >= _OWN_IDS_SINCE


def epochs_are_per_journal(version: int) -> bool:
    """Tell whether epochs never fall within a journal, in place of over all positions."""
    return version >= _OWN_IDS_SINCE


def format_differs(connection: sqlite3.Connection) -> bool:
    """Tell whether what `meta` says of the format is not what the header says; meta of formats 1 and 2 has nothing."""
    found = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    version = format_of(connection)
    return (None if found is None else found[0]) != (str(version) if version >= _OWN_IDS_SINCE else None)


def schema_of(connection: sqlite3.Connection) -> dict[str, str]:
    """Return name → SQL of every table, index, trigger and view of a database."""
    return {str(name): str(sql) for name, sql in connection.execute(SCHEMA_ROWS)}


def _connect(uri: str, path: Path, busy_timeout_s: float, *, writing: bool, **more: Any) -> sqlite3.Connection:
    try:
        found: sqlite3.Connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, timeout=busy_timeout_s, cached_statements=64, **more
        )
    except sqlite3.Error as error:
        raise explained(error, path, writing=writing) from error
    return found


def _recognise(connection: sqlite3.Connection, path: Path) -> bool:
    """Return True for an empty database; raise for one that is not a journal that this loom knows."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = format_of(connection)
    if application == 0 and version == 0 and not schema_of(connection):
        return True
    if application != APPLICATION_ID:
        raise JournalForeignError(
            f"database [{path}] is not a journal [application id {application:#x}]; expected [{APPLICATION_ID:#x}]: "
            "check the path"
        )
    if not 1 <= version <= FORMAT:
        raise JournalFormatError(
            f"journal [{path}] is of format [{version}]; expected [1 to {FORMAT}]: open it with the loom that wrote "
            "it, or a newer one"
        )
    return False


def format_of(connection: sqlite3.Connection) -> int:
    """Return the format of a journal, as its header says it."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _create_schema(connection: sqlite3.Connection) -> None:
    """Create all of the schema or nothing, header included."""
    if schema_of(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements_in(SCHEMAS[FORMAT]):
            connection.execute(statement)
        connection.execute("INSERT INTO meta (key, value) VALUES ('format', ?)", (str(FORMAT),))
        connection.execute("INSERT INTO writer (one, epoch) VALUES (1, 0)")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _raise_format(connection: sqlite3.Connection, path: Path) -> None:
    """Give a journal of format 1 the index of format 2, or leave it; entries stay as they are, byte for byte.

    A disk without room for the index leaves the journal as it is: it can be written without, and is read more slowly.
    """
    if format_of(connection) != 1 or schema_changes(connection):  # what was changed is refused by the caller
        return
    _log.info("journal_format_raised", journal=str(path), format=2)
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements_in(FORMAT_2):
            connection.execute(statement)
        connection.execute("PRAGMA user_version = 2")
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if code_of(error) != sqlite3.SQLITE_FULL:
            raise
        _log.warning("journal_format_not_raised", journal=str(path), error=str(error))


def _compare_schema(connection: sqlite3.Connection, path: Path) -> None:
    changes = [*schema_changes(connection), *(["meta"] if format_differs(connection) else [])]
    if changes:
        raise JournalCorruptError(
            f"schema of journal [{path}] was changed at [{', '.join(changes)}]; expected the one of format "
            f"[{format_of(connection)}]: run `loom verify`, then restore a backup"
        )


def statements_in(script: str) -> list[str]:
    """Split a script into statements where SQLite itself says that one is complete."""
    statements, pending = [], ""
    for line in script.splitlines(keepends=True):
        if not pending and (not line.strip() or line.startswith("--")):
            continue
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements


def _set(connection: sqlite3.Connection, pragma: str, value: str, expected: str | int) -> None:
    connection.execute(f"PRAGMA {pragma} = {value}").fetchall()
    found = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
    if found != expected:
        raise JournalCorruptError(
            f"SQLite keeps pragma [{pragma}] at [{found}]; expected [{expected}]: "
            "the file system or this build of SQLite cannot keep a journal; move it to another"
        )


def _harden(connection: sqlite3.Connection) -> None:
    """Trust nothing that the file itself may say (reliability: D9)."""
    for statement in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0", "temp_store = MEMORY"):
        connection.execute(f"PRAGMA {statement}").fetchall()


def _alone_and_unwritable(path: Path) -> bool:
    return not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists()
