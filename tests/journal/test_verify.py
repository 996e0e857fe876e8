"""`verify` names what was changed, removed, reordered or cut, and a damaged file gives findings, never a traceback."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from loom.errors import JournalNotFoundError
from loom.journal import Append, Recorded, draft
from loom.journal.chain import Header, body_digest, entry_hash, genesis
from loom.journal.entry import UnknownEntry
from loom.journal.kinds import PrunedEntry
from loom.journal.sqlite import Reader, SqliteOptions, SqliteStore, WriterOptions
from loom.journal.sqlite import verify as verify_module
from loom.journal.sqlite.heads import HeadsFile, WrittenHead
from loom.journal.sqlite.verify import Verification, verify
from tests.journal.support import PLENTY, as_format, collected, fill, filled, notes, received

COUNTS = {"a/1": 12, "b/1": 8, "a/2": 4}
"""Positions run a/1 1, b/1 1, a/2 1, a/1 2, …: a/1 sequence 5 stands at 13, b/1 sequence 5 at 14."""

ANCHORED = SqliteOptions(writer=WriterOptions(min_free_bytes=0, head_every=8))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of 24 entries and a turn's beginning, whose heads were written down after every eight."""
    path = tmp_path_factory.mktemp("sound") / "journal.db"
    asyncio.run(write(path))
    return path


async def write(path: Path) -> None:
    store = await SqliteStore.open(path, options=ANCHORED)
    await fill(store, COUNTS)
    await store.append(Append("c/1", 0, [received("c-1")]))
    await store.close()


@pytest.fixture
def journal(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound.parent, tmp_path / "copy")
    return tmp_path / "copy" / "journal.db"


@contextmanager
def attacker(path: Path, *, mend_schema: bool = True) -> Iterator[sqlite3.Connection]:
    """Someone with the file and SQL: the triggers are out of the way, and put back behind them."""
    connection = sqlite3.connect(path, isolation_level=None)
    triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    try:
        yield connection
    finally:
        if mend_schema:
            for _, sql in triggers:
                connection.execute(sql)
        connection.close()


def rehash(connection: sqlite3.Connection, *, journal: str, first: int, last: int | None = None) -> None:
    """Compute hashes anew, as someone does who knows the format."""
    rows = connection.execute(
        "SELECT position, sequence, kind, schema_version, command_id, epoch, recorded_at_us, clock_back_us,"
        " policy_hash, salt, body, entry_hash FROM entries WHERE journal = ? ORDER BY sequence",
        (journal,),
    ).fetchall()
    previous = genesis("default", journal)
    for position, sequence, kind, schema, command_id, epoch, at, back, policy, salt, body, found in rows:
        if sequence < first or (last is not None and sequence > last):
            previous = found
            continue
        digest = body_digest(salt, body)
        header = Header("default", journal, kind, command_id, policy, sequence, position, schema, epoch, at, back)
        previous = entry_hash(header, digest, previous)
        connection.execute(
            "UPDATE entries SET body_digest = ?, entry_hash = ? WHERE position = ?", (digest, previous, position)
        )


def faults(verification: Verification) -> set[str]:
    return set(verification.counts) - {"PRUNED", "UNANCHORED_TAIL"}


def named(verification: Verification, code: str) -> list[tuple[str | None, int | None]]:
    return [(found.journal, found.sequence) for found in verification.findings if found.code == code]


def test_a_sound_journal_is_verified_through_its_size_and_never_a_bare_ok(sound: Path) -> None:
    calls: list[tuple[int, int]] = []
    found = verify(sound, progress=lambda done, total: calls.append((done, total)))
    assert found.ok
    assert (found.size, found.anchored_through, found.unanchored, found.workspace) == (25, 25, 0, "default")
    assert list(found.lines()) == ["VERIFIED through size 25 (anchored 25)"]
    assert calls[-1] == (25, 25)


async def test_entries_since_the_last_head_are_told_as_an_unanchored_tail(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "journal.db", options=PLENTY)
    await fill(store, {"a/1": 3})
    found = verify(tmp_path / "journal.db")
    await store.close()
    assert found.ok
    assert (found.size, found.anchored_through, found.unanchored) == (3, 0, 3)
    first, second = found.lines()
    assert first == "VERIFIED through size 3 (anchored 0)"
    assert second.startswith("UNANCHORED TAIL 1..3: 3 entries")


