"""The writer of a journal file: three outcomes for each append of a batch, and what it does between batches."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loom.errors import (
    AppendRefusedError,
    AppendUnknownError,
    DiskFullError,
    DuplicateCommandError,
    DuplicateOwnIdError,
    JournalBusyError,
    JournalClosedError,
    JournalCorruptError,
    JournalReadOnlyError,
    LoomError,
    SequenceConflictError,
    WriterFencedError,
)
from loom.journal import Append, Head, Receipt, draft
from loom.journal.kinds import PrunedEntry
from loom.journal.sqlite import JournalFiles, WriterOptions
from loom.journal.sqlite import writer as module
from loom.journal.sqlite.heads import HeadsFile
from loom.journal.sqlite.staging import Tail, lost
from loom.journal.sqlite.verify import verify
from loom.journal.sqlite.writer import Writer
from tests.journal.faulty import Faults, faulty
from tests.journal.support import START_US, SetClock, as_format, mark, note, notes, received

FULL, IOERR = sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR

Opened = Callable[..., Writer]


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return faulty(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Opened]:
    with contextlib.ExitStack() as stack:

        def opened(*, clock: Any = None, **options: Any) -> Writer:
            given = WriterOptions(**{"min_free_bytes": 0, "busy_timeout_s": 0.01, **options})
            writer = Writer(JournalFiles(path), workspace="default", options=given, clock=clock or SetClock())
            stack.callback(writer.close)
            writer.open()
            return writer

        yield opened


def kinds(outcomes: list[Any]) -> list[type]:
    return [type(outcome) for outcome in outcomes]


def rows(path: Path, what: str = "journal, sequence") -> list[Any]:
    with contextlib.closing(sqlite3.connect(path)) as found:
        return found.execute(f"SELECT {what} FROM entries ORDER BY position").fetchall()


def head_at(path: Path) -> int:
    last = HeadsFile(JournalFiles(path).heads).last()
    return 0 if last is None else last.position


def unknown(receipt: Receipt, **changes: Any) -> AppendUnknownError:
    given = {"journal": receipt.journal, "sequence": receipt.sequence, "entry_hash": receipt.entry_hash, **changes}
    return AppendUnknownError("?", **given)


# --- a batch ------------------------------------------------------------------------------------


def test_a_batch_is_one_transaction_with_an_outcome_for_each_append(path: Path, opened: Opened, faults: Faults) -> None:
    writer = opened()
    assert (writer.epoch, writer.format, writer.head("a/1").sequence) == (1, 3, 0)
    faults.seen.clear()
    one, stale, two, more = writer.commit([notes("a/1", 0, 2), notes("a/1", 0), notes("a/2", 0), notes("a/1", 2)])
    assert isinstance(one, Receipt)
    assert isinstance(two, Receipt)
    assert isinstance(more, Receipt)
    assert (one.sequence, one.position, two.position, more.sequence, more.position) == (2, 2, 3, 3, 4)
    assert isinstance(stale, SequenceConflictError)
    assert (stale.at, stale.expected) == (2, 0)
    assert [statement for statement in faults.seen if statement in ("BEGIN IMMEDIATE", "COMMIT")] == [
        "BEGIN IMMEDIATE",
        "COMMIT",
    ]
    assert rows(path) == [("a/1", 1), ("a/1", 2), ("a/2", 1), ("a/1", 3)]
    assert writer.head("a/1") == Head(3, more.entry_hash)
    assert writer._connection.tail == Tail(4, more.entry_hash, START_US)


def test_a_batch_of_nothing_that_can_be_written_begins_no_transaction(opened: Opened, faults: Faults) -> None:
    writer = opened()
    faults.seen.clear()
    (stale,) = writer.commit([notes("a/1", 7)])
    assert isinstance(stale, SequenceConflictError)
    assert "BEGIN IMMEDIATE" not in faults.seen


@pytest.mark.parametrize("version", [3, 2])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 33, 127, 128, 171, 300])
def test_every_row_of_a_batch_of_any_size_is_written_in_order(
    path: Path, opened: Opened, count: int, version: int
) -> None:
    opened().close()
    if version == 2:
        as_format(path, 2)
    writer = opened()
    assert writer.format == version
    (receipt,) = writer.commit([notes("a/1", 0, count)])
    assert isinstance(receipt, Receipt)
    assert rows(path) == [("a/1", sequence) for sequence in range(1, count + 1)]
    writer.close()
    assert verify(path).ok


def test_many_rows_go_in_by_few_statements(opened: Opened, faults: Faults) -> None:
    writer = opened()
    faults.seen.clear()
    writer.commit([notes("a/1", 0, 171)])
    assert [sql.count("(?") for sql in faults.seen if sql.startswith("INSERT")] == [128, 32, 8, 2, 1]


def test_time_does_not_go_back_and_the_step_back_is_recorded(path: Path, opened: Opened) -> None:
    clock = SetClock()
    writer = opened(clock=clock)
    for step_us in (0, -5_000, 9_000):
        clock.us += step_us
        writer.commit([notes("a/1", writer.head("a/1").sequence, 2)])
    assert rows(path, "recorded_at_us - 1760000000000000, clock_back_us") == [
        *[(0, 0)] * 2,
        *[(0, 5_000)] * 2,
        *[(4_000, 0)] * 2,
    ]


# --- what is refused ----------------------------------------------------------------------------


def test_one_append_that_the_schema_refuses_harms_no_other_of_its_batch(
    path: Path, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    writer = opened()
    writer.commit([Append("a/1", 0, [received("c-1"), mark("decision_observed", "bank:1")])])
    outcomes = writer.commit(
        [
            notes("a/2", 0),
            Append("a/1", 2, [note(), received("c-1")]),
            Append("a/3", 0, [note(), mark("decision_observed", "bank:1")]),
            Append("a/4", 0, [note()._replace(kind=None)]),  # type: ignore[arg-type]
            notes("a/2", 1),
        ]
    )
    assert kinds(outcomes) == [Receipt, DuplicateCommandError, DuplicateOwnIdError, AppendRefusedError, Receipt]
    command, own_id, refused = outcomes[1:4]
    assert isinstance(command, DuplicateCommandError)
    assert (command.journal, command.command_id) == ("a/1", "c-1")
    assert "bank:1" in str(own_id)
    assert re.search(r"\[a/4\] did not accept \[1\] entries", str(refused))
    assert rows(path)[2:] == [("a/2", 1), ("a/2", 2)]
    assert re.search(r"\bappend_not_accepted\b", caplog.text)
    assert "appends=5" in caplog.text or '"appends": 5' in caplog.text


@pytest.mark.parametrize("kind", ["test.noted", "decision_observed"])
def test_an_id_that_is_taken_by_something_else_is_no_duplicate(opened: Opened, kind: str) -> None:
    """Only a second command of a journal, or a second own id of the workspace, is one."""
    writer = opened()
    writer.commit([Append("a/1", 0, [received("c-1"), note(command_id="bank:9")])])
    bad = mark(kind, "c-1")._replace(body_digest=None)  # type: ignore[arg-type]
    (other,) = writer.commit([Append("a/2", 0, [received("c-1")._replace(body_digest=None)])])  # type: ignore[arg-type]
    (refused,) = writer.commit([Append("a/1", 2, [bad])])
    assert type(other) is AppendRefusedError
    assert type(refused) is AppendRefusedError


@pytest.mark.parametrize(
    "drafts",
    [
        [received("c-1")._replace(command_id="\ud800")],
        [mark("decision_observed", "bank:1")._replace(command_id="\ud800")],
        [mark("decision_observed", None)],
        [note()._replace(body=object())],  # type: ignore[arg-type]
    ],
)
def test_what_no_database_takes_is_refused_for_certain(path: Path, opened: Opened, drafts: Any) -> None:
    writer = opened()
    (refused, sound) = writer.commit([Append("a/1", 0, drafts), notes("a/2", 0)])
    assert (type(refused), type(sound)) == (AppendRefusedError, Receipt)
    assert rows(path) == [("a/2", 1)]


def test_a_lookup_that_fails_leaves_the_append_refused(path: Path, opened: Opened, faults: Faults) -> None:
    writer = opened()
    writer.commit([Append("a/1", 0, [received("c-1"), mark("decision_observed", "bank:1")])])
    for column, drafts in (("journal", [received("c-1")]), ("command_id", [mark("decision_observed", "bank:1")])):
        faults.plan(f"SELECT 1 FROM entries WHERE {column} = ?")
        (refused,) = writer.commit([Append("a/1", 2, drafts)])
        assert type(refused) is AppendRefusedError
    assert len(rows(path)) == 2


@pytest.mark.parametrize(
    ("code", "expected", "dropped"),
    [
        (FULL, DiskFullError, False),
        (sqlite3.SQLITE_BUSY, JournalBusyError, False),
        (IOERR, AppendRefusedError, True),
        (sqlite3.SQLITE_CORRUPT, JournalCorruptError, True),
    ],
)
def test_a_fault_before_the_commit_refuses_all_of_the_batch_and_drops_what_may_be_broken(
    path: Path, opened: Opened, faults: Faults, code: int, expected: type[LoomError], *, dropped: bool
) -> None:
    writer = opened()
    writer.commit([notes("a/1", 0)])
    before = writer._connection.sqlite()
    faults.plan("INSERT INTO entries", code=code)
    first, second = writer.commit([notes("a/1", 1), notes("a/2", 0)])
    assert kinds([first, second]) == [expected, expected]
    assert first is not second, "each is raised in a task of its own"
    assert (writer._connection.sqlite() is before) is not dropped
    assert kinds(writer.commit([notes("a/1", 1)])) == [Receipt]
    assert len(rows(path)) == 2


def test_a_writer_that_was_fenced_writes_nothing_more_and_says_why(path: Path, opened: Opened) -> None:
    writer = opened()
    first = writer.fence()
    assert isinstance(first, WriterFencedError)
    assert re.search(r"writer \[1\].*was fenced by this process", str(first))
    assert writer.fence() is first
    outcomes = writer.commit([notes("a/1", 0), notes("a/2", 0)])
    assert kinds(outcomes) == [WriterFencedError, WriterFencedError]
    assert first not in outcomes
    with pytest.raises(WriterFencedError):
        writer.prune("a/1", 1)
    writer.close()
    assert rows(path) == []
    assert head_at(path) == 0


def test_a_later_writer_fences_this_one_off(path: Path, opened: Opened) -> None:
    writer = opened()
    writer.commit([notes("a/1", 0)])
    later = opened()
    assert later.epoch == 2
    assert kinds(writer.commit([notes("a/1", 1)])) == [WriterFencedError]
    with pytest.raises(WriterFencedError):
        writer.prune("a/1", 1)
    assert kinds(later.commit([notes("a/1", 1)])) == [Receipt]
    assert len(rows(path)) == 2


# --- what is unknown ----------------------------------------------------------------------------


def test_a_commit_without_an_answer_is_unknown_until_it_is_resolved(
    path: Path, opened: Opened, faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    writer = opened()
    faults.plan("COMMIT", done_first=True)
    one, stale, two = writer.commit([notes("a/1", 0), notes("a/1", 5), notes("a/2", 0, 2)])
    assert isinstance(one, AppendUnknownError)
    assert isinstance(two, AppendUnknownError)
    assert isinstance(stale, SequenceConflictError)
    assert (one.journal, one.sequence, two.journal, two.sequence) == ("a/1", 1, "a/2", 2)
    assert re.search(r"\bcommit_failed\b", caplog.text)
    found = writer.resolve(two)
    assert found == Receipt("a/2", 2, 3, two.entry_hash, START_US)
    assert writer.resolve(one) is not None
    assert writer.resolve(unknown(found, entry_hash=b"x" * 32)) is None
    assert writer.resolve(unknown(found, sequence=3)) is None
    nothing = unknown(found, entry_hash=b"")
    with pytest.raises(AppendUnknownError) as still:
        writer.resolve(nothing)
    assert still.value is nothing


def test_a_fault_while_resolving_is_said_and_the_next_look_has_a_new_connection(opened: Opened, faults: Faults) -> None:
    writer = opened()
    (receipt,) = writer.commit([notes("a/1", 0)])
    assert isinstance(receipt, Receipt)
    before = writer._connection.sqlite()
    faults.plan("SELECT position, entry_hash, recorded_at_us FROM entries WHERE")
    with pytest.raises(JournalCorruptError, match="cannot be read"):
        writer.resolve(unknown(receipt))
    assert writer.resolve(unknown(receipt)) == receipt
    assert writer._connection.sqlite() is not before


def test_a_head_that_cannot_be_read_is_said_in_looms_words(opened: Opened, faults: Faults) -> None:
    writer = opened()
    faults.plan("SELECT sequence, entry_hash")
    with pytest.raises(JournalCorruptError, match="cannot be read"):
        writer.head("a/1")
    assert writer.head("a/1").sequence == 0


def test_two_commits_in_a_row_that_fail_end_the_writing_and_one_that_succeeds_begins_the_count_again(
    path: Path, opened: Opened, faults: Faults
) -> None:
    writer = opened()
    for _ in range(3):
        faults.plan("COMMIT")
        assert kinds(writer.commit([notes("a/1", len(rows(path)))])) == [AppendUnknownError]
        assert kinds(writer.commit([notes("a/1", len(rows(path)))])) == [Receipt]
    faults.plan("COMMIT", times=2)
    for _ in range(2):
        assert kinds(writer.commit([notes("a/1", 3)])) == [AppendUnknownError]
    (refused,) = writer.commit([notes("a/1", 3)])
    assert isinstance(refused, JournalReadOnlyError)
    assert re.search(r"failed \[2\] commits in a row, last with \[planned 10\]", str(refused))
    assert len(rows(path)) == 3


def test_a_full_disk_at_commit_is_settled_at_once_and_never_ends_the_writing(
    path: Path, opened: Opened, faults: Faults
) -> None:
    writer = opened()
    for _ in range(4):
        faults.plan("COMMIT", code=FULL)
        assert kinds(writer.commit([notes("a/1", 0), notes("a/2", 3)])) == [DiskFullError, SequenceConflictError]
    faults.plan("COMMIT", code=FULL, done_first=True)
    (receipt,) = writer.commit([notes("a/1", 0)])
    assert isinstance(receipt, Receipt)
    assert rows(path) == [("a/1", 1)]
    faults.plan("COMMIT", code=FULL)
    real = writer._connection._check_acknowledged

    def busy(connection: sqlite3.Connection) -> None:
        raise JournalBusyError("somebody reads")

    writer._connection._check_acknowledged = busy  # type: ignore[method-assign]
    assert kinds(writer.commit([notes("a/1", 1)])) == [AppendUnknownError], "what cannot be settled stays unknown"
    writer._connection._check_acknowledged = real  # type: ignore[method-assign]


@pytest.mark.parametrize(("code", "outcome"), [(FULL, DiskFullError), (IOERR, AppendUnknownError)])
def test_only_a_commit_that_may_have_reached_the_log_has_to_be_folded_before_it_is_settled(
    path: Path, opened: Opened, faults: Faults, code: int, outcome: type[LoomError]
) -> None:
    """On a full disk the frame that makes it a commit was not written: no reader can be in the way."""
    writer = opened()
    writer.commit([notes("a/1", 0)])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entries").fetchone()
        faults.plan("COMMIT", code=code)
        (found,) = writer.commit([notes("a/1", 1)])
        assert type(found) is outcome
        if isinstance(found, AppendUnknownError):
            with pytest.raises(JournalBusyError, match="being read"):
                writer.resolve(found)


def test_a_log_that_is_unlinked_leaves_the_batch_unknown_and_the_reason_is_kept(path: Path, opened: Opened) -> None:
    writer = opened()
    writer.commit([notes("a/1", 0)])
    JournalFiles(path).wal.unlink()
    assert kinds(writer.commit([notes("a/1", 1)])) == [AppendUnknownError]
    for _ in range(2):
        (refused,) = writer.commit([notes("a/1", 1)])
        assert isinstance(refused, JournalCorruptError)
        assert "replaced or unlinked" in str(refused)


def test_an_append_that_was_lost_with_its_writer_is_looked_for_by_its_last_sequence() -> None:
    found = lost(notes("a/1", 3, 2), MemoryError("no more"))
    assert isinstance(found, AppendUnknownError)
    assert (found.journal, found.sequence, found.entry_hash) == ("a/1", 5, b"")
    assert re.search(r"gone on from sequence \[3\] \[MemoryError\('no more'\)\]", str(found))


# --- opening and closing ------------------------------------------------------------------------


def test_a_writer_that_cannot_be_opened_lets_go_of_the_file(path: Path, opened: Opened, faults: Faults) -> None:
    opened().commit([notes("a/1", 0)])
    faults.plan("SELECT entry_hash FROM entries WHERE position")
    HeadsFile(JournalFiles(path).heads).append(SimpleNamespace(position=1, entry_hash=b"h" * 32))  # type: ignore[arg-type]
    with pytest.raises(AppendRefusedError, match="planned"):
        opened()
    with pytest.raises(JournalCorruptError, match="rewritten at or before"):
        opened()
    writer = Writer(JournalFiles(path), workspace="default", options=WriterOptions(), clock=SetClock())
    with pytest.raises(JournalCorruptError):
        writer.open()
    with pytest.raises(JournalClosedError):
        writer.head("a/1")


def test_closing_folds_the_log_and_writes_the_head_down(path: Path, opened: Opened) -> None:
    writer = opened()
    writer.commit([notes("a/1", 0, 3)])
    assert head_at(path) == 0
    with contextlib.closing(sqlite3.connect(path)) as reader:
        reader.execute("SELECT count(*) FROM meta").fetchone()
        writer.close()
        assert JournalFiles(path).wal.stat().st_size == 0
    assert head_at(path) == 3
    writer.close()
    with pytest.raises(JournalClosedError):
        writer.head("a/2")


def test_a_writer_without_a_connection_closes_without_opening_one(
    path: Path, opened: Opened, faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    writer = opened()
    writer.commit([notes("a/1", 0)])
    faults.plan("COMMIT")
    writer.commit([notes("a/1", 1)])
    caplog.clear()
    faults.seen.clear()
    writer.close()
    assert faults.seen == []
    assert caplog.text == ""


def test_what_fails_at_the_end_is_logged_and_loses_nothing(
    path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer = opened()
    writer.commit([notes("a/1", 0)])

    def fail() -> None:
        raise JournalBusyError("a reader is in the way")

    monkeypatch.setattr(writer._housekeeping, "at_close", fail)
    writer.close()
    assert re.search(r"\bhousekeeping_failed\b", caplog.text)
    assert "a reader is in the way" in caplog.text
    assert not writer._connection.connected
    assert rows(path) == [("a/1", 1)]


# --- between batches ----------------------------------------------------------------------------


def test_housekeeping_that_raises_whatever_it_is_fails_no_append(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer = opened()

    def fail() -> None:
        raise RuntimeError("whatever it is")

    monkeypatch.setattr(writer._housekeeping, "after_batch", fail)
    assert kinds(writer.commit([notes("a/1", 0)])) == [Receipt]
    assert re.search(r"\bhousekeeping_failed\b", caplog.text)
    assert "whatever it is" in caplog.text
    caplog.clear()
    writer.fence()
    writer.commit([notes("a/1", 1)])
    assert caplog.text == "", "a writer that may not write keeps no house"


def test_a_disk_that_is_nearly_full_takes_nothing_and_is_looked_at_every_so_often(
    path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Path] = []
    free = [1_000]

    def free_bytes(directory: Path) -> int:
        looked.append(directory)
        return free[0]

    monkeypatch.setattr(module, "_free_bytes", free_bytes)
    writer = opened(min_free_bytes=1_001)
    for _ in range(3):
        full, other = writer.commit([notes("a/1", 0), notes("a/2", 0)])
        assert kinds([full, other]) == [DiskFullError, DiskFullError]
        assert re.search(r"\[1000\] bytes left; expected at least \[1001\]", str(full))
    assert looked == [path.parent] * 3, "as long as it is full, each time"
    free[0] = 1_001
    looked.clear()
    for sequence in range(64):
        assert kinds(writer.commit([notes("a/1", sequence)])) == [Receipt]
    assert len(looked) == 1
    free[0] = 0
    assert kinds(writer.commit([notes("a/1", 64)])) == [DiskFullError]
    assert len(looked) == 2
    assert len(rows(path)) == 64
    looked.clear()
    assert kinds(opened().commit([notes("a/1", 64)])) == [Receipt]
    assert looked == [], "who wants no bytes free is not kept waiting"


def test_a_disk_that_cannot_be_asked_takes_nothing(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(directory: Path) -> int:
        raise OSError("stale handle")

    writer = opened(min_free_bytes=1)
    monkeypatch.setattr(module, "_free_bytes", fail)
    (refused,) = writer.commit([notes("a/1", 0)])
    assert isinstance(refused, AppendRefusedError)
    assert re.search(r"journal \[.*journal.db\] \[stale handle\]", str(refused))


def test_free_bytes_are_those_that_anybody_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=7, f_bfree=9, f_frsize=512, f_bsize=4_096))
    assert module._free_bytes(tmp_path) == 3_584


# --- what is taken away -------------------------------------------------------------------------


def declared(journal: str, first: int, last: int) -> Append:
    entry = PrunedEntry(journal=journal, first_sequence=first, last_sequence=last, by="ana", reason="old")
    return Append("p/1", 0, [draft(entry)])


def trust(writer: Writer) -> int:
    """Tell whether the connection trusts the schema: only while bodies are taken away."""
    found: int = writer._connection.sqlite().execute("PRAGMA trusted_schema").fetchone()[0]
    return found


def bodies(path: Path) -> list[bool]:
    return [body is not None and salt is not None for body, salt in rows(path, "body, salt")]


def test_bodies_go_where_it_was_declared_and_nothing_of_them_is_left_in_the_files(
    path: Path, opened: Opened, faults: Faults
) -> None:
    writer = opened()
    writer.commit([Append("a/1", 0, [note(f"secret {number} {'x' * 3_000}") for number in range(4)])])
    writer.commit([declared("a/1", 1, 4)])
    writer.prune_bodies("a/1", [(1, 1), (3, 3)])
    assert bodies(path) == [False, True, False, True, True]
    writer.prune("a/1", 4)
    assert bodies(path) == [False, False, False, False, True]
    assert faults.seen.index("PRAGMA secure_delete = ON") < len(faults.seen) - faults.seen[::-1].index("COMMIT")
    assert b"secret" not in b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert trust(writer) == 0
    assert kinds(writer.commit([notes("a/1", 4)])) == [Receipt]
    writer.close()
    assert verify(path).ok


def test_a_journal_that_went_on_is_not_pruned(path: Path, opened: Opened) -> None:
    writer = opened()
    writer.commit([notes("a/1", 0, 3), declared("a/1", 1, 3)])
    for until in (2, 4):
        with pytest.raises(SequenceConflictError) as conflict:
            writer.prune("a/1", until)
        assert (conflict.value.journal, conflict.value.expected, conflict.value.at) == ("a/1", until, 3)
    assert bodies(path) == [True] * 4
    assert trust(writer) == 0
    assert kinds(writer.commit([notes("a/1", 3)])) == [Receipt], "no transaction is left open"


def test_a_writer_that_finds_itself_fenced_while_it_prunes_leaves_the_file_to_its_successor(
    path: Path, opened: Opened
) -> None:
    writer = opened()
    writer.commit([notes("a/1", 0, 3), declared("a/1", 1, 3)])
    later = opened()
    with pytest.raises(WriterFencedError) as fenced:
        writer.prune("a/1", 3)
    assert kinds(later.commit([notes("a/1", 3)])) == [Receipt], fenced
    assert bodies(path) == [True] * 5


def test_a_log_that_was_lost_while_bodies_were_taken_away_is_found_out(path: Path, opened: Opened) -> None:
    writer = opened()
    writer.commit([notes("a/1", 0, 3), declared("a/1", 1, 3)])
    JournalFiles(path).wal.unlink()
    with pytest.raises(JournalCorruptError, match="replaced or unlinked"):
        writer.prune("a/1", 3)
    assert kinds(writer.commit([notes("a/1", 3)])) == [JournalCorruptError]


def test_bodies_that_nobody_declared_gone_stay(path: Path, opened: Opened) -> None:
    writer = opened()
    writer.commit([notes("a/1", 0, 3), declared("a/1", 1, 2)])
    with pytest.raises(AppendRefusedError, match=r"\[a/1\] keeps its bodies.*declares them gone first"):
        writer.prune("a/1", 3)
    assert trust(writer) == 0
    with pytest.raises(AppendRefusedError, match="declares them gone first"):
        writer.prune_bodies("a/1", [(2, 3)])
    assert bodies(path) == [True] * 4
    assert kinds(writer.commit([notes("a/1", 3)])) == [Receipt]


def test_a_fault_while_bodies_are_taken_away_is_said_and_it_can_be_done_again(
    path: Path, opened: Opened, faults: Faults
) -> None:
    writer = opened()
    writer.commit([notes("a/1", 0, 3), declared("a/1", 1, 3)])
    before = writer._connection.sqlite()
    for statement in ("BEGIN", "COMMIT"):
        faults.plan(statement, code=FULL)
        with pytest.raises(DiskFullError):
            writer.prune("a/1", 3)
    assert writer._connection.sqlite() is not before
    assert bodies(path) == [True] * 4
    writer.prune("a/1", 3)
    assert bodies(path) == [False] * 3 + [True]
