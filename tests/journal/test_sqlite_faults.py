"""Faults while writing: full disks, commits that fail, files that vanish. No false receipt, ever."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loom.errors import (
    AppendRefusedError,
    AppendUnknownError,
    DiskFullError,
    JournalBusyError,
    JournalClosedError,
    JournalCorruptError,
    JournalReadOnlyError,
    LoomError,
    WriterFencedError,
)
from loom.journal import Append, Receipt
from loom.journal.sqlite import JournalFiles, Reader, SqliteOptions, SqliteStore, WriterLock, WriterOptions
from loom.journal.sqlite.verify import verify
from tests.journal.faulty import Faults, faulty
from tests.journal.support import SetClock, assert_chained, collected, environment, fill, note, notes

IOERR, FULL = sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return faulty(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


# --- COMMIT -------------------------------------------------------------------------------------


async def test_a_failed_commit_that_wrote_nothing_is_unknown_until_resolve_says_so(path: Path, faults: Faults) -> None:
    store = await SqliteStore.open(path)
    await store.append(notes("a/1", 0))
    faults.plan("COMMIT")
    with pytest.raises(AppendUnknownError) as unknown:
        await store.append(notes("a/1", 1))
    assert await store.resolve(unknown.value) is None
    assert (await store.append(notes("a/1", 1))).sequence == 2
    assert_chained(await collected(store.read_all()))
    await store.close()
    assert verify(path).ok


async def test_a_failed_commit_that_wrote_everything_is_unknown_until_resolve_gives_the_receipt(
    path: Path, faults: Faults
) -> None:
    store = await SqliteStore.open(path)
    await store.append(notes("a/1", 0))
    faults.plan("COMMIT", done_first=True)
    with pytest.raises(AppendUnknownError) as unknown:
        await store.append(notes("a/1", 1, 3))
    assert store.acknowledged == 1
    told: list[int] = []
    store.on_commit(told.append)
    receipt = await store.resolve(unknown.value)
    assert receipt is not None
    assert (receipt.sequence, receipt.position) == (4, 4)
    assert (store.acknowledged, told) == (4, [4]), "views have to follow what was resolved"
    assert (await store.append(notes("a/1", 4))).position == 5
    assert_chained(await collected(store.read_all()))
    await store.close()


async def test_what_a_failed_commit_left_is_folded_into_the_database_before_it_counts(
    path: Path, faults: Faults
) -> None:
    """A sync that has failed may have lost the pages for good: only writing them once more proves anything."""
    store = await SqliteStore.open(path)
    faults.plan("COMMIT", done_first=True)
    with pytest.raises(AppendUnknownError) as unknown:
        await store.append(notes("a/1", 0))
    faults.plan("PRAGMA wal_checkpoint")
    with pytest.raises(LoomError):
        await store.resolve(unknown.value)
    faults.seen.clear()
    assert await store.resolve(unknown.value) is not None
    assert [sql for sql in faults.seen if "checkpoint(" in sql] == ["PRAGMA wal_checkpoint(TRUNCATE)"]
    await store.close()


async def test_every_append_of_a_batch_whose_commit_failed_is_told_apart(path: Path, faults: Faults) -> None:
    store = await SqliteStore.open(path)
    faults.plan("COMMIT", done_first=True)
    futures = [store.submit(notes("a/1", 0)), store.submit(notes("a/2", 5)), store.submit(notes("a/3", 0))]
    one, stale, three = await asyncio.gather(*futures, return_exceptions=True)
    assert isinstance(one, AppendUnknownError)
    assert isinstance(stale, AppendRefusedError)
    assert isinstance(three, AppendUnknownError)
    assert await store.resolve(one)
    assert await store.resolve(three)
    await store.close()


async def test_after_two_failed_commits_in_a_row_nothing_more_is_written_and_all_can_be_read(
    path: Path, faults: Faults
) -> None:
    store = await SqliteStore.open(path)
    await store.append(notes("a/1", 0))
    faults.plan("COMMIT", times=2)
    for _ in range(2):
        with pytest.raises(AppendUnknownError):
            await store.append(notes("a/1", 1))
    for journal in ("a/1", "a/2"):
        with pytest.raises(JournalReadOnlyError, match=r"\[2\] commits in a row"):
            await store.append(notes(journal, 1))
    assert len(await collected(store.read_all())) == 1
    await store.close()
    again = await SqliteStore.open(path)
    assert (await again.append(notes("a/1", 1))).position == 2
    await again.close()


async def test_a_success_in_between_keeps_the_writer_going(path: Path, faults: Faults) -> None:
    store = await SqliteStore.open(path)
    for sequence in range(4):
        faults.plan("COMMIT")
        with pytest.raises(AppendUnknownError):
            await store.append(notes("a/1", sequence))
        assert (await store.append(notes("a/1", sequence))).sequence == sequence + 1
    await store.close()


async def test_a_disk_that_is_full_at_commit_is_settled_at_once(path: Path, faults: Faults) -> None:
    store = await SqliteStore.open(path)
    for _ in range(3):
        faults.plan("COMMIT", code=FULL)
        with pytest.raises(DiskFullError):
            await store.append(notes("a/1", 0))
    faults.plan("COMMIT", code=FULL, done_first=True)
    assert isinstance(await store.append(notes("a/1", 0)), Receipt)
    assert (await store.append(notes("a/1", 1))).position == 2
    await store.close()
    assert verify(path).ok


@pytest.mark.parametrize(
    ("statement", "code", "expected"),
    [
        ("INSERT INTO entries", FULL, DiskFullError),
        ("INSERT INTO entries", IOERR, AppendRefusedError),
        ("INSERT INTO entries", sqlite3.SQLITE_CORRUPT, JournalCorruptError),
        ("INSERT INTO entries", sqlite3.SQLITE_READONLY, JournalReadOnlyError),
        ("BEGIN IMMEDIATE", sqlite3.SQLITE_BUSY, JournalBusyError),
        ("BEGIN IMMEDIATE", sqlite3.SQLITE_PROTOCOL, JournalBusyError),
        ("SELECT epoch", IOERR, AppendRefusedError),
        ("SELECT sequence", IOERR, AppendRefusedError),
    ],
)
async def test_what_fails_before_commit_is_refused_for_certain(
    path: Path, faults: Faults, statement: str, code: int, expected: type[LoomError]
) -> None:
    store = await SqliteStore.open(path)
    await store.append(notes("a/1", 0))
    faults.plan(statement, code=code)
    outcomes = await asyncio.gather(
        store.append(notes("a/1", 1)), store.append(notes("a/2", 0)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [expected, expected]
    assert outcomes[0] is not outcomes[1]
    assert (await store.append(notes("a/1", 1))).position == 2
    await store.close()
    assert verify(path).ok


async def test_a_commit_that_fails_halfway_through_singles_does_not_change_what_was_said_before(
    path: Path, faults: Faults
) -> None:
    """A batch with one bad append is written one by one: those that stand keep their receipts whatever comes after."""
    store = await SqliteStore.open(path)
    bad = Append("b/1", 0, [note()._replace(kind=None)])  # type: ignore[arg-type]
    futures = [store.submit(notes("a/1", 0)), store.submit(bad), store.submit(notes("a/2", 0))]
    real = store._writer._commit_alone

    def commit_alone(append: Append) -> Any:
        if append.journal == "a/2":
            faults.plan("COMMIT")
        return real(append)

    store._writer._commit_alone = commit_alone  # type: ignore[method-assign]
    first, refused, unknown = await asyncio.gather(*futures, return_exceptions=True)
    assert isinstance(first, Receipt)
    assert isinstance(refused, AppendRefusedError)
    assert isinstance(unknown, AppendUnknownError)
    assert [entry.journal for entry in await collected(store.read_all())] == ["a/1"]
    await store.close()


async def test_housekeeping_that_fails_loses_nothing_and_is_tried_again(
    path: Path, faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    options = SqliteOptions(writer=WriterOptions(checkpoint_pages=1, head_every=1, min_free_bytes=0))
    store = await SqliteStore.open(path, options=options)
    faults.plan("PRAGMA wal_checkpoint", times=3)
    await fill(store, {"a/1": 3})
    assert caplog.text.count("housekeeping_failed") == 1
    await fill(store, {"a/2": 2})
    await store.close()
    found = verify(path)
    assert found.ok
    assert found.anchored_through == 5


async def test_heads_that_cannot_be_written_fail_no_append(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = SqliteOptions(writer=WriterOptions(head_every=1, min_free_bytes=0))
    store = await SqliteStore.open(path, options=options)
    JournalFiles(path).heads.mkdir()
    await fill(store, {"a/1": 2})
    JournalFiles(path).heads.rmdir()
    await store.append(notes("a/1", 2))
    await store.close()
    assert "housekeeping_failed" in caplog.text
    assert verify(path).anchored_through == 3


async def test_a_clock_that_fails_fails_its_append_and_not_the_writer(path: Path) -> None:
    class BrokenClock(SetClock):
        def now_us(self) -> int:
            if self.us == 0:
                raise OSError("no time")
            return super().now_us()

    clock = BrokenClock()
    store = await SqliteStore.open(path, clock=clock)
    clock.us = 0
    with pytest.raises(AppendRefusedError):
        await store.append(notes("a/1", 0))
    clock.us = 2**63
    with pytest.raises(AppendRefusedError):
        await store.append(notes("a/1", 0))
    clock.us = 1
    assert (await store.append(notes("a/1", 0))).position == 1
    await store.close()


async def test_a_writer_that_breaks_its_promise_not_to_raise_leaves_nobody_waiting(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await SqliteStore.open(path)
    await store.append(notes("a/1", 0))

    def commit(batch: object) -> None:
        raise MemoryError

    monkeypatch.setattr(store._writer, "commit", commit)
    with pytest.raises(AppendUnknownError) as unknown:
        await store.append(notes("a/1", 1))
    with pytest.raises(JournalClosedError, match="MemoryError"):
        store.submit(notes("a/1", 1))
    with pytest.raises(JournalClosedError):
        await store.resolve(unknown.value)
    await store.close()
    assert not WriterLock(JournalFiles(path).lock).held()
    again = await SqliteStore.open(path)
    with pytest.raises(AppendUnknownError):  # not None, which would say that it is not there
        await again.resolve(unknown.value)
    await again.close()
    assert verify(path).ok


# --- the files under the writer -----------------------------------------------------------------


async def test_a_log_that_is_unlinked_under_the_writer_gives_no_false_receipt(path: Path) -> None:
    """What a stray open and close of the database in the writer's process brings about (reliability: finding 2)."""
    store = await SqliteStore.open(path)
    acknowledged = await fill(store, {"a/1": 3})
    JournalFiles(path).wal.unlink()
    with pytest.raises(AppendUnknownError):
        await store.append(notes("a/1", 3))
    with pytest.raises(JournalCorruptError, match="replaced or unlinked"):
        await store.append(notes("a/1", 3))
    await store.close()
    hashes = {entry.entry_hash for entry in await read(path)}
    assert {receipt.entry_hash for receipt in acknowledged} <= hashes