async def test_an_empty_journal_is_verified_through_nothing(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "journal.db")
    await store.close()
    assert list(verify(tmp_path / "journal.db").lines()) == ["VERIFIED through size 0 (anchored 0)"]


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(JournalNotFoundError):
        verify(tmp_path / "journal.db")


def test_a_body_that_was_edited_is_named(journal: Path) -> None:
    with attacker(journal) as db:
        db.execute("UPDATE entries SET body = CAST('{}' AS BLOB) WHERE position = 13")
    found = verify(journal)
    assert faults(found) == {"TAMPERED"}
    assert named(found, "TAMPERED") == [("a/1", 5)]
    assert not found.ok


def test_a_byte_that_moves_from_the_body_into_the_salt_is_noticed(journal: Path) -> None:
    with attacker(journal) as db:
        salt, body = db.execute("SELECT salt, body FROM entries WHERE position = 13").fetchone()
        db.execute("UPDATE entries SET salt = ?, body = ? WHERE position = 13", (salt + body[:1], body[1:]))
    assert named(verify(journal), "TAMPERED") == [("a/1", 5)]


@pytest.mark.parametrize(
    "change",
    [
        "kind = 'other'",
        "schema_version = 2",
        "command_id = 'x'",
        "epoch = 1 + epoch",
        "recorded_at_us = recorded_at_us + 1",
        "clock_back_us = 5",
        "policy_hash = zeroblob(32)",
        "body_digest = zeroblob(32)",
        "entry_hash = zeroblob(32)",
        "body_digest = zeroblob(3)",
    ],
)
def test_a_change_in_any_column_is_named(journal: Path, change: str) -> None:
    with attacker(journal) as db:
        db.execute(f"UPDATE entries SET {change} WHERE position = 13")
    found = verify(journal)
    named_here = {(finding.journal, finding.sequence) for finding in found.findings} | {
        finding.position for finding in found.findings
    }
    assert ("a/1", 5) in named_here or 13 in named_here
    assert not found.ok


def test_an_entry_that_was_edited_and_hashed_anew_is_named_with_its_successor(journal: Path) -> None:
    with attacker(journal) as db:
        db.execute("UPDATE entries SET body = CAST('{}' AS BLOB) WHERE position = 13")
        rehash(db, journal="a/1", first=5, last=5)
    found = verify(journal)
    assert faults(found) == {"TAMPERED"}
    (finding,) = (finding for finding in found.findings if finding.code == "TAMPERED")
    assert (finding.journal, finding.sequence) == ("a/1", 6)
    assert "sequence 5" in finding.message


def test_a_journal_that_was_hashed_anew_to_its_end_is_given_away_by_a_head(journal: Path) -> None:
    with attacker(journal) as db:
        db.execute("UPDATE entries SET body = CAST('{}' AS BLOB) WHERE journal = 'a/1' AND sequence = 1")
        rehash(db, journal="a/1", first=1)
    found = verify(journal)
    heads = HeadsFile(journal.with_suffix(".heads")).read().heads
    assert "REWRITTEN" in faults(found)
    assert {finding.position for finding in found.findings if finding.code == "REWRITTEN"} <= {
        head.position for head in heads
    }


def test_an_entry_that_was_deleted_is_named_by_its_journal_and_sequence(journal: Path) -> None:
    with attacker(journal) as db:
        db.execute("DELETE FROM entries WHERE position = 13")
    found = verify(journal)
    assert faults(found) == {"MISSING"}
    assert ("a/1", 5) in named(found, "MISSING")
    assert 13 in [finding.position for finding in found.findings]


def test_an_entry_that_was_deleted_where_a_head_was_written_down_is_missing_and_no_other_is_suspect(
    journal: Path,
) -> None:
    with attacker(journal) as db:
        (name, sequence) = db.execute("SELECT journal, sequence FROM entries WHERE position = 16").fetchone()
        db.execute("DELETE FROM entries WHERE position = 16")
    found = verify(journal)
    assert faults(found) == {"MISSING"}
    assert (name, sequence) in named(found, "MISSING")
    assert found.anchored_through == 25


