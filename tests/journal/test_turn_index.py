"""The index by which turns are found: older journals get it when they are written, and `verify` compares it."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import loom.decisions.entries as decisions
from loom.errors import JournalCorruptError
from loom.journal import Append, Recorded
from loom.journal.kinds import ENDINGS, MARKS
from loom.journal.sqlite import Reader, SqliteStore, connection
from loom.journal.sqlite.connection import FORMAT_3, connect_reader, expected_schema, has_turn_index, schema_of
from loom.journal.sqlite.reader import _ASKED, _MARKS, _STEPS, _UNFINISHED
from loom.journal.sqlite.verify import verify
from tests.journal.support import PLENTY, as_format, collected, mark, note, notes, received

GOLDEN = Path(__file__).parents[1] / "reliability" / "golden" / "0.1.0"


async def write(path: Path) -> None:
    """Write a turn that ended, one that waits for consent, and one that has only begun."""
    store = await SqliteStore.open(path, options=PLENTY)
    await store.append(Append("a/1", 0, [received("c-1"), note(command_id="c-1"), mark("turn_completed", "c-1")]))
    await store.append(Append("a/1", 3, [received("c-2"), mark("approval_requested", "c-2")]))
    await store.append(Append("a/2", 0, [received("c-1")]))
    await store.close()


def as_format_1(path: Path) -> None:
    as_format(path, 1)


def names(entries: Iterable[Recorded]) -> list[tuple[str, str | None, str]]:
    return [(entry.journal, entry.command_id, entry.kind) for entry in entries]


async def read(path: Path) -> tuple[list[Any], list[Any]]:
    reader = Reader(path)
    try:
        turns = [("a/1", "c-1"), ("a/1", "c-2"), ("a/2", "c-1")]
        (asked,) = await collected(reader.unfinished(asked=True))
        assert (asked.journal, asked.command_id) == ("a/1", "c-2")
        return names(await collected(reader.unfinished())), names(await reader.marks(turns))
    finally:
        await reader.close()


EXPECTED = (
    [("a/1", "c-2", "command_received"), ("a/2", "c-1", "command_received")],
    [("a/1", "c-1", "turn_completed"), ("a/1", "c-2", "approval_requested")],
)


def test_the_kinds_that_are_indexed_are_those_that_say_how_a_turn_got_on() -> None:
    asked = {
        decisions.ApprovalRequestedEntry.kind,
        decisions.ApprovalEscalatedEntry.kind,
        decisions.ApprovalAnsweredEntry.kind,
    }
    assert asked | ENDINGS == MARKS
    sql = expected_schema()["entries_by_turn"]
    assert {word.strip("'") for word in sql.split() if word.startswith("'")} == MARKS


def test_open_turns_are_looked_for_in_indexes_and_not_in_the_table() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(FORMAT_3)
        marked = _MARKS.format(index="INDEXED BY entries_by_turn")
        for statement, given in ((_UNFINISHED, ()), (_ASKED, ()), (marked, ("[]",))):
            plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", given)]
            looked = [step for step in plan if step.startswith(("SCAN", "SEARCH")) and "entries" in step]
            assert looked
            assert all("entries_by_" in step for step in looked), plan


def test_steps_are_looked_for_by_journal_and_sequence() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(FORMAT_3)
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {_STEPS}", ("[]",))]
        assert "SEARCH entries USING INDEX entries_by_sequence (journal=? AND sequence=?)" in plan


async def test_a_journal_of_format_1_is_read_without_the_index_and_gets_it_when_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await write(path)
    assert await read(path) == EXPECTED
    as_format_1(path)
    before = path.read_bytes()
    assert await read(path) == EXPECTED
    assert verify(path).ok
    assert path.read_bytes() == before
    store = await SqliteStore.open(path, options=PLENTY)
    await store.append(Append("a/2", 1, [mark("turn_failed", "c-1")]))
    assert names(await collected(store.unfinished())) == EXPECTED[0][:1]
    await store.close()
    with closing(connect_reader(path)) as db:
        assert has_turn_index(db)
        assert schema_of(db) == expected_schema(2)
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
    assert verify(path).ok


async def test_the_journal_of_an_earlier_release_keeps_every_entry_when_it_gets_the_index(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    shutil.copy(GOLDEN / "journal.db", path)
    shutil.copy(GOLDEN / "journal.heads", tmp_path)
    reader = Reader(path)
    before = [recorded.as_json() for recorded in await collected(reader.read_all())]
    unfinished = names(await collected(reader.unfinished()))
    await reader.close()
    assert len(unfinished) == 1
    store = await SqliteStore.open(path, options=PLENTY)
    assert [recorded.as_json() for recorded in await collected(store.read_all())] == before
    assert names(await collected(store.unfinished())) == unfinished
    await store.close()
    assert verify(path).ok


async def test_a_disk_without_room_for_the_index_leaves_a_journal_of_format_1_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    await write(path)
    as_format_1(path)
    full = sqlite3.OperationalError("database or disk is full", errno.ENOSPC)
    full.sqlite_errorcode = sqlite3.SQLITE_FULL

    def no_room(script: str) -> list[str]:
        raise full

    monkeypatch.setattr(connection, "statements_in", no_room)
    store = await SqliteStore.open(path, options=PLENTY)
    await store.append(notes("a/3", 0))
    assert names(await collected(store.unfinished())) == EXPECTED[0]
    await store.close()
    assert verify(path).ok
    monkeypatch.undo()
    await (await SqliteStore.open(path, options=PLENTY)).close()
    with closing(connect_reader(path)) as db:
        assert has_turn_index(db)


async def test_a_journal_of_format_1_that_was_changed_is_refused_and_not_raised(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await write(path)
    as_format_1(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE INDEX entries_by_turn ON entries (journal)")
    with pytest.raises(JournalCorruptError, match="entries_by_turn"):
        await SqliteStore.open(path, options=PLENTY)
    assert "entries_by_turn does not belong there" in " ".join(verify(path).lines())


async def test_a_journal_whose_index_was_dropped_is_refused_for_writing_and_named_by_verify(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await write(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP INDEX entries_by_turn")
    assert "entries_by_turn is gone" in " ".join(verify(path).lines())
    assert await read(path) == EXPECTED
    with pytest.raises(JournalCorruptError, match="entries_by_turn"):
        await SqliteStore.open(path, options=PLENTY)


@pytest.mark.parametrize(
    ("where", "entries"),
    [("(kind = 'turn_completed') AND 0", 1), ("kind = 'decision' OR kind = 'test.noted'", 3)],
    ids=["hides", "invents"],
)
async def test_an_index_that_hides_or_invents_a_turn_is_a_finding(tmp_path: Path, where: str, entries: int) -> None:
    """Its definition says something else while it is built, and is then put back."""
    path = tmp_path / "journal.db"
    await write(path)
    sql = expected_schema()["entries_by_turn"]
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP INDEX entries_by_turn")
        if entries == 1:
            db.execute(sql.replace("kind = 'turn_completed'", f"({where})"))
        else:
            db.execute(sql + " OR " + where)
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'entries_by_turn'", (sql,))
    found = verify(path)
    assert set(found.counts) - {"UNANCHORED_TAIL"} == {"INDEX_DAMAGED"}
    assert any(f"entries_by_turn leads to {entries} entries, the table has 2" in line for line in found.lines())


async def test_what_has_no_end_is_the_same_however_often_it_was_asked_for_before(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store = await SqliteStore.open(path, options=PLENTY)
    asked_often = Reader(path)
    try:
        for number in range(4):
            await store.append(Append(f"a/{number}", 0, [received("c-1")]))
            if number % 2:  # one of before, and one that comes and goes between two looks
                await store.append(Append(f"a/{number - 1}", 1, [mark("turn_completed", "c-1")]))
                ended = [received("c-1"), note(), mark("turn_failed", "c-1")]
                await store.append(Append(f"b/{number}", 0, ended))
            found = names(await collected(asked_often.unfinished()))
            asked_once = Reader(path)
            assert found == names(await collected(asked_once.unfinished()))
            await asked_once.close()
        assert [journal for journal, _, _ in found] == ["a/1", "a/3"]
    finally:
        await asked_often.close()
        await store.close()
