"""What the writer does between batches: fold the log into the database, and write heads down outside it.

What fails here has lost nothing, and is tried again after the next batch.
"""

from __future__ import annotations

import os
import sqlite3

from loom.errors import JournalCorruptError, JournalReadOnlyError
from loom.journal.sqlite.files import JournalFiles
from loom.journal.sqlite.heads import HeadsFile, WrittenHead
from loom.journal.sqlite.options import WriterOptions
from loom.journal.sqlite.writer_connection import WriterConnection
from loom.telemetry import get_logger

__all__ = ["Housekeeping"]

_BUDGET_PAGE_BYTES = 4_096
"""What `checkpoint_pages` counts in, whatever the pages of the file are."""
_ALARM = 16

_log = get_logger(__name__)


class Housekeeping:
    """Decides when a checkpoint or a head is due. Used by the writer's thread only."""

    def __init__(self, files: JournalFiles, *, connection: WriterConnection, options: WriterOptions) -> None:
        self._files = files
        self._connection = connection
        self._options = options
        self._heads_file = HeadsFile(files.heads)
        self._written = 0
        self._checkpoint_at = self._budget_bytes
        self._failed = False

    def check_heads(self) -> None:
        """Refuse a journal that was cut or rewritten before the last head that was written down outside it."""
        try:
            last = self._heads_file.last()
        except OSError as error:
            raise JournalReadOnlyError(
                f"heads file [{self._files.heads}] cannot be read [{error.strerror}]; expected a file of the "
                "owner of the journal: correct its permissions"
            ) from error
        if last is None:
            return
        found = self._connection.hash_at(last.position)
        if found != last.entry_hash:
            what = "cut" if found is None else "rewritten"
            raise JournalCorruptError(
                f"journal [{self._files.journal}] was {what} at or before position [{last.position}]; expected the "
                f"entry [{last.entry_hash.hex()[:12]}…] that [{self._files.heads.name}] names: run `loom verify`, "
                "restore a backup"
            )
        self._written = last.position

    def after_batch(self) -> None:
        """Checkpoint and write a head where they are due."""
        try:
            wal_bytes = os.stat(self._files.wal).st_size
            head_due = self._connection.tail.position - self._written >= self._options.head_every
            durable = self._options.durability == "full"
            if wal_bytes >= self._checkpoint_at or (head_due and not durable):
                durable = self._checkpoint() or durable
                left = os.stat(self._files.wal).st_size
                self._checkpoint_at = left + self._budget_bytes
                if left > _ALARM * self._budget_bytes:
                    _log.warning("journal_log_grows", bytes=left, detail="a reader holds an old snapshot")
            if head_due and durable:
                self._write_head()
            self._failed = False
        except (sqlite3.Error, OSError) as error:
            self._complain(error)

    def after_prune(self) -> None:
        """Fold the log into the database, where bodies that were taken away would lie until it is."""
        try:
            self._checkpoint()
        except (sqlite3.Error, OSError) as error:
            self._complain(error)

    def at_close(self) -> None:
        """Fold the log into the database and write the last head down, as far as that can be done."""
        try:
            durable = self._checkpoint() or self._options.durability == "full"
            if durable:
                self._write_head()
        except (sqlite3.Error, OSError) as error:
            self._complain(error)

    @property
    def _budget_bytes(self) -> int:
        return self._options.checkpoint_pages * _BUDGET_PAGE_BYTES

    def _checkpoint(self) -> bool:
        """Fold the log into the database and truncate it; False if a reader is in the way, which is no error."""
        connection = self._connection.sqlite()
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error:
            self._connection.drop()  # a sync may have failed: the next use opens a new connection
            raise
        connection.execute(f"PRAGMA busy_timeout = {int(self._options.busy_timeout_s * 1000)}")
        return not busy

    def _write_head(self) -> None:
        tail = self._connection.tail
        if tail.position > self._written:
            self._heads_file.append(WrittenHead(tail.position, tail.entry_hash))
            self._written = tail.position

    def _complain(self, error: Exception) -> None:
        """Log it once, not after each batch."""
        if not self._failed:
            _log.warning("housekeeping_failed", journal=str(self._files.journal), error=repr(error))
        self._failed = True