def test_a_gap_that_was_closed_by_counting_anew_is_noticed(journal: Path) -> None:
    with attacker(journal) as db:
        db.execute("DELETE FROM entries WHERE position = 13")
        db.execute("UPDATE entries SET sequence = -(sequence - 1) WHERE journal = 'a/1' AND sequence > 5")
        db.execute("UPDATE entries SET sequence = -sequence WHERE sequence < 0")
        db.execute("UPDATE entries SET position = -(position - 1) WHERE position > 13")
        db.execute("UPDATE entries SET position = -position WHERE position < 0")
    found = verify(journal)
    assert ("a/1", 5) in named(found, "TAMPERED")
    moved_up = next(finding for finding in found.findings if finding.code == "MISSING")
    assert (moved_up.journal, moved_up.sequence, moved_up.position) == ("b/1", 5, 13)
    assert "1 before it are gone" in moved_up.message


def test_the_last_entry_of_one_journal_is_missed_in_the_order_of_all(journal: Path) -> None:
    with attacker(journal) as db:
        (last,) = db.execute("SELECT max(position) FROM entries WHERE journal = 'a/2'").fetchone()
        db.execute("DELETE FROM entries WHERE position = ?", (last,))
    found = verify(journal)
    assert faults(found) == {"MISSING"}
    assert [finding.position for finding in found.findings] == [last]


@pytest.mark.parametrize(("one", "other"), [(13, 14), (4, 13), (1, 2)])
def test_two_entries_that_changed_places_are_named(journal: Path, one: int, other: int) -> None:
    with attacker(journal) as db:
        db.execute("UPDATE entries SET position = -1 WHERE position = ?", (one,))
        db.execute("UPDATE entries SET position = ? WHERE position = ?", (one, other))
        db.execute("UPDATE entries SET position = ? WHERE position = -1", (other,))
    found = verify(journal)
    positions = {finding.position for finding in found.findings if finding.code == "REORDERED"}
    assert positions & {one, other}
    assert "REORDERED" in faults(found)


def test_two_entries_of_one_journal_that_changed_all_of_their_places_are_named(journal: Path) -> None:
    with attacker(journal) as db:
        (later,) = db.execute("SELECT position FROM entries WHERE journal = 'a/1' AND sequence = 6").fetchone()
        db.execute("UPDATE entries SET position = -1, sequence = -1 WHERE position = 13")
        db.execute("UPDATE entries SET position = 13, sequence = 5 WHERE position = ?", (later,))
        db.execute("UPDATE entries SET position = ?, sequence = 6 WHERE position = -1", (later,))
    found = verify(journal)
    assert set(named(found, "REORDERED")) == {("a/1", 5), ("a/1", 6)}


def test_a_tail_that_was_cut_before_a_head_is_named_with_its_length(journal: Path) -> None:
    with attacker(journal) as db:
        db.execute("DELETE FROM entries WHERE position > 20")
    found = verify(journal)
    assert faults(found) == {"TRUNCATED"}
    (cut,) = (finding for finding in found.findings if finding.code == "TRUNCATED")
    assert cut.position == 21
    assert "21..25" in cut.message
    assert found.anchored_through == 16


def test_a_tail_that_was_cut_after_the_last_head_leaves_no_trace_and_verify_says_how_long_it_may_be(
    journal: Path,
) -> None:
    heads = journal.with_suffix(".heads")
    heads.write_text("".join(heads.read_text().splitlines(keepends=True)[:2]))
    with attacker(journal) as db:
        db.execute("DELETE FROM entries WHERE position > 20")
    found = verify(journal)
    assert found.ok
    assert (found.size, found.anchored_through, found.unanchored) == (20, 16, 4)


def test_a_journal_made_all_anew_is_given_away_by_every_head(journal: Path) -> None:
    with attacker(journal) as db:
        db.execute("UPDATE entries SET salt = zeroblob(16)")
        for name in (*COUNTS, "c/1"):
            rehash(db, journal=name, first=1)
    found = verify(journal)
    assert faults(found) == {"REWRITTEN"}
    assert found.counts["REWRITTEN"] == len(HeadsFile(journal.with_suffix(".heads")).read().heads)
    assert found.anchored_through == 0