def stray_reader(path: Path) -> None:
    path.open("rb").close()
    other = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('select count(*) from entries'); c.close()"
    )
    subprocess.run([sys.executable, "-c", other, str(path)], check=True)


async def test_a_stray_reader_of_the_file_in_the_writers_process_gives_no_false_receipt(path: Path) -> None:
    """The real thing: a plain open, then another process that believes to be the last and folds the log away."""
    store = await SqliteStore.open(path)
    acknowledged = await fill(store, {"a/1": 3})
    stray_reader(path)
    outcomes: list[Receipt | LoomError] = []
    for _ in range(3):
        try:
            outcomes.append(await store.append(notes("a/1", 3)))
        except LoomError as error:
            outcomes.append(error)
    await store.close()
    hashes = {entry.entry_hash for entry in await read(path)}
    receipts = [*acknowledged, *(outcome for outcome in outcomes if isinstance(outcome, Receipt))]
    assert {receipt.entry_hash for receipt in receipts} <= hashes
    assert [type(outcome) for outcome in outcomes] == [AppendUnknownError, JournalCorruptError, JournalCorruptError]


async def test_a_database_that_is_replaced_under_the_writer_is_not_written_any_more(path: Path) -> None:
    store = await SqliteStore.open(path)
    await fill(store, {"a/1": 3})
    os.rename(path, path.with_name("moved.db"))
    with pytest.raises(AppendUnknownError) as unknown:
        await store.append(notes("a/1", 3))
    with pytest.raises(LoomError):
        await store.resolve(unknown.value)
    with pytest.raises(JournalCorruptError):
        await store.append(notes("a/1", 3))
    await store.close()
    assert not JournalFiles(path).exists()


