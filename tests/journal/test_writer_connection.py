"""The writer's connection: what it finds behind it, when it is trusted no more, and what it leaves to others."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loom.errors import (
    DiskFullError,
    JournalBusyError,
    JournalClosedError,
    JournalCorruptError,
    JournalForeignError,
    WriterFencedError,
)
from loom.journal.chain import genesis
from loom.journal.sqlite import JournalFiles, WriterOptions
from loom.journal.sqlite import writer_connection as module
from loom.journal.sqlite.connection import connect_writer
from loom.journal.sqlite.staging import Tail
from loom.journal.sqlite.writer import Writer
from loom.journal.sqlite.writer_connection import WriterConnection
from loom.journal.store import Head, Receipt
from tests.journal.support import START_US, SetClock, notes

BRIEF = WriterOptions(min_free_bytes=0, busy_timeout_s=0.01)


@pytest.fixture
def files(tmp_path: Path) -> JournalFiles:
    return JournalFiles(tmp_path / "journal.db")


@pytest.fixture
def connection(files: JournalFiles) -> Iterator[WriterConnection]:
    found = connection_to(files)
    found.open()
    yield found
    found.close()


def connection_to(files: JournalFiles, *, workspace: str = "default") -> WriterConnection:
    return WriterConnection(files, workspace=workspace, options=BRIEF)


def write(files: JournalFiles, journal: str = "a/1", count: int = 3, *, fold: bool = True) -> list[Receipt]:
    """Write a journal with a writer of its own, which takes an epoch, and close it, or leave its log as it is."""
    writer = Writer(files, workspace="default", options=BRIEF, clock=SetClock())
    writer.open()
    receipts = [writer.commit([notes(journal, step)])[0] for step in range(count)]
    (writer.close if fold else writer._connection.close)()
    return [each for each in receipts if isinstance(each, Receipt)]


def commit_unheard(files: JournalFiles, connection: WriterConnection) -> list[Receipt]:
    """Write entries as if this connection had: a COMMIT that had no answer."""
    receipts = write(files, fold=False)
    connection.epoch += 1
    return receipts


def log_something(shell: sqlite3.Connection, connection: WriterConnection) -> None:
    """Put a page into the log, and no entry."""
    shell.execute("UPDATE writer SET epoch = epoch + 1")
    connection.epoch += 1


@contextlib.contextmanager
def other(files: JournalFiles) -> Iterator[sqlite3.Connection]:
    """Another connection to the file: while it is open, closing the writer's does not fold the log away."""
    with contextlib.closing(sqlite3.connect(files.journal, isolation_level=None, timeout=0)) as found:
        found.execute("SELECT count(*) FROM meta").fetchone()  # it opens the file when it is first asked
        yield found


def takes_a_lock(files: JournalFiles) -> bool:
    with other(files) as found:
        found.execute("BEGIN IMMEDIATE")
        found.execute("ROLLBACK")
    return True


def failing(code: int) -> Any:
    def fail(*_: object) -> None:
        error = sqlite3.OperationalError("planned")
        error.sqlite_errorcode = code
        raise error

    return fail


# --- opening ------------------------------------------------------------------------------------


def test_each_opening_takes_the_next_epoch_and_finds_the_last_entry(files: JournalFiles) -> None:
    first = connection_to(files)
    first.open()
    assert (first.epoch, first.tail, first.connected, first.refusal) == (1, Tail(0, b"", 0), True, None)
    assert connection_to(files).tail == Tail(0, b"", 0), "before it is open it knows of no entry"
    first.close()
    last = write(files)[-1]
    again = connection_to(files)
    again.open()
    assert (again.epoch, again.tail) == (3, Tail(3, last.entry_hash, START_US))
    assert (again.hash_at(3), again.hash_at(4)) == (last.entry_hash, None)
    again.close()
    assert not again.connected


def test_a_journal_that_was_refused_is_not_kept_locked(files: JournalFiles) -> None:
    write(files)
    with pytest.raises(JournalForeignError, match=r"workspace \[default\]; expected \[two\]") as refused:
        connection_to(files, workspace="two").open()
    assert takes_a_lock(files), refused
    again = connection_to(files)
    again.open()
    assert again.epoch == 2, "what was refused took no epoch"
    again.close()


def test_a_journal_that_another_program_keeps_locked_is_busy(files: JournalFiles) -> None:
    write(files)
    with other(files) as shell:
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalBusyError, match="another program"):
            connection_to(files).open()