def test_an_epoch_that_falls_within_a_journal_is_noticed_although_the_chain_holds(journal: Path) -> None:
    with attacker(journal) as db:
        db.execute("UPDATE entries SET epoch = 0 WHERE journal = 'a/1' AND sequence > 2")
        rehash(db, journal="a/1", first=3)
    assert "EPOCH_FELL" in faults(verify(journal))


@pytest.mark.parametrize("version", [2, 3])
def test_over_all_positions_epochs_never_fall_only_in_the_formats_of_before(journal: Path, version: int) -> None:
    with attacker(journal) as db:
        db.execute("UPDATE entries SET epoch = 0 WHERE journal = 'c/1'")
        rehash(db, journal="c/1", first=1)
    if version == 2:
        as_format(journal, 2)
    assert ("EPOCH_FELL" in faults(verify(journal))) == (version == 2)


def test_a_body_scheme_that_nobody_knows_is_noticed_and_nothing_is_read_out_of_it(journal: Path) -> None:
    with attacker(journal) as db:
        db.execute("UPDATE entries SET body_scheme = 3 WHERE position = 3")
    assert faults(verify(journal)) == {"NEWER_SCHEME"}
    [third] = [each for each in asyncio.run(read_through(journal)) if each.position == 3]
    assert third.plain is None
    assert isinstance(third.entry, UnknownEntry)
    assert third.entry.problem == "newer_scheme"


async def read_through(path: Path) -> list[Recorded]:
    reader = Reader(path)
    try:
        return await collected(reader.read_all())
    finally:
        await reader.close()


def test_meta_and_header_say_one_format(journal: Path) -> None:
    with attacker(journal) as db:
        db.execute("UPDATE meta SET value = '4' WHERE key = 'format'")
    assert faults(verify(journal)) == {"SCHEMA_CHANGED"}


def test_a_key_of_meta_that_no_loom_writes_is_named(journal: Path) -> None:
    with attacker(journal) as db:
        db.execute("INSERT INTO meta (key, value) VALUES ('owner', 'mallory')")
    found = verify(journal)
    assert faults(found) == {"SCHEMA_CHANGED"}
    assert "meta has unknown keys ['owner']" in " ".join(found.lines())


def test_who_waits_hears_how_many_entries_are_done_and_at_last_how_many_there_are(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_module, "_PROGRESS_EVERY", 8)
    heard: list[tuple[int, int]] = []
    assert verify(journal, progress=lambda done, total: heard.append((done, total))).ok
    assert heard == [(8, 25), (16, 25), (24, 25), (25, 25)]


def test_an_epoch_of_the_writer_that_was_set_back_is_noticed(journal: Path) -> None:
    with attacker(journal) as db:
        db.execute("UPDATE writer SET epoch = 0")
    assert faults(verify(journal)) == {"TAMPERED"}


def test_a_time_that_goes_back_is_noticed_although_the_chain_holds(journal: Path) -> None:
    with attacker(journal) as db:
        db.execute("UPDATE entries SET recorded_at_us = 1 WHERE journal = 'c/1'")
        rehash(db, journal="c/1", first=1)
    assert "TIME_FELL" in faults(verify(journal))


def test_a_trigger_that_was_dropped_or_a_table_that_was_added_is_named(journal: Path) -> None:
    with attacker(journal, mend_schema=False) as db:
        db.execute("CREATE TABLE extra (x)")
        db.execute("DROP INDEX entries_pruned")
    found = verify(journal)
    said = " ".join(found.lines())
    assert "entries_append_only_delete is gone" in said
    assert "extra does not belong there" in said
    assert "SCHEMA_CHANGED" in faults(found)
    assert "INDEX_DAMAGED" in faults(found)


def test_a_trigger_that_was_made_harmless_is_named(journal: Path) -> None:
    with attacker(journal) as db:
        pass
    db = sqlite3.connect(journal)
    db.execute("DROP TRIGGER entries_append_only_delete")
    db.execute("CREATE TRIGGER entries_append_only_delete BEFORE DELETE ON entries BEGIN SELECT 1; END")
    db.close()
    assert "entries_append_only_delete was changed" in " ".join(verify(journal).lines())