async def test_a_writer_that_was_overtaken_is_fenced_off(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.append(notes("a/1", 0))
    later = sqlite3.connect(path)
    later.execute("UPDATE writer SET epoch = epoch + 1")
    later.commit()
    later.close()
    for _ in range(2):
        with pytest.raises(WriterFencedError, match="took it over"):
            await store.append(notes("a/1", 1))
    assert len(await collected(store.read_all())) == 1
    await store.close()


async def test_an_acknowledged_entry_that_is_gone_after_a_fault_stops_the_writer(path: Path, faults: Faults) -> None:
    store = await SqliteStore.open(path)
    await fill(store, {"a/1": 3})
    faults.plan("COMMIT")
    with pytest.raises(AppendUnknownError) as unknown:
        await store.append(notes("a/1", 3))
    attacker = sqlite3.connect(path)
    (sql,) = attacker.execute("SELECT sql FROM sqlite_schema WHERE name = 'entries_append_only_delete'").fetchone()
    attacker.execute("DROP TRIGGER entries_append_only_delete")
    attacker.execute("DELETE FROM entries WHERE position = 3")
    attacker.execute(sql)
    attacker.commit()
    attacker.close()
    with pytest.raises(JournalCorruptError, match="acknowledged at position"):
        await store.resolve(unknown.value)
    with pytest.raises(JournalCorruptError):
        await store.append(notes("a/1", 2))
    await store.close()


async def test_a_database_that_another_program_keeps_locked_is_busy_and_nothing_is_written(path: Path) -> None:
    options = SqliteOptions(writer=WriterOptions(busy_timeout_s=0.05, min_free_bytes=0))
    store = await SqliteStore.open(path, options=options)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalBusyError, match="another program"):
        await store.append(notes("a/1", 0))
    other.execute("ROLLBACK")
    other.close()
    assert (await store.append(notes("a/1", 0))).position == 1
    await store.close()


