"""The one connection that writes the views. All code here runs in the thread of the views.

Changes of views and checkpoints are in one transaction. A projection that raises keeps its rows of the earlier entries
and stops there; the others go on.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from loom.journal.entry import Recorded
from loom.journal.private import create_private, keep_private
from loom.projections.projection import Checkpoint, PageProjection, Projection, shape_of
from loom.projections.sql import concerns_the_file, is_damage, quoted, script, statements
from loom.telemetry import get_logger

__all__ = ["APPLICATION_ID", "Checkpoints", "Identity", "ViewsWriter", "identify"]

T = TypeVar("T")

Checkpoints = dict[str, Checkpoint]
"""The checkpoint of each projection by its name."""

Identity = tuple[int, int]
"""Device and inode: they identify the file at a path."""

APPLICATION_ID = 0x4C4F4F56
"""`LOOV`, in the header of every views file."""

_FORMAT = 1
_SCHEMA = script("loom.projections", "views.sql")
_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = NORMAL",
    "wal_autocheckpoint = 4000",
    "journal_size_limit = 67108864",
    "cache_size = -32768",
    "temp_store = MEMORY",
    "trusted_schema = OFF",
)
_IS_VIEW = "SELECT 1 FROM sqlite_schema WHERE type = 'view' AND name = ?"
_LOAD = "SELECT version, shape, tables, position, entry_hash FROM checkpoints WHERE name = ?"
_START = "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, 0, x'', NULL)"
_RETRY = "UPDATE checkpoints SET failed = NULL WHERE name = ?"
_MOVE = "UPDATE checkpoints SET position = ?, entry_hash = ?, failed = ? WHERE name = ?"
_OBJECTS = "SELECT count(*) FROM sqlite_schema"
_ROWS_ANALYSED = 400

_log = get_logger("loom.projections")


class ViewsWriter:
    """Folds entries into a views file. Not thread-safe: one thread opens, uses and closes it.

    The file may be deleted, damaged or replaced at any time. It is then renamed, and a new one is created.
    """

    def __init__(self, path: Path, projections: Sequence[Projection], *, busy_timeout_s: float = 10.0) -> None:
        self._path = path
        self._projections = {projection.name: projection for projection in projections}
        self._busy_timeout_s = busy_timeout_s
        self._connection: sqlite3.Connection | None = None
        self._checkpoints: Checkpoints = {}
        self._identity: Identity | None = None

    def open(self) -> Checkpoints:
        """Open the file or create a new one. Projections of another version or shape start empty."""
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self._recreate(str(error))
        return dict(self._checkpoints)

    def apply(self, entries: Sequence[Recorded]) -> Checkpoints:
        """Fold a page of entries, gapless by position, into every projection for which it is the next one."""
        return self._transact(lambda connection: self._advance_all(connection, entries))

    def reset(self, names: Iterable[str]) -> Checkpoints:
        """Empty the tables of some projections. They start from the first entry again."""
        chosen = [self._projections[name] for name in names]
        return self._transact(lambda connection: {each.name: self._start(connection, each) for each in chosen})

    def repair(self, damaged: Identity | None = None) -> Checkpoints:
        """Create the file again if it is not the one that was opened, or if that one was found to be damaged."""
        if not self._is_ours():
            self._recreate("it was deleted or replaced")
        elif damaged == self._identity:
            self._recreate("a reader found it damaged")
        return dict(self._checkpoints)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run other work in its own transaction."""
        connection = self._usable()
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise
        return result

    def close(self) -> None:
        """Close the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.execute(
                    f"PRAGMA analysis_limit = {_ROWS_ANALYSED}"
                )  # without it, the analysis reads all rows
                connection.execute("PRAGMA optimize")
            connection.close()

    # --- a transaction --------------------------------------------------------------------------

    def _transact(self, work: Callable[[sqlite3.Connection], Checkpoints]) -> Checkpoints:
        try:
            moved = self.write(work)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self._recreate(str(error))
        else:
            self._checkpoints.update(moved)
        return dict(self._checkpoints)

    def _advance_all(self, connection: sqlite3.Connection, entries: Sequence[Recorded]) -> Checkpoints:
        """Fold a page into all projections. If one raises, fold the page again and stop that one before the entry.

        A savepoint for each projection would save the second fold, but cost a fifth of every first one.
        """
        stops: dict[str, tuple[int, str]] = {}
        singly: set[str] = set()
        while True:
            try:
                return self._fold(connection, entries, stops, singly)
            except _PageRaisedError as raised:
                singly.add(raised.name)
                _roll_back(connection)
                connection.execute("BEGIN IMMEDIATE")
            except _RaisedError as raised:
                _log.error("projection_failed", projection=raised.name, problem=str(raised))
                again = raised.name in stops  # it failed at another entry than the first time
                stops[raised.name] = (0 if again else raised.done, str(raised))
                _roll_back(connection)
                connection.execute("BEGIN IMMEDIATE")

    def _fold(
        self,
        connection: sqlite3.Connection,
        entries: Sequence[Recorded],
        stops: Mapping[str, tuple[int, str]],
        singly: Collection[str],
    ) -> Checkpoints:
        moved: Checkpoints = {}
        for name, projection in self._projections.items():
            checkpoint = self._checkpoints[name]
            first = checkpoint.position + 1 - entries[0].position if entries else -1
            if checkpoint.failed is not None or not 0 <= first < len(entries):
                continue
            done, failed = stops.get(name, (len(entries) - first, None))
            todo = entries[first : first + done]
            if isinstance(projection, PageProjection) and name not in singly:
                _feed_page(projection, projection, todo, connection)
            else:
                _feed(projection, todo, connection)
            if todo:
                checkpoint = checkpoint._replace(position=todo[-1].position, entry_hash=todo[-1].entry_hash)
            connection.execute(_MOVE, (checkpoint.position, checkpoint.entry_hash, failed, name))
            moved[name] = checkpoint._replace(failed=failed)
        return moved

    # --- the file -------------------------------------------------------------------------------

    def _usable(self) -> sqlite3.Connection:
        if self._connection is None:
            self.open()
        elif not self._is_ours():
            self._recreate("it was deleted or replaced")
        assert self._connection is not None  # noqa: S101 - it is open, or an error was raised
        return self._connection

    def _open(self) -> None:
        for path in (self._path, Path(f"{self._path}-wal"), Path(f"{self._path}-shm")):
            keep_private(path)  # an earlier loom created them with the permissions of its umask
        create_private(self._path)
        connection = sqlite3.connect(
            self._path, isolation_level=None, timeout=self._busy_timeout_s, cached_statements=512
        )
        try:
            _recognise(connection)
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}").fetchall()
            connection.execute("BEGIN IMMEDIATE")
            for statement in statements(_SCHEMA):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_FORMAT}")
            checkpoints = {name: self._resume(connection, each) for name, each in self._projections.items()}
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            connection.close()
            raise
        self._connection, self._checkpoints = connection, checkpoints
        self._identity = identify(self._path)

    def _resume(self, connection: sqlite3.Connection, projection: Projection) -> Checkpoint:
        """Return the checkpoint of a projection. One that had failed tries again: its code may have been corrected."""
        row = connection.execute(_LOAD, (projection.name,)).fetchone()
        if row is None or (row[0], row[1]) != (projection.version, shape_of(projection)):
            return self._start(connection, projection)
        connection.execute(_RETRY, (projection.name,))
        return Checkpoint(projection.name, projection.version, row[3], row[4])

    def _start(self, connection: sqlite3.Connection, projection: Projection) -> Checkpoint:
        """Drop the tables of a projection, of this version or an earlier one, and create them empty."""
        row = connection.execute(_LOAD, (projection.name,)).fetchone()
        earlier = () if row is None else json.loads(row[2])
        for table in dict.fromkeys((*earlier, *projection.tables)):
            is_view = connection.execute(_IS_VIEW, (table,)).fetchone() is not None
            connection.execute(f"DROP {'VIEW' if is_view else 'TABLE'} IF EXISTS {quoted(table)}")
        for statement in statements(projection.schema):
            connection.execute(statement)
        connection.execute(
            _START, (projection.name, projection.version, shape_of(projection), json.dumps(list(projection.tables)))
        )
        return Checkpoint(projection.name, projection.version, 0, b"")

    def _is_ours(self) -> bool:
        return self._identity is not None and identify(self._path) == self._identity

    def _recreate(self, problem: str) -> None:
        """Rename the file, replace an earlier one of that name, and open a new one."""
        _log.warning("views_begun_anew", path=str(self._path), problem=problem)
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
        with contextlib.suppress(FileNotFoundError):
            os.replace(self._path, f"{self._path}.unreadable")
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._path}{suffix}")
        self._open()


class _RaisedError(Exception):
    """A projection raised on an entry after `done` others."""

    def __init__(self, name: str, done: int, recorded: Recorded, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error} (at position {recorded.position}, kind {recorded.kind})")
        self.name = name
        self.done = done


class _PageRaisedError(Exception):
    """A projection raised on a page. To find the entry, the page is folded entry by entry."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _feed_page(
    projection: Projection, pages: PageProjection, entries: Sequence[Recorded], connection: sqlite3.Connection
) -> None:
    kinds = projection.kinds
    wanted = entries if kinds is None else [each for each in entries if each.kind in kinds]
    try:
        if wanted:
            pages.apply_page(wanted, connection)
    except Exception as error:
        if concerns_the_file(error):
            raise
        raise _PageRaisedError(projection.name) from error


def _feed(projection: Projection, entries: Sequence[Recorded], connection: sqlite3.Connection) -> None:
    kinds, apply, done = projection.kinds, projection.apply, 0
    try:
        for done, recorded in enumerate(entries):  # noqa: B007 - `done` is the index of the entry that raised
            if kinds is None or recorded.kind in kinds:
                apply(recorded, connection)
    except Exception as error:
        if concerns_the_file(error):
            raise
        raise _RaisedError(projection.name, done, entries[done], error) from error


def _recognise(connection: sqlite3.Connection) -> None:
    """Raise the error of a damaged file for a database that is not a views file, or has a newer format."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if (application, version) == (0, 0) and connection.execute(_OBJECTS).fetchone()[0] == 0:
        return
    if (application, version) != (APPLICATION_ID, _FORMAT):
        foreign = sqlite3.DatabaseError(f"it is no views file [application id {application:#x}, format {version}]")
        foreign.sqlite_errorcode = sqlite3.SQLITE_NOTADB
        raise foreign


def _roll_back(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def identify(path: Path) -> Identity | None:
    """Return the identity of the file at a path, None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
