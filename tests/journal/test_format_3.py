"""Format 3: own ids are taken once in a workspace, and `upgrade` copies older journals byte for byte, or not at all."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

import loom.journal.sqlite.upgrade as upgrading
from loom.errors import (
    DuplicateOwnIdError,
    JournalBusyError,
    JournalCorruptError,
    JournalFormatError,
    JournalLockedError,
)
from loom.journal import Append, Draft, draft
from loom.journal.kinds import PrunedEntry
from loom.journal.sqlite import SqliteStore
from loom.journal.sqlite.connection import connect_reader, expected_schema, format_of, schema_of
from loom.journal.sqlite.reader import COLUMNS
from loom.journal.sqlite.upgrade import upgrade as upgraded
from loom.journal.sqlite.verify import verify
from tests.journal.support import PLENTY, NotedEntry, as_format, fill, mark, note, received

OBSERVED = "decision_observed"


def observed(own_id: str | None) -> Draft:
    return mark(OBSERVED, own_id)


# --- own ids --------------------------------------------------------------------------------------


async def test_an_own_id_is_taken_once_in_the_workspace_whatever_the_journal_and_the_others_of_a_batch_stand(
    tmp_path: Path,
) -> None:
    store = await SqliteStore.open(tmp_path / "journal.db", options=PLENTY)
    first = [store.submit(Append(f"m/{n}", 0, [observed(f"bank:{n % 4}")])) for n in range(6)]

    outcomes = []
    for each in first:
        try:
            outcomes.append((await each).journal)
        except DuplicateOwnIdError as twice:
            outcomes.append(twice.own_id)

    assert outcomes == ["m/0", "m/1", "m/2", "m/3", "bank:0", "bank:1"]
    with pytest.raises(DuplicateOwnIdError, match="bank:3"):
        await store.append(Append("m/3", 1, [observed("bank:3")]))
    await store.append(Append("m/9", 0, [observed("branch:3"), note(command_id="bank:3")]))  # another source, no own id
    assert await store.own_ids(["bank:0", "bank:3", "bank:9", "branch:3"]) == {"bank:0": 1, "bank:3": 4, "branch:3": 5}
    await store.close()
    assert verify(tmp_path / "journal.db").ok


@pytest.mark.parametrize("version", [1, 2])
async def test_a_journal_of_before_goes_on_in_its_format_and_takes_no_observed_decision(
    tmp_path: Path, version: int
) -> None:
    path = tmp_path / "journal.db"
    await older(path, version)
    store = await SqliteStore.open(path, options=PLENTY)
    await store.append(Append("a/1", 4, [note("goes on")]))

    with pytest.raises(JournalFormatError, match=r"format \[2\], which keeps no own ids.*loom upgrade"):
        await store.append(Append("m/1", 0, [observed("bank:1")]))
    with pytest.raises(JournalFormatError, match=r"no field of an entry can be left out later.*loom upgrade"):
        await store.append(Append("a/1", 5, [draft(NotedEntry(text="x"), redactable=("test.noted",))]))
    with pytest.raises(JournalFormatError, match="loom upgrade"):
        await store.own_ids(["bank:1"])
    await store.close()
    with closing(connect_reader(path)) as db:
        assert (format_of(db), schema_of(db)) == (2, expected_schema(2))
    assert verify(path).ok


# --- upgrade --------------------------------------------------------------------------------------


async def older(path: Path, version: int) -> None:
    """Write a journal of an older format that has a turn, and bodies that were pruned, over two epochs."""
    store = await SqliteStore.open(path, options=PLENTY)
    await fill(store, {"a/1": 3, "b/1": 3})
    await store.append(Append("c/1", 0, [received("c-1")]))
    gone = PrunedEntry(journal="a/1", first_sequence=1, last_sequence=2, by="ada", reason="age")
    await store.append(Append("a/1", 3, [draft(gone)]))
    await store.close()
    as_format(path, version)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE entries SET body = NULL, salt = NULL WHERE journal = 'a/1' AND sequence < 3")
    store = await SqliteStore.open(path, options=PLENTY)
    await store.append(Append("b/1", 3, [note("later")]))
    await store.close()


def rows(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(f"SELECT {COLUMNS} FROM entries ORDER BY position").fetchall()


@pytest.mark.parametrize("version", [1, 2])
async def test_an_upgrade_keeps_every_byte_hash_and_head_and_the_original(tmp_path: Path, version: int) -> None:
    path = tmp_path / "journal.db"
    await older(path, version)
    before = rows(path)
    done: list[tuple[int, int]] = []

    result = upgraded(path, progress=lambda *at: done.append(at))

    assert (result.before, result.after, result.entries) == (2, 3, len(before))
    assert result.original is not None
    assert rows(path) == rows(result.original) == before
    found = verify(path)
    assert found.ok
    assert found.anchored_through == len(before)  # the heads of before still hold
    assert done[-1] == (len(before), len(before))
    assert path.stat().st_mode & 0o077 == 0
    store = await SqliteStore.open(path, options=PLENTY)
    await store.append(Append("m/1", 0, [observed("bank:1")]))
    await store.close()
    assert verify(path).ok
    assert upgraded(path).original is None  # there is nothing left to do
    assert sorted(each.name for each in tmp_path.iterdir() if "format" in each.name or "upgrad" in each.name) == [
        "journal.db.format-2"
    ]


async def test_an_upgrade_is_refused_while_one_writes_reads_or_where_the_journal_does_not_verify(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.db"
    await older(path, 2)
    before = rows(path)
    store = await SqliteStore.open(path, options=PLENTY)
    with pytest.raises(JournalLockedError):
        upgraded(path)
    await store.close()
    with closing(connect_reader(path)) as reading:
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM entries").fetchone()
        with pytest.raises(JournalBusyError, match="is being read"):
            upgraded(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        trigger = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'entries_append_only_update'").fetchone()[0]
        db.execute("DROP TRIGGER entries_append_only_update")
        db.execute("UPDATE entries SET body = x'7b7d' WHERE position = 5")
        db.execute(trigger)
    with pytest.raises(JournalCorruptError, match="TAMPERED"):
        upgraded(path)
    assert [row for row in rows(path) if row[0] != 5] == [row for row in before if row[0] != 5]
    with closing(connect_reader(path)) as db:
        assert format_of(db) == 2


KILLED = """
import os, signal, sys
from pathlib import Path
from loom.journal.sqlite import upgrade
stop, path = sys.argv[1], Path(sys.argv[2])
module, name = (os, stop) if stop in ("link", "replace") else (upgrade, stop)
before = getattr(module, name)
def kill(*given, **named):
    if stop == "_sync":
        before(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(module, name, kill)
upgrade.upgrade(path)
"""


@pytest.mark.parametrize("stop", ["_copy", "verify_connection", "link", "replace", "_sync"])
async def test_an_upgrade_killed_anywhere_leaves_the_old_journal_or_the_new_one_and_is_done_again(
    tmp_path: Path, stop: str
) -> None:
    path = tmp_path / "journal.db"
    await older(path, 2)
    before = rows(path)
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, stop, str(path))
    assert await killed.wait() == -signal.SIGKILL

    assert rows(path) == before
    assert verify(path).ok
    assert upgraded(path).after == 3
    assert rows(path) == before
    assert verify(path).ok
    assert not list(tmp_path.glob("*.upgrading*"))


async def test_a_copy_that_is_not_the_same_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.db"
    await older(path, 2)
    before = rows(path)
    spoilt = upgrading._COPY.replace("<= ?", "<= ? - 9992")
    monkeypatch.setattr(upgrading, "_COPY", spoilt)
    with pytest.raises(JournalCorruptError, match="is not the same"):
        upgraded(path)
    assert rows(path) == before
    assert not list(tmp_path.glob("*.upgrading*"))
    with closing(connect_reader(path)) as db:
        assert format_of(db) == 2