async def test_a_reader_that_holds_an_old_snapshot_keeps_nobody_from_writing(path: Path) -> None:
    options = SqliteOptions(writer=WriterOptions(checkpoint_pages=2, head_every=2, min_free_bytes=0))
    store = await SqliteStore.open(path, options=options)
    await fill(store, {"a/1": 2})
    snapshot = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    snapshot.execute("BEGIN")
    assert snapshot.execute("SELECT count(*) FROM entries").fetchone() == (2,)
    await fill(store, {"a/2": 20})
    assert snapshot.execute("SELECT count(*) FROM entries").fetchone() == (2,)
    snapshot.close()
    await store.append(notes("a/1", 2))
    assert JournalFiles(path).wal.stat().st_size < 100_000
    await store.close()
    assert verify(path).ok


async def read(path: Path) -> list[Any]:
    reader = Reader(path)
    try:
        return await collected(reader.read_all())
    finally:
        await reader.close()


# --- forks --------------------------------------------------------------------------------------

FORKING = """
import asyncio, os, sys
from pathlib import Path
from loom.errors import JournalClosedError
from loom.journal.sqlite import SqliteStore
from tests.journal.support import collected, notes

async def refused(work):
    try:
        await work()
    except JournalClosedError as error:
        return "forked" in str(error)
    return False

async def child(store):
    async def submit(): store.submit(notes("a/1", 1))
    checks = [
        await refused(submit),
        await refused(lambda: store.head("a/1")),
        await refused(lambda: collected(store.read_all())),
        await refused(lambda: store.journals()),
    ]
    await store.close()
    return all(checks)

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    await store.append(notes("a/1", 0))
    await collected(store.read_all())
    pid = os.fork()
    if pid == 0:
        asyncio.events._set_running_loop(None)
        os._exit(0 if asyncio.new_event_loop().run_until_complete(child(store)) else 1)
    _, status = os.waitpid(pid, 0)
    receipt = await store.append(notes("a/1", 1))
    held = store.lock.held()
    await store.close()
    print(os.waitstatus_to_exitcode(status), receipt.position, held)

asyncio.run(main())
"""


def test_a_store_that_is_carried_over_a_fork_refuses_and_harms_nothing(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, str(path)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.split() == ["0", "2", "True"], done.stderr
    assert verify(path).ok


# --- full disks ---------------------------------------------------------------------------------


async def test_a_disk_that_is_nearly_full_takes_nothing_new(path: Path) -> None:
    options = SqliteOptions(writer=WriterOptions(min_free_bytes=2**62))
    store = await SqliteStore.open(path, options=options)
    for _ in range(2):
        with pytest.raises(DiskFullError, match="make room"):
            await store.append(notes("a/1", 0))
    assert await collected(store.read_all()) == []
    await store.close()
