"""Law 2: a journal is append-only; the store itself refuses every change but a declared pruning, whoever asks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.journal import Append, draft
from loom.journal.kinds import PrunedEntry
from loom.journal.sqlite import SqliteStore
from loom.journal.sqlite.connection import FORMAT_3
from tests.journal.support import fill, mark, note, received

pytestmark = pytest.mark.sqlite("the tables of the file; tests/journal has those of a server")

COLUMNS = [
    "position",
    "journal",
    "sequence",
    "kind",
    "schema_version",
    "command_id",
    "epoch",
    "recorded_at_us",
    "clock_back_us",
    "policy_hash",
    "salt",
    "body",
    "body_digest",
    "entry_hash",
    "body_scheme",
]

ROW = "10, 'a/1', 7, 'x', 1, NULL, 1, 1, 0, NULL, x'', x'', x'', x'', 1"

OBSERVED = ROW.replace("'x', 1, NULL", "'decision_observed', 1, 'bank:1'")

HOSTILE = [
    "DELETE FROM entries",
    "DELETE FROM entries WHERE position = 8",
    "UPDATE entries SET body = x'7b7d'",
    "UPDATE entries SET body = NULL, salt = NULL",
    "UPDATE entries SET body = NULL, salt = NULL WHERE position = 5",
    "UPDATE entries SET body = NULL WHERE position = 1",
    "UPDATE entries SET salt = NULL WHERE position = 1",
    "UPDATE entries SET salt = x'00' WHERE position = 1",
    "UPDATE entries SET position = position + 100",
    "UPDATE OR REPLACE entries SET position = 1 WHERE position = 2",
    "UPDATE OR IGNORE entries SET kind = 'x' WHERE position = 2",
    "UPDATE entries SET body = NULL, salt = NULL, epoch = 9 WHERE position = 1",
    "UPDATE entries SET body = NULL, salt = NULL, kind = 'x' WHERE position = 1",
    "UPDATE entries SET body = NULL, salt = NULL, body_scheme = 2 WHERE position = 1",
    f"INSERT INTO entries VALUES ({OBSERVED.replace(chr(39) + 'bank:1' + chr(39), 'NULL')})",
    f"INSERT OR REPLACE INTO entries VALUES ({OBSERVED})",
    f"INSERT INTO entries VALUES ({ROW.replace('10,', '11,', 1)})",
    f"INSERT INTO entries VALUES ({ROW.replace('10,', '3,', 1)})",
    f"INSERT INTO entries VALUES ({ROW.replace('7,', '9,', 1)})",
    f"INSERT INTO entries VALUES ({ROW.replace('10,', 'NULL,', 1)})",
    f"INSERT OR REPLACE INTO entries VALUES ({ROW.replace('10,', '1,', 1)})",
    f"INSERT OR IGNORE INTO entries VALUES ({ROW.replace('10,', '1,', 1)})",
    f"REPLACE INTO entries VALUES ({ROW.replace('7,', '1,', 1)})",
    "INSERT OR REPLACE INTO entries SELECT * FROM entries WHERE position = 1",
    "INSERT INTO entries SELECT 10, 'c/1', 2, 'command_received', 1, 'c-1', 1, 1, 0, NULL, x'', x'', x'', x'', 1",
    "INSERT INTO entries (position) VALUES (10)",
    "INSERT INTO entries VALUES (10, 'a/1', 7, 'x', 1, NULL, 1, 'text', 0, NULL, x'', x'', x'', x'', 1)",
    "INSERT INTO entries SELECT position, journal, sequence, kind, schema_version, command_id, epoch, recorded_at_us,"
    " clock_back_us, policy_hash, salt, x'00', body_digest, entry_hash, 1 FROM entries WHERE position = 1"
    " ON CONFLICT (position) DO UPDATE SET body = excluded.body",
    "DELETE FROM meta",
    "UPDATE meta SET value = 'other'",
    "INSERT OR REPLACE INTO meta VALUES ('workspace', 'other')",
    "UPDATE writer SET epoch = 0",
    "UPDATE writer SET one = 2",
    "DELETE FROM writer",
    "INSERT OR REPLACE INTO writer VALUES (1, 0)",
    "REPLACE INTO writer VALUES (1, 0)",
]


@pytest.fixture
async def journal(tmp_path: Path) -> Path:
    """Nine entries; the fourth of `a/1`, at position 9, declares sequences 1 and 2 of it gone."""
    path = tmp_path / "journal.db"
    store = await SqliteStore.open(path)
    await fill(store, {"a/1": 3, "b/1": 3})
    await store.append(Append("c/1", 0, [received("c-1")]))
    await store.append(Append("d/1", 0, [mark("decision_observed", "bank:1")]))
    pruned = PrunedEntry(journal="a/1", first_sequence=1, last_sequence=2, by="ada", reason="age")
    await store.append(Append("a/1", 3, [draft(pruned)]))
    await store.close()
    return path


@pytest.fixture
def stranger(journal: Path) -> Iterator[sqlite3.Connection]:
    """A connection of anybody's, with none of loom's pragmas."""
    connection = sqlite3.connect(journal, isolation_level=None)
    yield connection
    connection.close()


def content(connection: sqlite3.Connection) -> list[object]:
    return [
        connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in ("entries", "meta", "writer")
    ]


@pytest.mark.parametrize("statement", HOSTILE)
@pytest.mark.parametrize("recursive", ["ON", "OFF"])
def test_the_store_itself_refuses_what_is_no_append(
    stranger: sqlite3.Connection, statement: str, recursive: str
) -> None:
    stranger.execute(f"PRAGMA recursive_triggers = {recursive}")
    before = content(stranger)
    with pytest.raises(sqlite3.IntegrityError):
        stranger.execute(statement)
    assert content(stranger) == before


def test_a_body_goes_with_its_salt_where_an_entry_declares_it(stranger: sqlite3.Connection) -> None:
    before = content(stranger)
    stranger.execute("UPDATE entries SET body = NULL, salt = NULL WHERE journal = 'a/1' AND sequence IN (1, 2)")
    gone = "SELECT sequence FROM entries WHERE journal = 'a/1' AND body IS NULL ORDER BY sequence"
    assert stranger.execute(gone).fetchall() == [(1,), (2,)]
    assert content(stranger)[1:] == before[1:]
    header = ", ".join(column for column in COLUMNS if column not in ("salt", "body"))
    kept = stranger.execute(f"SELECT {header} FROM entries ORDER BY 1").fetchall()
    wanted = [tuple(value for at, value in enumerate(row) if at not in (10, 11)) for row in before[0]]  # type: ignore[attr-defined]
    assert kept == wanted


@pytest.mark.parametrize("where", ["journal = 'a/1' AND sequence = 3", "journal = 'b/1' AND sequence = 1"])
def test_a_body_that_no_entry_declares_gone_stays(stranger: sqlite3.Connection, where: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        stranger.execute(f"UPDATE entries SET body = NULL, salt = NULL WHERE {where}")


async def test_the_entry_that_declares_a_pruning_and_what_comes_after_it_are_not_pruned_by_it(journal: Path) -> None:
    store = await SqliteStore.open(journal)
    everything = PrunedEntry(journal="a/1", first_sequence=1, last_sequence=100, by="ada", reason="age")
    await store.append(Append("a/1", 4, [draft(everything), note("later")]))
    await store.close()
    connection = sqlite3.connect(journal, isolation_level=None)
    connection.execute("UPDATE entries SET body = NULL, salt = NULL WHERE journal = 'a/1' AND sequence = 3")
    for sequence in (4, 6):  # a declaration, and what came after the last one
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(
                "UPDATE entries SET body = NULL, salt = NULL WHERE journal = 'a/1' AND sequence = ?", (sequence,)
            )
    connection.close()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["INSERT", "INSERT OR REPLACE", "INSERT OR IGNORE", "INSERT OR FAIL", "INSERT OR ROLLBACK"]
            ),
            st.integers(-1, 5),
            st.sampled_from(["a", "b"]),
            st.integers(-1, 4),
            st.sampled_from(["x", "command_received", "decision_observed"]),
            st.sampled_from([None, "c-1", "c-2"]),
        ),
        max_size=12,
    )
)
def test_no_insert_of_any_kind_changes_what_stands_or_leaves_a_gap(
    inserts: list[tuple[str, int, str, int, str, str | None]],
) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(FORMAT_3)
    standing: list[tuple[object, ...]] = []
    for verb, position, journal, sequence, kind, command_id in inserts:
        row = (position, journal, sequence, kind, 1, command_id, 1, 1, 0, None, b"", b"", b"", b"", 1)
        try:
            connection.execute(f"{verb} INTO entries VALUES ({', '.join('?' * 15)})", row)
        except sqlite3.IntegrityError:
            pass
        else:
            standing.append(row)
        assert connection.execute("SELECT * FROM entries ORDER BY position").fetchall() == standing
    assert [row[0] for row in standing] == list(range(1, len(standing) + 1))
    for name in ("a", "b"):
        assert [row[2] for row in standing if row[1] == name] == list(
            range(1, sum(row[1] == name for row in standing) + 1)
        )
    commands = [(row[1], row[5]) for row in standing if row[3] == "command_received" and row[5] is not None]
    assert len(commands) == len(set(commands))
    connection.close()