def test_opening_folds_the_log_waits_for_readers_briefly_and_says_if_one_was_in_the_way(
    files: JournalFiles, caplog: pytest.LogCaptureFixture
) -> None:
    write(files)
    with other(files) as reader:
        opened = connection_to(files)
        connection = opened.open()
        assert files.wal.stat().st_size == 0, "its own epoch is folded away, too"
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (10,)
        assert caplog.text == ""
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entries").fetchone()
        opened.close()
        opened = connection_to(files)
        waited: list[int] = []
        fold = module._fold

        def noting(each: sqlite3.Connection) -> bool:
            waited.append(each.execute("PRAGMA busy_timeout").fetchone()[0])
            return fold(each)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_fold", noting)
            connection = opened.open()
        assert waited == [500]
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (10,)
        assert re.search(r"\bjournal_not_folded\b", caplog.text)
        assert str(files.journal) in caplog.text
        opened.close()


@pytest.mark.parametrize("row", [None, ("2",)])
def test_an_epoch_that_is_none_is_damage(connection: WriterConnection, row: object) -> None:
    with pytest.raises(JournalCorruptError, match="the epoch of its writer"):
        connection._epoch_in(Answers(row))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (("1", b"h" * 32, 1), "its last entry"),
        ((1, "h" * 32, 1), "its last entry"),
        ((1, b"h" * 32, None), "its last entry"),
        ((1, b"h" * 31, 1), "the hash of its last entry"),
    ],
)
def test_a_last_entry_that_is_none_is_damage(connection: WriterConnection, row: object, what: str) -> None:
    with pytest.raises(JournalCorruptError, match=rf"damaged at \[{what}\]"):
        connection._tail_in(Answers(row))  # type: ignore[arg-type]


class Answers:
    """A damaged database: it answers whatever it is asked with one row."""

    def __init__(self, row: object) -> None:
        self._row = row

    def execute(self, *_: object) -> Answers:
        return self

    def fetchone(self) -> object:
        return self._row


# --- after it was dropped -----------------------------------------------------------------------


def test_a_connection_that_was_dropped_is_opened_again_and_makes_no_journal_of_its_own(
    files: JournalFiles, connection: WriterConnection
) -> None:
    before = connection.sqlite()
    assert connection.sqlite() is before
    connection.drop()
    assert not connection.connected
    assert connection.sqlite() is not before
    connection.drop()
    files.journal.unlink()
    with pytest.raises(Exception, match="journal"):
        connection.sqlite()
    assert not files.journal.exists()


@pytest.mark.parametrize(("unsettled", "grown"), [(True, False), (False, True)])
def test_what_may_not_be_on_the_disk_is_folded_before_it_counts(
    files: JournalFiles, connection: WriterConnection, *, unsettled: bool, grown: bool
) -> None:
    with other(files) as shell:
        if grown:
            commit_unheard(files, connection)
        else:
            log_something(shell, connection)
        assert files.wal.stat().st_size > 0
        connection.drop(unsettled=unsettled)
        shell.execute("BEGIN")
        shell.execute("SELECT count(*) FROM entries").fetchone()
        with pytest.raises(JournalBusyError, match="being read"):
            connection.sqlite()
        with pytest.raises(JournalBusyError, match="being read"):
            connection.sqlite()
        shell.execute("ROLLBACK")
        connection.sqlite()
        assert files.wal.stat().st_size == 0
        assert connection.tail.position == (3 if grown else 0)
        log_something(shell, connection)
        connection.drop()
        shell.execute("BEGIN")
        shell.execute("SELECT count(*) FROM entries").fetchone()
        connection.sqlite()  # once it is settled, readers are in nobody's way


def test_a_drop_that_settles_nothing_does_not_forget_that_something_is_open(
    files: JournalFiles, connection: WriterConnection
) -> None:
    with other(files) as shell:
        log_something(shell, connection)
        connection.drop(unsettled=True)
        connection.drop()
        connection.sqlite()
        assert files.wal.stat().st_size == 0


