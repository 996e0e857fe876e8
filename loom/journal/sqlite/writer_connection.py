"""The writer's connection, and whether it can still be trusted.

After an error from COMMIT it cannot: it is dropped, and a new one has to find the last acknowledged entry where it was
left, or nothing more is written (reliability: D6, findings 2 and 4).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3

from loom.errors import (
    JournalBusyError,
    JournalClosedError,
    JournalCorruptError,
    JournalForeignError,
    LoomError,
    WriterFencedError,
)
from loom.journal.chain import HASH_BYTES, genesis
from loom.journal.sqlite.connection import connect_writer
from loom.journal.sqlite.faults import explained
from loom.journal.sqlite.files import JournalFiles
from loom.journal.sqlite.options import WriterOptions
from loom.journal.sqlite.staging import Staged, Tail
from loom.journal.store import Head
from loom.telemetry import get_logger

__all__ = ["WriterConnection"]

_EPOCH = "SELECT epoch FROM writer WHERE one = 1"
_RAISE_EPOCH = "UPDATE writer SET epoch = epoch + 1"
_WORKSPACE = "SELECT value FROM meta WHERE key = 'workspace'"
_CLAIM = "INSERT INTO meta (key, value) VALUES ('workspace', ?)"
_TAIL = "SELECT position, entry_hash, recorded_at_us FROM entries ORDER BY position DESC LIMIT 1"
_HASH_AT = "SELECT entry_hash FROM entries WHERE position = ?"
_HEAD = "SELECT sequence, entry_hash FROM entries WHERE journal = ? ORDER BY sequence DESC LIMIT 1"

_MAX_HEADS = 4_096
_GONE = (0, 0)
_BRIEFLY_MS = 500

_log = get_logger(__name__)


class WriterConnection:
    """One connection at a time, with what is known to be behind it: the tail, the heads, the epoch, the files.

    Not thread-safe: one thread opens, uses and closes it.
    """

    def __init__(self, files: JournalFiles, *, workspace: str, options: WriterOptions) -> None:
        self._files = files
        self._workspace = workspace
        self._options = options
        self._connection: sqlite3.Connection | None = None
        self._identity = _GONE
        self._heads: dict[str, Head] = {}
        self._closed = False
        self._unsettled = False
        self.epoch = 0
        self.tail = Tail(0, b"", 0)
        self.refusal: LoomError | None = None
        """Why nothing more is written by this process, once that is so."""

    def open(self) -> sqlite3.Connection:
        """Open or create the journal and take the next epoch; raise where the file is not a sound one of ours.

        What an earlier process left in the log is folded into the database first of all: see `_make_durable`.
        """
        connection = self._connect(create=True)
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._claim_workspace(connection)
            connection.execute(_RAISE_EPOCH)
            self.epoch = self._epoch_in(connection)
            connection.execute("COMMIT")
            self.tail = self._tail_in(connection)
            connection.execute(f"PRAGMA busy_timeout = {_BRIEFLY_MS}")
            if not _fold(connection):
                _log.warning("journal_not_folded", journal=str(self._files.journal), detail="a reader holds a snapshot")
            connection.execute(f"PRAGMA busy_timeout = {int(self._options.busy_timeout_s * 1000)}")
        except BaseException as error:
            _close(connection)
            if isinstance(error, sqlite3.Error):
                raise explained(error, self._files.journal, writing=True) from error
            raise
        return self._take(connection)

    def sqlite(self) -> sqlite3.Connection:
        """Return the connection, or a new one that finds everything acknowledged where it was left."""
        if self._connection is not None:
            return self._connection
        if self._closed:
            raise JournalClosedError(f"journal [{self._files.journal}] is closed; expected an open one: open it again")
        connection = self._connect(create=False)
        try:
            tail = self._tail_in(connection)
            self._check_acknowledged(connection)
            if self._unsettled or tail.position > self.tail.position:
                self._make_durable(connection)
        except BaseException as error:
            _close(connection)
            if isinstance(error, sqlite3.Error):
                raise explained(error, self._files.journal, writing=True) from error
            raise
        self.tail = tail
        self._unsettled = False
        self._heads.clear()
        return self._take(connection)

    @property
    def connected(self) -> bool:
        """Whether there is a connection that has not been dropped."""
        return self._connection is not None

    def head(self, journal: str) -> Head:
        """Return the head of a journal as far as it is durable."""
        head = self._heads.get(journal)
        if head is None:
            row = self.sqlite().execute(_HEAD, (journal,)).fetchone()
            head = Head(*row) if row else Head(0, genesis(self._workspace, journal))
            while len(self._heads) >= _MAX_HEADS:
                del self._heads[next(iter(self._heads))]
            self._heads[journal] = head
        return head

    def hash_at(self, position: int) -> bytes | None:
        """Return the hash of the entry at a position, or None where there is no entry."""
        row = self.sqlite().execute(_HASH_AT, (position,)).fetchone()
        return None if row is None else bytes(row[0])

    def check_epoch(self) -> None:
        """Make sure, inside a transaction, that no later writer has taken the journal over."""
        epoch = self._epoch_in(self.sqlite())
        if epoch != self.epoch:
            raise self.refuse(
                WriterFencedError(
                    f"journal [{self._files.journal}] is in epoch [{epoch}]; expected [{self.epoch}]: another process "
                    "took "
                    "it over and this one may write nothing more; restart it"
                )
            )

    def check_identity(self) -> None:
        """Make sure that the files under the connection are the ones with these names (reliability: finding 2)."""
        if self._identity == _GONE or self._identify() != self._identity:
            raise self.refuse(
                JournalCorruptError(
                    f"the files of journal [{self._files.journal}] were replaced or unlinked while it was open; "
                    "expected "
                    "the same ones: nothing more is written by this process; stop what touched them, then run `loom "
                    "verify`"
                )
            )

    def advance(self, staged: Staged) -> None:
        """Take note of what a commit has made true."""
        self.tail = staged.tail
        self._heads.update(staged.heads)

    def refuse(self, error: LoomError) -> LoomError:
        """Let nothing more be written, for this reason, and return it."""
        self.refusal = error
        return error

    def roll_back(self) -> None:
        """Undo the transaction that is open, if one is; a connection that cannot even do that is dropped."""
        connection = self._connection
        try:
            if connection is not None and connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self.drop()

    def drop(self, *, unsettled: bool = False) -> None:
        """Trust the connection no more and close it; the next use opens another.

        `unsettled` says that a COMMIT failed: its effect on the log is settled before any caller gets an answer.
        """
        self._unsettled = self._unsettled or unsettled
        connection, self._connection = self._connection, None
        if connection is not None:
            _close(connection)

    def close(self) -> None:
        """Close the connection; it is not opened again."""
        self._closed = True
        self.drop()

    def _connect(self, *, create: bool) -> sqlite3.Connection:
        return connect_writer(
            self._files.journal,
            synchronous=self._options.synchronous,
            busy_timeout_s=self._options.busy_timeout_s,
            create=create,
        )

    def _take(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        self._identity = self._identify()
        self._connection = connection
        return connection

    def _identify(self) -> tuple[int, int]:
        try:
            return os.stat(self._files.journal).st_ino, os.stat(self._files.wal).st_ino
        except FileNotFoundError:
            return _GONE

    def _check_acknowledged(self, connection: sqlite3.Connection) -> None:
        epoch, (position, expected, _) = self._epoch_in(connection), self.tail
        row = connection.execute(_HASH_AT, (position,)).fetchone() if position else (expected,)
        if epoch != self.epoch or row is None or row[0] != expected:
            raise self.refuse(
                JournalCorruptError(
                    f"journal [{self._files.journal}] does not hold what was acknowledged at position [{position}] in "
                    "epoch "
                    f"[{self.epoch}]; expected it there: nothing more is written; run `loom verify`"
                )
            )

    def _make_durable(self, connection: sqlite3.Connection) -> None:
        """Fold the log into the database and empty it, which writes and syncs what is seen once more.

        A log whose sync has failed may be clean in the page cache and absent on the disk: another sync proves nothing.
        And what is not seen may stand in it whole, if only a reader kept it: the next recovery would bring it back.
        """
        if not _fold(connection):
            raise JournalBusyError(
                f"journal [{self._files.journal}] is being read, so that what a failed commit left cannot be made "
                "durable; "
                "expected a moment without readers: try again (nothing new was written)"
            )

    def _claim_workspace(self, connection: sqlite3.Connection) -> None:
        row = connection.execute(_WORKSPACE).fetchone()
        if row is None:
            connection.execute(_CLAIM, (self._workspace,))
        elif row[0] != self._workspace:
            raise JournalForeignError(
                f"journal [{self._files.journal}] belongs to workspace [{row[0]}]; expected [{self._workspace}]: "
                "name that workspace, or another file"
            )

    def _epoch_in(self, connection: sqlite3.Connection) -> int:
        row = connection.execute(_EPOCH).fetchone()
        if row is None or not isinstance(row[0], int):
            raise self._damaged("the epoch of its writer")
        return row[0]

    def _tail_in(self, connection: sqlite3.Connection) -> Tail:
        row = connection.execute(_TAIL).fetchone()
        if row is None:
            return Tail(0, b"", 0)
        position, digest, at = row
        if not (isinstance(position, int) and isinstance(at, int) and isinstance(digest, bytes)):
            raise self._damaged("its last entry")
        if len(digest) != HASH_BYTES:
            raise self._damaged("the hash of its last entry")
        return Tail(position, digest, at)

    def _damaged(self, what: str) -> JournalCorruptError:
        return JournalCorruptError(
            f"journal [{self._files.journal}] is damaged at [{what}]; expected a sound database: run `loom verify`, "
            "then "
            "restore a backup"
        )


def _fold(connection: sqlite3.Connection) -> bool:
    """Fold the log into the database and empty it; False where a reader is in the way for too long."""
    return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]


def _close(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        connection.close()