def test_an_index_that_hides_an_entry_is_noticed_even_where_table_and_chain_are_sound(journal: Path) -> None:
    """The index is built without the entry: its definition says so for a moment, and is then put back."""
    with attacker(journal) as db:
        (sql,) = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'entries_by_sequence'").fetchone()
        db.execute("DROP INDEX entries_by_sequence")
        db.execute(f"{sql} WHERE position <> 13")
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'entries_by_sequence'", (sql,))
    found = verify(journal)
    assert faults(found) == {"INDEX_DAMAGED"}
    assert any("entries_by_sequence leads to 24 entries" in finding.message for finding in found.findings)


def test_a_workspace_that_was_renamed_is_noticed_by_every_hash(journal: Path) -> None:
    with attacker(journal) as db:
        db.execute("UPDATE meta SET value = 'other'")
    assert "TAMPERED" in faults(verify(journal))
    assert any("not [default]" in found.message for found in verify(journal, workspace="default").findings)


def test_more_findings_than_anybody_reads_are_counted_and_not_listed(tmp_path: Path) -> None:
    import asyncio

    path = tmp_path / "journal.db"
    asyncio.run(filled(path, {"a/1": 150}))
    with attacker(path) as db:
        db.execute("UPDATE entries SET body = CAST('{}' AS BLOB)")
    found = verify(path)
    assert len([finding for finding in found.findings if finding.code == "TAMPERED"]) == 100
    assert found.counts["TAMPERED"] == 150
    assert list(found.lines())[-1] == "TAMPERED and 50 more"


# --- what was pruned ----------------------------------------------------------------------------


async def prune(path: Path, *, declared: tuple[int, int], taken: tuple[int, int]) -> None:
    store = await SqliteStore.open(path, options=PLENTY)
    head = await store.head("a/1")
    entry = PrunedEntry(journal="a/1", first_sequence=declared[0], last_sequence=declared[1], by="ada", reason="age")
    await store.append(Append("a/1", head.sequence, [draft(entry)]))
    await store.close()
    with attacker(path) as db:
        db.execute(
            "UPDATE entries SET body = NULL, salt = NULL WHERE journal = 'a/1' AND sequence BETWEEN ? AND ?", taken
        )


async def test_ranges_that_touch_and_were_pruned_one_after_the_other_are_both_declared(tmp_path: Path) -> None:
    """What declares the first range stands before the last entry of the second: it covers what came before it."""
    path = tmp_path / "journal.db"
    store = await SqliteStore.open(path, options=PLENTY)
    await fill(store, {"a/1": 4})
    for first, last, more in ((1, 2, 0), (3, 6, 2)):
        at = (await store.head("a/1")).sequence
        for step in range(more):
            await store.append(notes("a/1", at + step))
        said = PrunedEntry(journal="a/1", first_sequence=first, last_sequence=last, by="ana", reason="old")
        await store.append(Append("p/1", (await store.head("p/1")).sequence, [draft(said)]))
    await store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE entries SET body = NULL, salt = NULL WHERE journal = 'a/1'")
    found = verify(path)
    assert found.ok, list(found.lines())
    assert [finding.message for finding in found.findings if finding.code == "PRUNED"] == [
        "a/1 sequence 1..6 (declared)"
    ]


async def test_bodies_that_an_entry_declares_gone_are_told_as_pruned(journal: Path) -> None:
    await prune(journal, declared=(2, 5), taken=(2, 4))
    found = verify(journal)
    assert found.ok
    assert "PRUNED a/1 sequence 2..4 (declared)" in list(found.lines())
    store = await SqliteStore.open(journal, options=PLENTY)
    assert len(await collected(store.read("a/1"))) == 13
    await store.close()


async def test_bodies_that_nothing_declares_gone_are_named(journal: Path) -> None:
    await prune(journal, declared=(2, 4), taken=(3, 6))
    assert named(verify(journal), "TAMPERED") == [("a/1", 5)]


async def test_a_declaration_that_comes_before_the_entry_declares_nothing(journal: Path) -> None:
    await prune(journal, declared=(1, 20), taken=(0, 0))
    store = await SqliteStore.open(journal, options=PLENTY)
    await store.append(notes("a/1", 13))
    await store.close()
    with attacker(journal) as db:
        db.execute("UPDATE entries SET body = NULL, salt = NULL WHERE journal = 'a/1' AND sequence = 14")
    assert named(verify(journal), "TAMPERED") == [("a/1", 14)]


