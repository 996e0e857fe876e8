"""The one connection that writes a journal; everything in here runs in the writer's thread.

A batch is one transaction. It ends in one of three ways for each append: durable, refused for certain, or unknown.
After an error from COMMIT the connection is not trusted any more: it is dropped, and a new one has to find the last
acknowledged entry where it was left (reliability: D6, findings 2 and 4).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from loom.clock import Clock
from loom.errors import (
    AppendRefusedError,
    AppendUnknownError,
    DiskFullError,
    DuplicateCommandError,
    JournalBusyError,
    JournalCorruptError,
    JournalForeignError,
    JournalReadOnlyError,
    LoomError,
    SequenceConflictError,
    WriterFencedError,
)
from loom.journal.chain import Header, entry_hash, genesis
from loom.journal.sqlite.connection import connect_writer, translated
from loom.journal.sqlite.files import JournalFiles
from loom.journal.sqlite.heads import HeadsFile, WrittenHead
from loom.journal.store import Append, Head, Receipt

__all__ = ["Outcome", "Tail", "Writer", "WriterOptions"]

Outcome = Receipt | LoomError
"""What became of one append of a batch."""

_INSERT = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_EPOCH = "SELECT epoch FROM writer WHERE one = 1"
_TAIL = "SELECT position, entry_hash, recorded_at_us FROM entries ORDER BY position DESC LIMIT 1"
_HASH_AT = "SELECT entry_hash FROM entries WHERE position = ?"
_HEAD = "SELECT sequence, entry_hash FROM entries WHERE journal = ? ORDER BY sequence DESC LIMIT 1"
_RESOLVE = "SELECT position, entry_hash, recorded_at_us FROM entries WHERE journal = ? AND sequence = ?"
_COMMAND = "SELECT 1 FROM entries WHERE journal = ? AND command_id = ? AND kind = 'command_received'"

_MAX_HEADS = 65_536
_FREE_SPACE_EVERY = 64  # batches
_COMMIT_FAILURES = 2  # in a row, before nothing more is written


class Tail(NamedTuple):
    """The last entry of the workspace: position 0 and an empty hash where there is none."""

    position: int
    entry_hash: bytes
    recorded_at_us: int


@dataclass(frozen=True, slots=True)
class WriterOptions:
    """What the writer may be told: durability, and when it does its housekeeping."""

    durability: str = "full"
    busy_timeout_s: float = 10.0
    checkpoint_pages: int = 4_000
    head_every: int = 256
    min_free_bytes: int = 16 * 1024 * 1024


@dataclass(slots=True)
class _Staged:
    """A batch with everything assigned that the journal assigns: rows to insert, and what to say when they stand."""

    tail: Tail
    heads: dict[str, Head] = field(default_factory=dict)
    rows: list[tuple[object, ...]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)


class Writer:
    """Appends batches to a journal file. Not thread-safe: one thread opens, uses and closes it."""

    def __init__(self, files: JournalFiles, *, workspace: str, options: WriterOptions, clock: Clock) -> None:
        self._files = files
        self._workspace = workspace
        self._options = options
        self._clock = clock
        self._heads_file = HeadsFile(files.heads)
        self._connection: sqlite3.Connection | None = None
        self._read_only: LoomError | None = None
        self._heads: dict[str, Head] = {}
        self._tail = Tail(0, b"", 0)
        self._epoch = 0
        self._written_head = 0
        self._identity: tuple[int, int] = (0, 0)
        self._checkpoint_at = 0
        self._commit_failures = 0
        self._batches = 0

    # --- a life ---------------------------------------------------------------------------------

    def open(self) -> Tail:
        """Open or create the journal, take the next epoch, and check what is known from outside."""
        connection = self._connection = self._connect()
        try:
            self._claim_workspace(connection)
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE writer SET epoch = epoch + 1")
            self._epoch = connection.execute(_EPOCH).fetchone()[0]
            connection.execute("COMMIT")
            self._tail = self._read_tail(connection)
            self._check_heads(connection)
            self._identity = self._identify()
            self._checkpoint_at = self._checkpoint_bytes()
        except sqlite3.DatabaseError as error:
            self._drop()
            raise self._explained(error) from error
        except BaseException:
            self._drop()
            raise
        return self._tail

    def commit(self, batch: Sequence[Append]) -> list[Outcome]:
        """Append a batch in one transaction and say what became of each append, in order; never raises."""
        try:
            refusal = self._refusal()
            if refusal is not None:
                return [refusal] * len(batch)
            outcomes = self._transact(batch)
            if outcomes is None:  # something in it was refused: one by one, so that one bad append harms nobody else
                outcomes = [self._commit_alone(append) for append in batch]
            self._keep_house()
        except LoomError as error:
            return [error] * len(batch)
        return outcomes

    def resolve(self, unknown: AppendUnknownError) -> Receipt | None:
        """Say for certain what became of an append, on a connection that can be trusted; raise where there is none."""
        connection = self._usable()
        try:
            row = connection.execute(_RESOLVE, (unknown.journal, unknown.sequence)).fetchone()
            if row is None or row[1] != unknown.entry_hash:
                return None
            connection.execute("BEGIN IMMEDIATE")  # a commit of our own syncs the log: what is seen is durable
            connection.execute("UPDATE writer SET epoch = epoch")
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._drop()
            raise self._explained(error) from error
        return Receipt(unknown.journal, unknown.sequence, row[0], row[1], row[2])

    def head(self, journal: str) -> Head:
        """Return the head of a journal as far as it is durable."""
        try:
            return self._head(self._usable(), journal)
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from error

    def tail(self) -> Tail:
        """Return the last entry of the workspace as far as it is durable."""
        return self._tail

    def close(self) -> None:
        """Write the head down, fold the log into the database and close; what fails here loses nothing."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with contextlib.suppress(sqlite3.Error, OSError):
            self._checkpoint(connection)
            self._write_head()
        connection.close()

    # --- a batch --------------------------------------------------------------------------------

    def _commit_alone(self, append: Append) -> Outcome:
        outcomes = self._transact([append])
        if outcomes is not None:
            return outcomes[0]
        command = next((draft.command_id for draft in append.drafts if draft.kind == "command_received"), None)
        if command is not None and self._usable().execute(_COMMAND, (append.journal, command)).fetchone():
            return DuplicateCommandError(journal=append.journal, command_id=command)
        return AppendRefusedError(
            f"journal [{append.journal}] did not accept [{len(append.drafts)}] entries; expected ones that its schema "
            "allows: see the log of this process"
        )

    def _transact(self, batch: Sequence[Append]) -> list[Outcome] | None:
        """Append all of a batch; None if the database refused some of it, and nothing was appended."""
        connection = self._usable()
        try:
            staged = self._stage(connection, batch)
            if not staged.rows:
                return staged.outcomes
            connection.execute("BEGIN IMMEDIATE")
            self._check_epoch(connection)
            connection.executemany(_INSERT, staged.rows)
        except (sqlite3.IntegrityError, sqlite3.DataError):
            self._roll_back(connection)
            return None
        except (sqlite3.Error, LoomError) as error:
            self._roll_back(connection)
            refused = error if isinstance(error, LoomError) else self._explained(error)
            return [refused] * len(batch)
        try:
            connection.execute("COMMIT")
            self._check_identity()
        except (sqlite3.Error, JournalCorruptError) as error:
            return self._unknown(staged, error)
        self._commit_failures = 0
        self._tail = staged.tail
        self._heads.update(staged.heads)
        return staged.outcomes

    def _stage(self, connection: sqlite3.Connection, batch: Sequence[Append]) -> _Staged:
        """Assign positions, times and hashes in order; an append that is out of date is refused right here."""
        staged = _Staged(self._tail)
        now = self._clock.now_us()
        at = max(self._tail.recorded_at_us, now)
        position = self._tail.position
        for append in batch:
            head = staged.heads.get(append.journal) or self._head(connection, append.journal)
            if append.expected != head.sequence:
                staged.outcomes.append(
                    SequenceConflictError(journal=append.journal, at=head.sequence, expected=append.expected)
                )
                continue
            sequence, previous = head
            for kind, schema, command_id, policy, salt, body, digest in append.drafts:
                sequence += 1
                position += 1
                header = Header(
                    self._workspace, append.journal, kind, command_id, policy,
                    sequence, position, schema, self._epoch, at, at - now,
                )  # fmt: skip
                previous = entry_hash(header, digest, previous)
                staged.rows.append(
                    (position, append.journal, sequence, kind, schema, command_id, self._epoch, at, at - now,
                     policy, salt, body, digest, previous)
                )  # fmt: skip
            staged.heads[append.journal] = Head(sequence, previous)
            staged.outcomes.append(Receipt(append.journal, sequence, position, previous, at))
        if staged.rows:
            staged.tail = Tail(position, previous, at)
        return staged

    def _unknown(self, staged: _Staged, error: Exception) -> list[Outcome]:
        """Give up the connection after a COMMIT that failed: nobody knows, until `resolve` looks again."""
        self._drop()
        self._commit_failures += 1
        full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
        if self._commit_failures >= _COMMIT_FAILURES and not full:
            self._read_only = JournalReadOnlyError(
                f"journal [{self._files.journal}] failed [{self._commit_failures}] commits in a row, last with [{error}]; "
                "expected a disk that works: nothing more is written by this process; run `loom doctor`"
            )
        return [
            outcome
            if isinstance(outcome, LoomError)
            else AppendUnknownError(
                f"journal [{outcome.journal}] may or may not hold sequence [{outcome.sequence}] [{error}]; "
                "expected an answer to COMMIT: resolve it before anything else",
                journal=outcome.journal,
                sequence=outcome.sequence,
                entry_hash=outcome.entry_hash,
            )
            for outcome in staged.outcomes
        ]

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._drop()

    # --- whether the connection can be trusted --------------------------------------------------

    def _refusal(self) -> LoomError | None:
        if self._read_only is not None:
            return self._read_only
        self._batches += 1
        if self._options.min_free_bytes and self._batches % _FREE_SPACE_EVERY == 1:
            free = _free_bytes(self._files.directory)
            if free < self._options.min_free_bytes:
                self._batches -= 1  # look again next time
                return DiskFullError(
                    f"disk of [{self._files.directory}] has [{free}] bytes left; expected at least "
                    f"[{self._options.min_free_bytes}]: make room (nothing was written)"
                )
        return None

    def _usable(self) -> sqlite3.Connection:
        """Return the connection, or a new one that finds everything acknowledged where it was left."""
        if self._connection is not None:
            return self._connection
        connection = self._connect()
        try:
            epoch = connection.execute(_EPOCH).fetchone()[0]
            row = connection.execute(_HASH_AT, (self._tail.position,)).fetchone()
            if epoch != self._epoch or (self._tail.position and (row is None or row[0] != self._tail.entry_hash)):
                self._read_only = JournalCorruptError(
                    f"journal [{self._files.journal}] does not hold what was acknowledged at position "
                    f"[{self._tail.position}] in epoch [{self._epoch}]; expected it there: nothing more is written; "
                    "run `loom verify`"
                )
                raise self._read_only
            self._tail = self._read_tail(connection)
            self._heads.clear()
            self._identity = self._identify()
        except sqlite3.DatabaseError as error:
            connection.close()
            raise self._explained(error) from error
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _connect(self) -> sqlite3.Connection:
        synchronous = "FULL" if self._options.durability == "full" else "NORMAL"
        try:
            return connect_writer(
                self._files.journal, synchronous=synchronous, busy_timeout_s=self._options.busy_timeout_s
            )
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _check_epoch(self, connection: sqlite3.Connection) -> None:
        epoch = connection.execute(_EPOCH).fetchone()[0]
        if epoch != self._epoch:
            self._read_only = WriterFencedError(
                f"journal [{self._files.journal}] is in epoch [{epoch}]; expected [{self._epoch}]: another process took it "
                "over and this one may write nothing more; restart it"
            )
            raise self._read_only

    def _identify(self) -> tuple[int, int]:
        try:
            return os.stat(self._files.journal).st_ino, os.stat(self._files.wal).st_ino
        except FileNotFoundError:
            return 0, 0

    def _check_identity(self) -> None:
        """Make sure that the files under the connection are still the ones with these names (reliability: finding 2)."""
        if self._identify() != self._identity or self._identity == (0, 0):
            self._read_only = JournalCorruptError(
                f"the files of journal [{self._files.journal}] were replaced or unlinked while it was open; expected the same "
                "ones: nothing more is written by this process; stop what touched them, then run `loom verify`"
            )
            raise self._read_only

    def _check_heads(self, connection: sqlite3.Connection) -> None:
        """Refuse a journal that was cut or rewritten before the last head that was written down outside it."""
        last = self._heads_file.last()
        if last is None:
            return
        row = connection.execute(_HASH_AT, (last.position,)).fetchone()
        if row is None or row[0] != last.entry_hash:
            what = "cut" if row is None else "rewritten"
            raise JournalCorruptError(
                f"journal [{self._files.journal}] was {what} at or before position [{last.position}]; expected the entry "
                f"[{last.entry_hash.hex()[:12]}…] that [{self._files.heads.name}] names: run `loom verify`, restore a backup"
            )
        self._written_head = last.position

    def _claim_workspace(self, connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT value FROM meta WHERE key = 'workspace'").fetchone()
        if row is None:
            connection.execute("INSERT INTO meta (key, value) VALUES ('workspace', ?)", (self._workspace,))
        elif row[0] != self._workspace:
            raise JournalForeignError(
                f"journal [{self._files.journal}] belongs to workspace [{row[0]}]; expected [{self._workspace}]: "
                "name that workspace, or another file"
            )

    def _explained(self, error: sqlite3.Error) -> LoomError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return DiskFullError(
                f"disk of [{self._files.directory}] is full; expected room for the entries: make room and try again "
                "(nothing was written)"
            )
        if code == sqlite3.SQLITE_BUSY:
            return JournalBusyError(
                f"journal [{self._files.journal}] was busy for [{self._options.busy_timeout_s}] s; expected to be its only "
                "writer: end the program that keeps it locked (nothing was written)"
            )
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            return JournalReadOnlyError(
                f"journal [{self._files.journal}] cannot be written [{error}]; expected a file that can: mend its permissions"
            )
        known = translated(error, self._files.journal) if isinstance(error, sqlite3.DatabaseError) else error
        if isinstance(known, LoomError):
            return known
        return AppendRefusedError(f"SQLite refused to write journal [{self._files.journal}] [{error}]: run `loom doctor`")

    # --- reading what is there ------------------------------------------------------------------

    def _head(self, connection: sqlite3.Connection, journal: str) -> Head:
        head = self._heads.get(journal)
        if head is None:
            row = connection.execute(_HEAD, (journal,)).fetchone()
            head = Head(*row) if row else Head(0, genesis(self._workspace, journal))
            if len(self._heads) >= _MAX_HEADS:
                self._heads.clear()
            self._heads[journal] = head
        return head

    @staticmethod
    def _read_tail(connection: sqlite3.Connection) -> Tail:
        row = connection.execute(_TAIL).fetchone()
        return Tail(*row) if row else Tail(0, b"", 0)

    # --- housekeeping between batches -----------------------------------------------------------

    def _keep_house(self) -> None:
        """Checkpoint and write heads when they are due. What fails here has lost nothing and is tried again."""
        connection = self._connection
        if connection is None:
            return
        with contextlib.suppress(sqlite3.Error, OSError):
            wal_bytes = os.stat(self._files.wal).st_size
            head_due = self._tail.position - self._written_head >= self._options.head_every
            synced = self._options.durability == "full"
            if wal_bytes >= self._checkpoint_at or (head_due and not synced):
                synced = self._checkpoint(connection) or synced
                self._checkpoint_at = os.stat(self._files.wal).st_size + self._checkpoint_bytes()
            if head_due and synced:
                self._write_head()

    def _checkpoint(self, connection: sqlite3.Connection) -> bool:
        """Fold the log into the database and truncate it; False if a reader is in the way, which is no error."""
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(self._options.busy_timeout_s * 1000)}")

    def _checkpoint_bytes(self) -> int:
        return self._options.checkpoint_pages * 4_096

    def _write_head(self) -> None:
        if self._tail.position > self._written_head:
            self._heads_file.append(WrittenHead(self._tail.position, self._tail.entry_hash))
            self._written_head = self._tail.position


def _free_bytes(directory: os.PathLike[str]) -> int:
    stat = os.statvfs(directory)
    return stat.f_bavail * stat.f_frsize
