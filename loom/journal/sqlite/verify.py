"""Verify a journal file: its entries, their chains, and its indexes.

It scans the table and not an index, since a damaged index hides entries without a word (reliability: finding 8), and
it opens the file through SQLite only. Whatever is wrong with the file becomes a finding, never a traceback.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from loom.clock import SystemClock
from loom.errors import JournalNotFoundError, LoomError
from loom.journal.findings import Finding, Findings, Verification
from loom.journal.roots import Root, RootsSeen
from loom.journal.sqlite.connection import (
    FORMAT,
    connect_reader,
    epochs_are_per_journal,
    format_differs,
    format_of,
    has_own_ids,
    has_turn_index,
    schema_changes,
)
from loom.journal.sqlite.files import JournalFiles
from loom.journal.sqlite.heads import HeadsFile, WrittenHead
from loom.journal.sqlite.reader import COLUMNS, COLUMNS_3, MARKED
from loom.journal.sqlite.scan import Scan

__all__ = ["Finding", "Progress", "Verification", "Verifier", "verify", "verify_connection"]

Progress = Callable[[int, int], None]
"""Called with how many entries are done, and how many there are."""

_ENTRIES = "SELECT {} FROM entries NOT INDEXED ORDER BY position"
_TOTAL = "SELECT coalesce(max(position), 0) FROM entries NOT INDEXED"
_META = "SELECT key, value FROM meta"
_EPOCH = "SELECT epoch FROM writer WHERE one = 1"
_BY_SEQUENCE = "SELECT journal, sequence, position FROM entries INDEXED BY entries_by_sequence"
_BY_COMMAND = (
    "SELECT journal, command_id, position FROM entries INDEXED BY entries_by_command WHERE kind = 'command_received'"
)
_PRUNED = "SELECT position FROM entries INDEXED BY entries_pruned WHERE kind = 'pruned'"
_BY_TURN = f"SELECT journal, command_id, position FROM entries INDEXED BY entries_by_turn WHERE {MARKED}"  # noqa: S608

_BY_OWN_ID = "SELECT command_id, position FROM entries INDEXED BY entries_by_own_id WHERE kind = 'decision_observed'"

_PROGRESS_EVERY = 4_096
_INTEGRITY_MESSAGES = 100


def verify(
    path: Path,
    *,
    workspace: str | None = None,
    roots: Sequence[Root] = (),
    anchored: Sequence[Root] = (),
    signed: Sequence[Root] = (),
    progress: Progress | None = None,
) -> Verification:
    """Verify the journal file at `path`, with or without a running writer.

    Raises `JournalNotFoundError` if there is no file; everything else that is wrong is a finding. `workspace` is the
    one that the journal should belong to, if that is known; `roots` are those that were written down elsewhere,
    `anchored` and `signed` those of checkpoints: see `RootsSeen`.
    """
    files = JournalFiles(path)
    if not files.journal.exists():
        raise JournalNotFoundError(f"there is no journal at [{path}]; expected the file of one: check the path")
    seen = RootsSeen(roots, anchored=anchored, signed=signed)
    verifier = Verifier(str(files.journal), workspace=workspace, roots=seen, progress=progress or _silent)
    # Heads first: a writer at work may add some while the table is read, but takes none away.
    heads = verifier.heads_in(files.heads)
    try:
        connection = connect_reader(files.journal)
    except (LoomError, sqlite3.Error, OSError) as error:
        return verifier.unopened(error, heads)
    try:
        return verifier.run(connection, heads)
    finally:
        connection.close()


def verify_connection(
    connection: sqlite3.Connection,
    *,
    heads: Sequence[WrittenHead] = (),
    roots: Sequence[Root] = (),
    workspace: str | None = None,
) -> Verification:
    """Verify a journal that is open already, as one in memory, against heads and roots that were written down."""
    return Verifier(":memory:", workspace=workspace, roots=RootsSeen(roots), progress=_silent).run(connection, heads)


class Verifier:
    """One run over one journal."""

    def __init__(self, name: str, *, workspace: str | None, roots: RootsSeen, progress: Progress) -> None:
        self._name = name
        self._wanted = workspace
        self._progress = progress
        self._format = FORMAT
        self._findings = Findings()
        self._scan = Scan("", findings=self._findings, now_us=SystemClock().now_us())
        self._roots = roots

    def run(self, connection: sqlite3.Connection, heads: Sequence[WrittenHead]) -> Verification:
        """Verify a journal that is open."""
        connection.text_factory = _text
        self._read(connection, heads)
        self._compare_heads(heads)
        return self._verdict()

    def unopened(self, error: Exception, heads: Sequence[WrittenHead]) -> Verification:
        """Say of a journal that cannot even be opened what can be said."""
        self._findings.add("DAMAGED", f"journal cannot be opened: {error}")
        self._compare_heads(heads)
        return self._verdict()

    def heads_in(self, path: Path) -> Sequence[WrittenHead]:
        """Return the heads of a heads file, and take note of lines that are none."""
        try:
            lines = HeadsFile(path).read()
        except OSError as error:
            self._findings.add("DAMAGED", f"heads file [{path.name}] cannot be read: {error.strerror}")
            return ()
        for number in lines.damaged:
            self._findings.add("DAMAGED", f"heads file [{path.name}] line {number} is no position with a hash")
        for number in lines.torn:
            self._findings.add("HEAD_TORN", f"heads file [{path.name}] line {number} ends before its hash does")
        return lines.heads

    def _read(self, connection: sqlite3.Connection, heads: Sequence[WrittenHead]) -> None:
        """Take every step for itself: what one cannot read does not keep the next from reading."""
        for head in heads:
            self._scan.watched.setdefault(head.position, b"")
        self._guarded("snapshot", lambda: connection.execute("BEGIN").close())
        self._guarded("format", lambda: self._look_at_format(connection))
        self._guarded("meta", lambda: self._check_meta(connection))
        self._guarded("schema", lambda: self._check_schema(connection))
        self._guarded("integrity check", lambda: self._check_integrity(connection))
        self._guarded("table", lambda: self._scan_table(connection))
        self._guarded("writer", lambda: self._check_epoch(connection))
        if self._scan.complete:
            self._compare_index(connection, "entries_by_sequence", _BY_SEQUENCE, self._scan.by_sequence)
            self._compare_index(connection, "entries_by_command", _BY_COMMAND, self._scan.by_command)
            self._compare_index(connection, "entries_pruned", _PRUNED, self._scan.by_pruned)
            self._guarded("index by turn", lambda: self._compare_turn_index(connection))
            if has_own_ids(self._format):
                self._compare_index(connection, "entries_by_own_id", _BY_OWN_ID, self._scan.by_own_id)

    def _guarded(self, what: str, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # a damaged file raises whatever it likes
            self._findings.add(
                "DAMAGED",
                f"{what} cannot be read after position {self._scan.size}: {type(error).__name__}: {error}",
                position=self._scan.size or None,
            )

    def _look_at_format(self, connection: sqlite3.Connection) -> None:
        self._format = format_of(connection)
        self._scan.per_journal = epochs_are_per_journal(self._format)

    def _check_meta(self, connection: sqlite3.Connection) -> None:
        found = {str(key): str(value) for key, value in connection.execute(_META)}
        self._scan.workspace = found.get("workspace", "")
        if unknown := found.keys() - {"workspace", "format"}:
            self._findings.add("SCHEMA_CHANGED", f"meta has unknown keys {sorted(unknown)}")
        if format_differs(connection):
            self._findings.add("SCHEMA_CHANGED", f"meta says format {found.get('format')}, not {self._format}")
        if self._wanted is not None and found.get("workspace") != self._wanted:
            self._findings.add(
                "TAMPERED",
                f"journal says that it belongs to workspace [{found.get('workspace')}], not [{self._wanted}]",
            )

    def _check_schema(self, connection: sqlite3.Connection) -> None:
        for name, what in schema_changes(connection).items():
            self._findings.add("SCHEMA_CHANGED", f"{name} {what}")

    def _check_integrity(self, connection: sqlite3.Connection) -> None:
        for (message,) in connection.execute(f"PRAGMA integrity_check({_INTEGRITY_MESSAGES})"):
            if message != "ok":
                code = "INDEX_DAMAGED" if " index " in str(message) else "DAMAGED"
                self._findings.add(code, f"SQLite says: {message}")

    def _scan_table(self, connection: sqlite3.Connection) -> None:
        total = int(connection.execute(_TOTAL).fetchone()[0])
        try:
            entries = _ENTRIES.format(COLUMNS_3 if has_own_ids(self._format) else COLUMNS)
            for done, row in enumerate(connection.execute(entries), start=1):
                self._scan.take(row)
                self._roots.take(self._scan.workspace, row[0], row[1], row[2], row[13])
                if done % _PROGRESS_EVERY == 0:
                    self._progress(done, max(done, total))
            self._scan.complete = True
        finally:
            self._scan.finish()
        self._progress(self._scan.count, self._scan.count)

    def _check_epoch(self, connection: sqlite3.Connection) -> None:
        row = connection.execute(_EPOCH).fetchone()
        if row is None or row[0] < self._scan.epoch:
            found = None if row is None else row[0]
            self._findings.add("TAMPERED", f"writer is of epoch [{found}], the last entry of [{self._scan.epoch}]")

    def _compare_index(
        self, connection: sqlite3.Connection, name: str, statement: str, expected: tuple[int, int]
    ) -> None:
        try:
            found = _fingerprint(connection.execute(statement))
        except Exception as error:  # see above
            self._findings.add("INDEX_DAMAGED", f"{name} cannot be read: {type(error).__name__}: {error}")
            return
        if found != expected:
            self._findings.add(
                "INDEX_DAMAGED",
                f"{name} leads to {found[0]} entries, the table has {expected[0]}, and they are not the same",
            )

    def _compare_turn_index(self, connection: sqlite3.Connection) -> None:
        if has_turn_index(connection):  # a journal of format 1 has none, and what was changed is a finding already
            self._compare_index(connection, "entries_by_turn", _BY_TURN, self._scan.by_turn)

    def _compare_heads(self, heads: Sequence[WrittenHead]) -> None:
        """Hold every head against the entry at its position; between the last good one and a bad one all is suspect."""
        good = cut_to = 0
        for position, expected in sorted(set(heads)):
            found = self._scan.watched.get(position)
            if position > self._scan.size:
                cut_to = max(cut_to, position)
            elif found == expected:
                good = max(good, position)
            elif found:
                self._findings.add(
                    "REWRITTEN",
                    f"position {position} does not have the hash {expected.hex()[:12]}… that was written down: "
                    f"one or more of the entries {good + 1}..{position} are others now",
                    position=position,
                )
        if cut_to:
            self._findings.add(
                "TRUNCATED",
                f"entries {self._scan.size + 1}..{cut_to} are gone, or cannot be read: a head was written down at "
                f"{cut_to}",
                position=self._scan.size + 1,
            )
        self._anchored = max(good, self._roots.compare(self._findings, size=self._scan.size))

    def _verdict(self) -> Verification:
        size, anchored = self._scan.size, self._anchored
        if size > anchored:
            self._findings.add(
                "UNANCHORED_TAIL",
                f"{anchored + 1}..{size}: {size - anchored} entries since the last head; "
                "had some been cut from the end, it would not show",
                position=anchored + 1,
            )
        root = self._roots.last if self._scan.complete else None
        found = sorted(self._findings.kept, key=lambda finding: (finding.position or 0, finding.sequence or 0))
        return Verification(
            path=self._name,
            workspace=self._scan.workspace or None,
            size=size,
            anchored_through=anchored,
            findings=tuple(found),
            counts=dict(self._findings.counts),
            root=None if root is None else root.root.hex(),
        )


def _fingerprint(rows: Iterator[Any]) -> tuple[int, int]:
    """Return the number of rows and a sum over them that does not depend on their order."""
    count = total = 0
    for row in rows:
        count += 1
        total += hash(tuple(row))
    return count, total


def _text(raw: bytes) -> str:
    """Decode text of a database that may be damaged: what is no UTF-8 will not hash to what it should."""
    return raw.decode("utf-8", "surrogateescape")


def _silent(done: int, total: int) -> None:
    """Report no progress."""