def test_a_fault_while_it_is_opened_again_is_said_in_looms_words_and_keeps_no_lock(
    files: JournalFiles, connection: WriterConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.drop()

    def lock(found: sqlite3.Connection) -> None:
        found.execute("BEGIN IMMEDIATE")
        failing(sqlite3.SQLITE_FULL)()

    monkeypatch.setattr(connection, "_tail_in", lock)
    with pytest.raises(DiskFullError, match="make room") as full:
        connection.sqlite()
    assert takes_a_lock(files), full
    monkeypatch.undo()
    connection.sqlite()


def test_heads_are_asked_for_again_after_a_drop(files: JournalFiles, connection: WriterConnection) -> None:
    assert connection.head("a/1") == Head(0, genesis("default", "a/1"))
    last = commit_unheard(files, connection)[-1]
    assert connection.head("a/1").sequence == 0, "nobody else is expected to write"
    connection.drop()
    connection.sqlite()
    assert connection.head("a/1") == Head(3, last.entry_hash)


def test_only_so_many_heads_are_kept_and_the_oldest_go_first(
    connection: WriterConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_HEADS", 2)
    for journal in ("a/1", "a/2", "a/1", "a/3"):
        connection.head(journal)
    assert list(connection._heads) == ["a/2", "a/3"]


def test_an_acknowledged_entry_or_epoch_that_is_not_there_any_more_ends_all_writing(
    files: JournalFiles, connection: WriterConnection
) -> None:
    connection.tail = Tail(1, b"h" * 32, 1)
    connection.drop()
    with pytest.raises(JournalCorruptError, match=r"acknowledged at position \[1\] in epoch \[1\]"):
        connection.sqlite()
    assert isinstance(connection.refusal, JournalCorruptError)
    connection.refusal, connection.tail = None, Tail(0, b"", 0)
    connection.sqlite()
    connection.drop()
    with other(files) as shell:
        shell.execute("UPDATE writer SET epoch = 7")
    with pytest.raises(JournalCorruptError, match="epoch"):
        connection.sqlite()
    assert connection.refusal is not None


def test_another_entry_in_the_place_of_the_acknowledged_one_ends_all_writing(
    files: JournalFiles, connection: WriterConnection
) -> None:
    commit_unheard(files, connection)
    connection.tail = Tail(2, b"h" * 32, 1)
    connection.drop()
    with pytest.raises(JournalCorruptError, match=r"acknowledged at position \[2\]"):
        connection.sqlite()


def test_a_closed_connection_is_not_opened_again(connection: WriterConnection) -> None:
    connection.close()
    with pytest.raises(JournalClosedError, match="is closed"):
        connection.sqlite()
    assert not connection.connected


# --- in a transaction ---------------------------------------------------------------------------


def test_a_later_writer_ends_all_writing_of_this_one(files: JournalFiles, connection: WriterConnection) -> None:
    connection.check_epoch()
    write(files)
    with pytest.raises(WriterFencedError, match=r"in epoch \[2\]; expected \[1\]") as fenced:
        connection.check_epoch()
    assert connection.refusal is fenced.value


@pytest.mark.parametrize("gone", ["journal", "wal"])
@pytest.mark.parametrize("replaced", [True, False])
def test_files_that_are_not_the_ones_that_were_opened_end_all_writing(
    files: JournalFiles, connection: WriterConnection, gone: str, *, replaced: bool
) -> None:
    connection.check_identity()
    file: Path = getattr(files, gone)
    kept = file.rename(file.with_suffix(".kept"))
    if replaced:
        file.write_bytes(kept.read_bytes())
    with pytest.raises(JournalCorruptError, match="replaced or unlinked") as found:
        connection.check_identity()
    assert connection.refusal is found.value


def test_a_connection_whose_files_were_never_seen_is_none_of_ours(files: JournalFiles) -> None:
    with pytest.raises(JournalCorruptError, match="replaced or unlinked"):
        connection_to(files).check_identity()


def test_a_log_that_was_gone_before_it_was_looked_at_ends_all_writing(
    files: JournalFiles, connection: WriterConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.drop()
    connect = connect_writer

    def connect_and_lose(*given: Any, **more: Any) -> sqlite3.Connection:
        found = connect(*given, **more)
        files.wal.unlink()
        return found

    monkeypatch.setattr(module, "connect_writer", connect_and_lose)
    connection.sqlite()
    with pytest.raises(JournalCorruptError, match="replaced or unlinked"):
        connection.check_identity()


def test_rolling_back_undoes_what_is_open_and_is_harmless_where_nothing_is(
    files: JournalFiles, connection: WriterConnection
) -> None:
    connection.roll_back()
    sqlite = connection.sqlite()
    sqlite.execute("BEGIN IMMEDIATE")
    sqlite.execute("UPDATE writer SET epoch = 99")
    connection.roll_back()
    assert connection.sqlite() is sqlite, "it is trusted as before"
    connection.check_epoch()
    assert takes_a_lock(files)
    connection.drop()
    connection.roll_back()
    assert not connection.connected


def test_a_connection_that_cannot_roll_back_is_dropped(
    files: JournalFiles, connection: WriterConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stuck(sqlite3.Connection):
        def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:
            return failing(sqlite3.SQLITE_IOERR)() if sql == "ROLLBACK" else super().execute(sql, *given)

    connection.drop()
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **more: connect(*given, factory=Stuck, **more))
    connection.sqlite().execute("BEGIN IMMEDIATE")
    monkeypatch.undo()
    connection.roll_back()
    assert not connection.connected
    assert takes_a_lock(files)