# --- what is damaged ----------------------------------------------------------------------------


def rows(path: Path) -> object:
    connection = sqlite3.connect(path)
    try:
        return [
            connection.execute(f"SELECT * FROM {table} NOT INDEXED ORDER BY 1").fetchall()
            for table in ("entries", "meta", "writer")
        ]
    except Exception as error:
        return repr(error)
    finally:
        connection.close()


def test_hundreds_of_flipped_bytes_give_findings_or_change_nothing(sound: Path, tmp_path: Path) -> None:
    raw, before = sound.read_bytes(), rows(sound)
    heads = sound.with_suffix(".heads").read_bytes()
    dice = random.Random(20_260_101)
    noticed = 0
    for number in range(400):
        flipped = bytearray(raw)
        for _ in range(dice.choice([1, 1, 1, 2, 20])):
            flipped[dice.randrange(len(raw))] ^= dice.randrange(1, 256)
        path = tmp_path / f"{number}.db"
        path.write_bytes(flipped)
        path.with_suffix(".heads").write_bytes(heads)
        found = verify(path)
        assert list(found.lines())
        if found.ok:
            assert rows(path) == before
        else:
            noticed += 1
        path.unlink()
    assert noticed > 100


@pytest.mark.parametrize("keep", [0, 1, 99, 100, 4_096, 8_192, 10_000, 20_480])
def test_a_file_that_was_cut_short_gives_findings(journal: Path, keep: int) -> None:
    journal.write_bytes(journal.read_bytes()[:keep])
    found = verify(journal)
    assert not found.ok
    assert "TRUNCATED" in faults(found)


@pytest.mark.parametrize("raw", [b"", b"hello", b"x" * 10_000, b"SQLite format 3\x00" + b"\xff" * 8_000])
def test_a_file_that_is_no_journal_gives_findings(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(raw)
    found = verify(path)
    assert faults(found) == {"DAMAGED"}
    assert path.read_bytes() == raw


def test_a_row_of_the_wrong_types_gives_a_finding_at_its_place(journal: Path) -> None:
    with attacker(journal) as db:
        db.execute("PRAGMA writable_schema = ON")
        (sql,) = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'entries'").fetchone()
        db.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'entries'", (sql.replace(") STRICT", ")"),))
    with attacker(journal) as db:
        db.execute("UPDATE entries SET body_digest = 'text', epoch = 'text', journal = x'ff' WHERE position = 13")
        db.execute("UPDATE entries SET journal = CAST(x'ff' AS TEXT) WHERE position = 14")
    found = verify(journal)
    assert {13, 14} <= {finding.position for finding in found.findings}


def test_heads_that_are_torn_or_doubled_are_passed_over(journal: Path) -> None:
    heads = journal.with_suffix(".heads")
    lines = heads.read_bytes()
    heads.write_bytes(lines + lines + b"99 abc\n" + b"25 " + b"0" * 63)
    assert verify(journal).ok


def test_a_line_of_the_heads_file_that_is_no_head_is_named_and_the_others_count(journal: Path) -> None:
    heads = journal.with_suffix(".heads")
    heads.write_bytes(b"sixteen " + b"0" * 64 + b"\n" + heads.read_bytes())
    found = verify(journal)
    assert faults(found) == {"DAMAGED"}
    assert "line 1 is no position with a hash" in " ".join(found.lines())
    assert found.anchored_through == 25


def test_two_heads_that_contradict_each_other_are_noticed(journal: Path) -> None:
    HeadsFile(journal.with_suffix(".heads")).append(WrittenHead(16, b"x" * 32))
    found = verify(journal)
    assert faults(found) == {"REWRITTEN"}


def test_verifying_changes_nothing(journal: Path) -> None:
    def files() -> dict[str, bytes]:
        kept = (path for path in journal.parent.iterdir() if not path.name.endswith(("-wal", "-shm")))
        return {path.name: path.read_bytes() for path in kept}

    before = files()
    verify(journal)
    assert files() == before
