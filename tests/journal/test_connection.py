"""How a journal database is opened: what has to hold before it is written or read, and what is said otherwise."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loom.errors import (
    AppendRefusedError,
    JournalBusyError,
    JournalCorruptError,
    JournalForeignError,
    JournalFormatError,
    JournalNotFoundError,
    JournalReadOnlyError,
    LoomError,
)
from loom.journal.sqlite import connection as module
from loom.journal.sqlite.connection import (
    APPLICATION_ID,
    FORMAT,
    SCHEMAS,
    connect_reader,
    connect_writer,
    epochs_are_per_journal,
    expected_schema,
    format_differs,
    format_of,
    has_own_ids,
    has_turn_index,
    has_wal_reset_bug,
    reader_uri,
    schema_changes,
    schema_of,
    statements_in,
)
from tests.journal.faulty import Faults, faulty
from tests.journal.support import as_format

HARDENED = {"trusted_schema": 0, "cell_size_check": 1, "mmap_size": 0, "temp_store": 2}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return faulty(monkeypatch)


def writer(path: Path, *, synchronous: str = "FULL", **given: Any) -> sqlite3.Connection:
    return connect_writer(path, synchronous=synchronous, **{"busy_timeout_s": 0.25, **given})


def made(path: Path, version: int = FORMAT) -> Path:
    """Make an empty journal of a format."""
    writer(path).close()
    if version != FORMAT:
        as_format(path, version)
    return path


def change(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


def pragmas(connection: sqlite3.Connection, *names: str) -> dict[str, Any]:
    return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# --- writing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("synchronous", "kept"), [("FULL", 2), ("NORMAL", 1)])
def test_a_new_journal_has_every_pragma_and_says_what_it_is(path: Path, synchronous: str, kept: int) -> None:
    with contextlib.closing(writer(path, synchronous=synchronous)) as connection:
        expected = {
            "page_size": 8_192,
            "journal_mode": "wal",
            "synchronous": kept,
            "wal_autocheckpoint": 0,
            "recursive_triggers": 1,
            "fullfsync": 1,
            "checkpoint_fullfsync": 1,
            "busy_timeout": 250,
            "application_id": 0x4C4F4F4D,
            "user_version": 3,
            **HARDENED,
        }
        assert pragmas(connection, *expected) == expected
        assert connection.isolation_level is None
        assert connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchall() == [("3",)]
        assert connection.execute("SELECT one, epoch FROM writer").fetchall() == [(1, 0)]
        assert schema_of(connection) == expected_schema()
        assert not schema_changes(connection)
        assert not connection.in_transaction


def test_a_journal_that_is_there_is_opened_as_it_is(path: Path) -> None:
    made(path)
    change(path, "UPDATE writer SET epoch = 7")
    path.chmod(0o640)
    with contextlib.closing(writer(path)) as connection:
        assert connection.execute("SELECT epoch FROM writer").fetchone() == (7,)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640, "whose it is was decided when it was made"


@pytest.mark.parametrize("there", [True, False])
def test_a_new_journal_and_its_log_are_for_their_owner_only(path: Path, *, there: bool) -> None:
    if there:
        path.touch(mode=0o666)
        path.chmod(0o666)
    with contextlib.closing(writer(path)):
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(("journal.db", "journal.db-wal", "journal.db-shm"), 384)


def test_a_new_journal_is_for_its_owner_only_from_the_first_moment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "keep_private", lambda _: None)
    before = os.umask(0)
    try:
        made(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["a?mode=ro.db", "a#b.db", "a%41.db", "a b.db"])
def test_a_path_is_taken_as_it_is_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    writer(path).close()
    connect_reader(path).close()
    assert {file.name.removesuffix("-wal").removesuffix("-shm") for file in tmp_path.iterdir()} == {name}


def test_a_journal_is_made_only_where_that_is_asked_for(path: Path) -> None:
    with pytest.raises(JournalReadOnlyError, match="cannot be written"):
        writer(path, create=False)
    assert not path.exists()
    made(path)
    writer(path, create=False).close()


def test_an_sqlite_that_is_too_old_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 9))
    with pytest.raises(JournalFormatError, match=r"expected at least \[3.37\]"):
        writer(path)
    assert not path.exists()
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 0))
    writer(path).close()


@pytest.mark.parametrize("size", [1, 99, 100, 5_000])
def test_a_file_that_is_no_database_is_left_as_it_is(path: Path, size: int) -> None:
    path.write_bytes(b"x" * size)
    before = descriptors()
    with pytest.raises(JournalForeignError, match="is not a database") as refused:
        writer(path)
    assert path.read_bytes() == b"x" * size
    assert descriptors() == before, f"{refused} keeps nothing open"


def test_a_directory_in_the_place_of_a_journal_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(LoomError):
        writer(path)
    with pytest.raises(LoomError):
        connect_reader(path)


def test_a_journal_that_another_program_keeps_locked_is_busy(path: Path) -> None:
    made(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("UPDATE writer SET epoch = epoch + 1")
        with pytest.raises(JournalBusyError, match="another program"):
            writer(path, busy_timeout_s=0.01)
        with pytest.raises(JournalBusyError, match="another program"):
            connect_reader(path, busy_timeout_s=0.01)


def test_a_pragma_that_does_not_hold_is_said() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as memory:
        with pytest.raises(
            JournalCorruptError, match=r"pragma \[journal_mode\] at \[memory\]; expected \[wal\].*move it to another"
        ):
            module._set(memory, "journal_mode", "WAL", "wal")
        module._set(memory, "recursive_triggers", "ON", 1)
        assert pragmas(memory, "recursive_triggers") == {"recursive_triggers": 1}


@pytest.mark.parametrize("statement", ["CREATE TABLE entries", "INSERT INTO meta", "PRAGMA user_version = ", "COMMIT"])
def test_a_journal_is_made_whole_or_not_at_all(path: Path, faults: Faults, statement: str) -> None:
    faults.plan(statement)
    before = descriptors()
    with pytest.raises(AppendRefusedError, match="planned") as refused:
        writer(path)
    assert descriptors() == before, f"{refused} keeps nothing open"
    with contextlib.closing(sqlite3.connect(path)) as found:
        assert schema_of(found) == {}
        assert pragmas(found, "application_id", "user_version") == {"application_id": 0, "user_version": 0}
    made(path)


def test_a_commit_that_was_done_though_it_failed_leaves_a_whole_journal(path: Path, faults: Faults) -> None:
    faults.plan("COMMIT", done_first=True)
    with pytest.raises(AppendRefusedError, match="planned"):
        writer(path)
    with contextlib.closing(sqlite3.connect(path)) as found:
        assert schema_of(found) == expected_schema()
    with contextlib.closing(writer(path)) as connection:
        assert format_of(connection) == FORMAT


# --- what is recognised -------------------------------------------------------------------------

NO_JOURNALS: list[tuple[Callable[[Path], None], type[LoomError], str]] = [
    (lambda path: change(path, "CREATE TABLE theirs (x)"), JournalForeignError, "application id 0x0"),
    (lambda path: change(path, "PRAGMA user_version = 1"), JournalForeignError, "application id 0x0"),
    (lambda path: change(path, "PRAGMA application_id = 7"), JournalForeignError, "application id 0x7"),
    (
        lambda path: change(made(path), "PRAGMA user_version = 4"),
        JournalFormatError,
        r"format \[4\]; expected \[1 to 3",
    ),
    (lambda path: change(made(path), "PRAGMA user_version = 0"), JournalFormatError, r"format \[0\]"),
]


@pytest.mark.parametrize(("make", "error", "said"), NO_JOURNALS)
def test_what_is_no_journal_of_ours_is_refused_and_said(
    path: Path, make: Callable[[Path], None], error: type[LoomError], said: str
) -> None:
    make(path)
    before, raw = descriptors(), path.read_bytes()
    for connect in (writer, connect_reader):
        with pytest.raises(error, match=said) as refused:
            connect(path)
        assert descriptors() == before, f"{refused} keeps nothing open"
    assert path.read_bytes() == raw


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["DROP TRIGGER entries_append_only_delete"], r"\[entries_append_only_delete\]"),
        (["CREATE TABLE theirs (x)"], r"\[theirs\]"),
        (["DROP INDEX entries_pruned", "CREATE INDEX entries_pruned ON entries (kind)"], r"\[entries_pruned\]"),
        (["DROP TRIGGER meta_append_only_delete", "DELETE FROM meta"], r"\[meta_append_only_delete, meta\]"),
    ],
)
def test_a_schema_that_was_changed_is_not_written_and_the_change_is_named(
    path: Path, statements: list[str], said: str
) -> None:
    change(made(path), *statements)
    before = descriptors()
    with pytest.raises(JournalCorruptError, match=rf"was changed at {said}; expected the one of format \[3\]") as found:
        writer(path)
    assert descriptors() == before, found
    connect_reader(path).close()


def test_each_change_of_a_schema_is_named_for_what_it_is(path: Path) -> None:
    change(
        made(path),
        "DROP TRIGGER entries_append_only_delete",
        "DROP INDEX entries_pruned",
        "CREATE INDEX entries_pruned ON entries (kind)",
        "CREATE VIEW added AS SELECT 1",
    )
    with contextlib.closing(connect_reader(path)) as connection:
        assert list(schema_changes(connection).items()) == [
            ("added", "does not belong there"),
            ("entries_append_only_delete", "is gone"),
            ("entries_pruned", "was changed"),
        ]


def test_a_schema_of_a_format_that_is_not_known_is_compared_with_the_present_one(path: Path) -> None:
    made(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9")
        assert schema_changes(connection) == {}
        connection.execute("PRAGMA user_version = 2")
        assert "entries_by_own_id" in schema_changes(connection)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_each_format_has_its_schema(path: Path, version: int) -> None:
    made(path, version)
    with contextlib.closing(connect_reader(path)) as connection:
        assert format_of(connection) == version
        assert schema_changes(connection) == {}
        assert schema_of(connection) == expected_schema(version)
        assert has_turn_index(connection) is (version > 1)
        assert not format_differs(connection)
    assert has_own_ids(version) is epochs_are_per_journal(version) is (version == 3)


def test_an_index_of_turns_that_is_another_is_none(path: Path) -> None:
    change(made(path), "DROP INDEX entries_by_turn", "CREATE INDEX entries_by_turn ON entries (journal)")
    with contextlib.closing(connect_reader(path)) as connection:
        assert not has_turn_index(connection)


def test_a_format_that_meta_does_not_confirm_differs(path: Path) -> None:
    change(made(path), "PRAGMA user_version = 2")
    with contextlib.closing(connect_reader(path)) as connection:
        assert format_differs(connection), "meta of format 2 has nothing of it"
    change(path, "PRAGMA user_version = 3", "DROP TRIGGER meta_append_only_update", "UPDATE meta SET value = '2'")
    with contextlib.closing(connect_reader(path)) as connection:
        assert format_differs(connection)
    change(path, "DROP TRIGGER meta_append_only_delete", "DELETE FROM meta")
    with contextlib.closing(connect_reader(path)) as connection:
        assert format_differs(connection)


# --- older formats ------------------------------------------------------------------------------


def test_a_journal_of_format_1_gets_the_index_of_format_2_when_it_is_written(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made(path, 1)
    connect_reader(path).close()
    with contextlib.closing(connect_reader(path)) as connection:
        assert format_of(connection) == 1, "readers change nothing"
    with caplog.at_level("INFO"), contextlib.closing(writer(path)) as connection:
        assert format_of(connection) == 2
        assert schema_of(connection) == expected_schema(2)
        assert not connection.in_transaction
    assert re.search(r"\bjournal_format_raised\b", caplog.text)
    assert "format=2" in caplog.text or "'format': 2" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO"), contextlib.closing(writer(path)) as connection:
        assert format_of(connection) == 2
    assert caplog.text == ""


def test_a_journal_of_format_1_that_was_changed_is_refused_and_not_raised(path: Path) -> None:
    change(made(path, 1), "DROP TRIGGER entries_append_only_delete")
    with pytest.raises(JournalCorruptError, match=r"expected the one of format \[1\]"):
        writer(path)
    with contextlib.closing(connect_reader(path)) as connection:
        assert (format_of(connection), has_turn_index(connection)) == (1, False)


@pytest.mark.parametrize("statement", ["CREATE INDEX", "PRAGMA user_version = 2", "COMMIT"])
def test_a_disk_without_room_for_the_index_leaves_the_journal_as_it_is_and_it_is_written(
    path: Path, faults: Faults, caplog: pytest.LogCaptureFixture, statement: str
) -> None:
    made(path, 1)
    faults.plan(statement, code=sqlite3.SQLITE_FULL)
    with contextlib.closing(writer(path)) as connection:
        assert (format_of(connection), has_turn_index(connection)) == (1, False)
        assert not connection.in_transaction
    assert re.search(r"\bjournal_format_not_raised\b", caplog.text)
    assert "planned" in caplog.text
    faults.plan(statement)
    with pytest.raises(AppendRefusedError, match="planned"):
        writer(path)
    with contextlib.closing(writer(path)) as connection:
        assert format_of(connection) == 2


def test_a_format_that_was_raised_though_the_disk_was_said_to_be_full_is_raised(path: Path, faults: Faults) -> None:
    made(path, 1)
    faults.plan("COMMIT", code=sqlite3.SQLITE_FULL, done_first=True)
    with contextlib.closing(writer(path)) as connection:
        assert (format_of(connection), has_turn_index(connection)) == (2, True)


# --- reading ------------------------------------------------------------------------------------


def test_a_reader_can_change_nothing(path: Path) -> None:
    with contextlib.closing(connect_reader(made(path))) as connection:
        expected = {"query_only": 1, "busy_timeout": 10_000, **HARDENED}
        assert pragmas(connection, *expected) == expected
        assert connection.isolation_level is None
        for _ in range(2):
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                connection.execute("UPDATE writer SET epoch = epoch + 1")
            connection.execute("PRAGMA query_only = OFF")  # the file itself is opened for reading only
    with contextlib.closing(connect_reader(path, busy_timeout_s=0.5)) as connection:
        assert pragmas(connection, "busy_timeout") == {"busy_timeout": 500}


def test_a_reader_may_have_a_class_of_its_own(path: Path) -> None:
    class Own(sqlite3.Connection):
        pass

    with contextlib.closing(connect_reader(made(path), factory=Own)) as connection:
        assert type(connection) is Own


def test_a_reader_makes_no_journal_and_takes_none_that_is_empty(path: Path) -> None:
    with pytest.raises(JournalNotFoundError, match="there is no journal at"):
        connect_reader(path)
    assert not path.exists()
    path.touch()
    before = descriptors()
    with pytest.raises(JournalForeignError, match="is empty; expected a journal") as empty:
        connect_reader(path)
    assert descriptors() == before, empty


@pytest.mark.parametrize(
    ("writable", "log", "immutable"),
    [(True, True, False), (True, False, False), (False, True, False), (False, False, True)],
)
def test_only_a_journal_alone_where_nothing_can_be_written_is_taken_for_immutable(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, writable: bool, log: bool, immutable: bool
) -> None:
    if log:
        Path(f"{path}-wal").touch()

    def access(directory: object, mode: int) -> bool:
        assert (directory, mode) == (path.parent, os.W_OK)
        return writable

    monkeypatch.setattr(os, "access", access)
    assert reader_uri(path) == f"file:{path}?mode=ro{'&immutable=1' if immutable else ''}"


# --- the rest -----------------------------------------------------------------------------------


def test_the_versions_of_sqlite_that_lose_rows_are_known() -> None:
    bad = [(3, 7, 0), (3, 40, 1), (3, 51, 2), (3, 52, 0), (3, 52, 0, 1)]
    assert [has_wal_reset_bug(version) for version in bad] == [True] * len(bad)
    assert [has_wal_reset_bug(version) for version in ((3, 51, 3), (3, 52, 1), (3, 53, 0))] == [False] * 3
    assert has_wal_reset_bug() is has_wal_reset_bug(sqlite3.sqlite_version_info)


def test_a_script_is_split_where_a_statement_is_complete() -> None:
    script = """-- a comment

CREATE TABLE a (x);  -- another
CREATE TRIGGER t AFTER INSERT ON a
BEGIN
-- within

  SELECT 1;
  SELECT 2;
END;

SELECT 'not complete'
"""
    table, trigger = statements_in(script)
    assert table == "CREATE TABLE a (x);  -- another\n"
    assert trigger.startswith("CREATE TRIGGER")
    assert trigger.endswith("SELECT 2;\nEND;\n")
    assert "-- within" in trigger
    assert [len(statements_in(SCHEMAS[version])) for version in (1, 2, 3)] == [
        len(expected_schema(version)) for version in (1, 2, 3)
    ]


def test_a_journal_has_the_number_by_which_it_is_known() -> None:
    assert (int.from_bytes(b"LOOM"), 3) == (APPLICATION_ID, FORMAT)
