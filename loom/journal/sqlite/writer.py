"""Appends batches to a journal file; everything in here runs in the writer's thread.

A batch is one transaction. It ends in one of three ways for each append: durable, refused for certain, or unknown.
If a fault comes before COMMIT, the append is refused for certain. After a fault at COMMIT the outcome is unknown, until
it is looked up on a connection that can be trusted.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence

from loom.clock import Clock
from loom.errors import (
    AppendRefusedError,
    AppendUnknownError,
    DiskFullError,
    DuplicateCommandError,
    DuplicateOwnIdError,
    JournalReadOnlyError,
    LoomError,
    SequenceConflictError,
    WriterFencedError,
)
from loom.journal.kinds import OWN_IDS
from loom.journal.sqlite.connection import format_of, has_own_ids
from loom.journal.sqlite.faults import BUSY, code_of, explained
from loom.journal.sqlite.files import JournalFiles
from loom.journal.sqlite.housekeeping import Housekeeping
from loom.journal.sqlite.options import WriterOptions
from loom.journal.sqlite.reader import COLUMNS, COLUMNS_3
from loom.journal.sqlite.staging import Outcome, Staged, Tail, for_each, stage, unanswered
from loom.journal.sqlite.writer_connection import WriterConnection
from loom.journal.store import Append, Head, Receipt
from loom.telemetry import get_logger

__all__ = ["Outcome", "Tail", "Writer", "WriterOptions"]

_ROW = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# Rows go in by the dozen: SQLite's step gives the interpreter lock away, and a thread that has to ask a busy event loop
# for it back after every single row gets it back some hundred times a second.
_INSERTS = {
    columns: {
        rows: f"INSERT INTO entries ({columns}) VALUES {', '.join([row] * rows)}"  # noqa: S608 - constants only
        for rows in (128, 32, 8, 2, 1)
    }
    for columns, row in ((COLUMNS, "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"), (COLUMNS_3, _ROW))
}
_RESOLVE = "SELECT position, entry_hash, recorded_at_us FROM entries WHERE journal = ? AND sequence = ?"
_COMMAND = "SELECT 1 FROM entries WHERE journal = ? AND command_id = ? AND kind = 'command_received'"

_OWN_ID = "SELECT 1 FROM entries WHERE command_id = ? AND kind = 'decision_observed'"

_LAST = "SELECT coalesce(max(sequence), 0) FROM entries WHERE journal = ?"
_PRUNE = """
UPDATE entries SET body = NULL, salt = NULL
WHERE journal = ? AND sequence BETWEEN ? AND ? AND body IS NOT NULL AND kind <> 'pruned'
"""

_FREE_SPACE_EVERY = 64  # batches
_COMMIT_FAILURES = 2  # in a row, before nothing more is written

_log = get_logger(__name__)


class Writer:
    """Appends batches to a journal file. Not thread-safe: one thread opens, uses and closes it."""

    def __init__(self, files: JournalFiles, *, workspace: str, options: WriterOptions, clock: Clock) -> None:
        self._files = files
        self._workspace = workspace
        self._options = options
        self._clock = clock
        self._connection = WriterConnection(files, workspace=workspace, options=options)
        self._housekeeping = Housekeeping(files, connection=self._connection, options=options)
        self._columns = COLUMNS_3
        self._commit_failures = 0
        self._batches = 0

    def open(self) -> Tail:
        """Open or create the journal, take the next epoch, and check what is known from outside."""
        try:
            self._connection.open()
            self._housekeeping.check_heads()
            self._columns = COLUMNS_3 if has_own_ids(self.format) else COLUMNS
        except BaseException as error:
            self._connection.close()
            if isinstance(error, sqlite3.Error):
                raise explained(error, self._files.journal, writing=True) from error
            raise
        return self._connection.tail

    @property
    def format(self) -> int:
        """The format of the file."""
        return format_of(self._connection.sqlite())

    @property
    def epoch(self) -> int:
        """The epoch of this process, 0 before the journal is open."""
        return self._connection.epoch

    def fence(self) -> LoomError:
        """Let nothing more be written by this process, and return why."""
        return self._connection.refusal or self._connection.refuse(
            WriterFencedError(
                f"writer [{self.epoch}] of journal [{self._files.journal}] was fenced by this process; expected one "
                "that may write: restart it"
            )
        )

    def commit(self, batch: Sequence[Append]) -> list[Outcome]:
        """Append a batch in one transaction and return the outcome of each append, in order; never raises."""
        refusal = self._nearly_full()
        if refusal is not None:
            return for_each(refusal, len(batch))
        outcomes = self._transact(batch)
        if outcomes is None:  # one append was refused: commit one by one, so that it does not harm the others
            outcomes = [self._commit_alone(append) for append in batch]
        self._keep_house()
        return outcomes

    def resolve(self, unknown: AppendUnknownError) -> Receipt | None:
        """Find the outcome of an append for certain, on a connection that can be trusted; raise if there is none.

        What such a connection sees is durable: see `WriterConnection`.
        """
        if not unknown.entry_hash:  # its writer did not come to say which hash it would have: who looks must judge
            raise unknown
        try:
            row = self._connection.sqlite().execute(_RESOLVE, (unknown.journal, unknown.sequence)).fetchone()
        except sqlite3.Error as error:
            self._connection.drop()
            raise explained(error, self._files.journal, writing=False) from error
        if row is None or row[1] != unknown.entry_hash:
            return None
        return Receipt(unknown.journal, unknown.sequence, *row)

    def head(self, journal: str) -> Head:
        """Return the head of a journal as far as it is durable."""
        try:
            return self._connection.head(journal)
        except sqlite3.Error as error:
            raise explained(error, self._files.journal, writing=False) from error

    def prune(self, journal: str, until: int) -> None:
        """Take all bodies of a journal away that goes no further; the schema sees to it that an entry declared it."""
        self._take_away(journal, [(1, until)], last=until)

    def prune_bodies(self, journal: str, ranges: Sequence[tuple[int, int]]) -> None:
        """Take bodies away by ranges of sequences, in one transaction; entries have to have declared each."""
        self._take_away(journal, ranges, last=None)

    def _take_away(self, journal: str, ranges: Sequence[tuple[int, int]], *, last: int | None) -> None:
        if self._connection.refusal is not None:
            raise self._connection.refusal
        try:
            connection = self._connection.sqlite()
            connection.execute("PRAGMA secure_delete = ON")  # what is gone is not to be found in free pages
            # The trigger that asks for the declaration reads it with JSON functions, which an untrusted schema may not.
            connection.execute("PRAGMA trusted_schema = ON")
            connection.execute("BEGIN IMMEDIATE")
            self._connection.check_epoch()
            found = connection.execute(_LAST, (journal,)).fetchone()[0]
            if last is not None and found != last:
                raise SequenceConflictError(journal=journal, expected=last, at=found)
            connection.executemany(_PRUNE, [(journal, first, until) for first, until in ranges])
            connection.execute("COMMIT")
            self._connection.check_identity()
            connection.execute("PRAGMA trusted_schema = OFF")
            self._housekeeping.after_prune()
        except LoomError:
            self._connection.drop()  # with what it has begun, and its trust in the schema
            raise
        except sqlite3.Error as error:
            self._connection.drop()  # the outcome is unknown: pruning again is harmless
            if isinstance(error, sqlite3.IntegrityError):
                raise AppendRefusedError(
                    f"journal [{journal}] keeps its bodies [{error}]; expected an entry that declares them gone first"
                ) from error
            raise explained(error, self._files.journal, writing=True) from error

    def close(self) -> None:
        """Write the head down, fold the log into the database and close; what fails here loses nothing."""
        try:
            if self._connection.connected and self._connection.refusal is None:
                self._housekeeping.at_close()
        except LoomError as error:
            _log.warning("housekeeping_failed", journal=str(self._files.journal), error=repr(error))
        finally:
            self._connection.close()

    def _transact(self, batch: Sequence[Append]) -> list[Outcome] | None:
        """Append all of a batch; None if some of it cannot be written as it is, and nothing was appended."""
        if self._connection.refusal is not None:
            return for_each(self._connection.refusal, len(batch))
        try:
            connection = self._connection.sqlite()
            staged = self._stage(batch)
            if not staged.rows:
                return staged.outcomes
            connection.execute("BEGIN IMMEDIATE")
            self._connection.check_epoch()
            _insert(connection, staged.rows, columns=self._columns)
        except Exception as error:
            return self._not_begun(error, len(batch))
        try:
            connection.execute("COMMIT")
            self._connection.check_identity()
        except Exception as error:
            return self._after_failed_commit(staged, error)
        self._commit_failures = 0
        self._connection.advance(staged)
        return staged.outcomes

    def _stage(self, batch: Sequence[Append]) -> Staged:
        return stage(
            batch,
            workspace=self._workspace,
            epoch=self._connection.epoch,
            now_us=self._clock.now_us(),
            tail=self._connection.tail,
            head_of=self._connection.head,
        )

    def _commit_alone(self, append: Append) -> Outcome:
        outcomes = self._transact([append])
        if outcomes is not None:
            return outcomes[0]
        command = next((draft.command_id for draft in append.drafts if draft.kind == "command_received"), None)
        try:
            known = self._connection.sqlite().execute(_COMMAND, (append.journal, command)).fetchone()
        except (sqlite3.Error, LoomError, UnicodeError):
            known = None
        if command is not None and known is not None:
            return DuplicateCommandError(journal=append.journal, command_id=command)
        for draft in append.drafts:
            if draft.kind in OWN_IDS and draft.command_id is not None and self._is_taken(draft.command_id):
                return DuplicateOwnIdError(own_id=draft.command_id)
        return AppendRefusedError(
            f"journal [{append.journal}] did not accept [{len(append.drafts)}] entries; expected drafts made by "
            "`draft` that "
            "its schema allows, and no other program that writes the file: see the log (nothing was written)"
        )

    def _is_taken(self, own_id: str) -> bool:
        try:
            return self._connection.sqlite().execute(_OWN_ID, (own_id,)).fetchone() is not None
        except (sqlite3.Error, LoomError, UnicodeError):
            return False

    def _not_begun(self, error: Exception, count: int) -> list[Outcome] | None:
        """Undo what was begun; None if the fault may be with one append alone."""
        self._connection.roll_back()
        if isinstance(error, LoomError):
            return for_each(error, count)
        if not isinstance(error, sqlite3.Error) or isinstance(
            error, sqlite3.IntegrityError | sqlite3.DataError | sqlite3.InterfaceError | sqlite3.ProgrammingError
        ):
            _log.warning("append_not_accepted", journal=str(self._files.journal), appends=count, error=repr(error))
            return None
        if code_of(error) not in {sqlite3.SQLITE_FULL, *BUSY}:
            self._connection.drop()
        return for_each(explained(error, self._files.journal, writing=True), count)

    def _after_failed_commit(self, staged: Staged, error: Exception) -> list[Outcome]:
        """Give up the connection after a COMMIT that failed, and look whether the batch stands nevertheless.

        A full disk is a matter of course, so it is settled at once where that can be done. Everything else is unknown
        until its caller asks `resolve`.
        """
        full = code_of(error) == sqlite3.SQLITE_FULL  # then the frame that makes it a commit was not written
        self._connection.drop(unsettled=not full)
        self._commit_failures += 1
        _log.error("commit_failed", journal=str(self._files.journal), error=repr(error), appends=len(staged.outcomes))
        if self._commit_failures >= _COMMIT_FAILURES and not full and self._connection.refusal is None:
            self._connection.refuse(
                JournalReadOnlyError(
                    f"journal [{self._files.journal}] failed [{self._commit_failures}] commits in a row, last with "
                    f"[{error}]; "
                    "expected a disk that works: nothing more is written by this process; run `loom doctor`"
                )
            )
        unknown = [o if isinstance(o, LoomError) else unanswered(o, error) for o in staged.outcomes]
        if not full:
            return list(unknown)
        return [self._settled(o, error) if isinstance(o, AppendUnknownError) else o for o in unknown]

    def _settled(self, unknown: AppendUnknownError, error: Exception) -> Outcome:
        try:
            receipt = self.resolve(unknown)
        except Exception:  # whatever it is, the append stays unknown
            return unknown
        return explained(error, self._files.journal, writing=True) if receipt is None else receipt

    def _nearly_full(self) -> LoomError | None:
        """Return an error where the disk is nearly full, or None; it is looked at every so many batches."""
        if self._options.min_free_bytes and self._batches % _FREE_SPACE_EVERY == 0:
            try:
                free = _free_bytes(self._files.directory)
            except OSError as error:
                return explained(error, self._files.journal, writing=True)
            if free < self._options.min_free_bytes:
                return DiskFullError(
                    f"disk of [{self._files.directory}] has [{free}] bytes left; expected at least "
                    f"[{self._options.min_free_bytes}]: make room (nothing was written)"
                )
        self._batches += 1
        return None

    def _keep_house(self) -> None:
        try:
            if self._connection.connected and self._connection.refusal is None:
                self._housekeeping.after_batch()
        except Exception as error:  # the batch is durable, whatever happens now
            _log.warning("housekeeping_failed", journal=str(self._files.journal), error=repr(error))


def _insert(connection: sqlite3.Connection, rows: Sequence[tuple[object, ...]], *, columns: str) -> None:
    """Insert rows in order, in as few statements as there are fixed ones for; older formats keep no body scheme."""
    done = 0
    rows = rows if columns == COLUMNS_3 else [row[:-1] for row in rows]
    for count, statement in _INSERTS[columns].items():
        while len(rows) - done >= count:
            connection.execute(statement, [value for row in rows[done : done + count] for value in row])
            done += count


def _free_bytes(directory: os.PathLike[str]) -> int:
    stat = os.statvfs(directory)
    return stat.f_bavail * stat.f_frsize
