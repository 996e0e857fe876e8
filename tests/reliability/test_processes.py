"""R6, R7 and R41: many processes at one journal, the race around checkpoints, and a soak beside a stuck reader."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sqlite3
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from loom import Loom
from loom.journal import Append
from loom.journal.sqlite import JournalFiles, SqliteOptions, SqliteStore, WriterOptions
from loom.journal.sqlite.connection import connect_reader, has_wal_reset_bug
from tests.journal.support import fill, note
from tests.reliability.agents import Adder
from tests.reliability.board import Tally, row
from tests.reliability.forks import Zygote
from tests.reliability.journals import check_verified, query, rows_of

CLIENTS, CALLS = 8, 100
RACE_S, SOAK_S = 8.0, 20.0
MOST_LOG = 4 * 1024 * 1024


@pytest.mark.seconds(10)
@row("R6")
async def test_of_many_processes_one_writes_a_journal_and_the_others_are_refused_by_type(
    tmp_path: Path, tally: Tally, zygote: Zygote
) -> None:
    path = tmp_path / "journal.db"
    store = await SqliteStore.open(path)
    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(zygote.fork("try_to_write", path=str(path))) for _ in range(CLIENTS)]
        await fill(store, {"a/1": 50})
        for other in others:
            tally.tried()
            said = await asyncio.to_thread(other.rest)
            tally.check(said == [f"refused {os.getpid()}\n"], f"a second writer said {said}")
    await store.close()
    check_verified(tally, path, "after the others tried")


@pytest.mark.seconds(15)
@row("R6")
async def test_what_many_processes_send_through_the_control_socket_is_done_once_each(
    tmp_path: Path, tally: Tally, zygote: Zygote
) -> None:
    path = tmp_path / "journal.db"
    said = Counter[str]()
    async with Loom.open(f"sqlite:///{path}", actors=[Adder], by="ana") as loom:
        with contextlib.ExitStack() as stack:
            clients = [
                stack.enter_context(
                    zygote.fork(
                        "send_commands", lock=str(loom.files.lock), journal=f"adder/{n % 3}", name=n, calls=CALLS
                    )
                )
                for n in range(CLIENTS)
            ]
            for client in clients:
                for line in await asyncio.to_thread(client.rest):
                    said[line.strip()] += 1
        tally.check(said == {"completed": CLIENTS * CALLS}, f"answers: {dict(said)}")
        for number in range(3):
            state = await loom.replay.state(f"adder/{number}")
            sent = CALLS * len(range(number, CLIENTS, 3))
            tally.check((state.turns, state.sum) == (sent, sent), f"adder/{number} is at {state}, expected {sent}")
    tally.tried(CLIENTS * CALLS)
    sequences: dict[str, list[int]] = {}
    for entry in rows_of(path):
        sequences.setdefault(entry.journal, []).append(entry.sequence)
    for journal, found in sequences.items():
        tally.check(found == list(range(1, len(found) + 1)), f"{journal} has a gap")
    check_verified(tally, path, "after all clients")


# --- the race around checkpoints -----------------------------------------------------------------


@pytest.mark.seconds(15)
@pytest.mark.parametrize("run", [1, 2])
@row("R7")
def test_in_the_supported_mode_the_race_around_checkpoints_loses_nothing(
    tmp_path: Path, tally: Tally, zygote: Zygote, run: int
) -> None:
    """One writer that checkpoints all the time, readers that come and go, and others that try to write."""
    path = tmp_path / "journal.db"
    acknowledged: dict[int, str] = {}
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(zygote.fork("append_for", path=str(path), seconds=RACE_S))
        assert writer.line() == "open\n"
        readers = [stack.enter_context(zygote.fork("read_for", path=str(path), seconds=RACE_S)) for _ in range(3)]
        triers = [stack.enter_context(zygote.fork("try_for", path=str(path), seconds=RACE_S)) for _ in range(1)]
        for line in writer.rest():
            position, digest = line.split()[1:]
            acknowledged[int(position)] = digest
        for reader in (*readers, *triers):
            for line in reader.rest():
                tally.check(line.startswith(("refused", "read")), line)
            tally.check(reader.wait() == 0, "a reader ended in error")
    tally.tried(len(acknowledged))
    there = {entry.position: entry.entry_hash.hex() for entry in rows_of(path)}
    lost = [position for position, digest in acknowledged.items() if there.get(position) != digest]
    tally.check(not lost, f"lost {lost[:5]}")
    check_verified(tally, path, "after the race")
    tally.note(f"SQLite {sqlite3.sqlite_version} {'has' if has_wal_reset_bug() else 'does not have'} the WAL-reset bug")


@pytest.mark.skipif(
    "LOOM_ON_DEMAND" not in os.environ, reason="its control needs luck in up to 50 races: LOOM_ON_DEMAND=1"
)
@pytest.mark.timeout(600)
@row("R7")
def test_in_an_unsupported_mode_the_race_loses_rows_sooner_or_later(
    tmp_path: Path, tally: Tally, zygote: Zygote
) -> None:
    """Four writers with automatic checkpoints and two that checkpoint passively, on a SQLite that has the bug."""
    if not has_wal_reset_bug():
        pytest.skip(f"SQLite {sqlite3.sqlite_version} does not have the bug")
    for number in range(50):
        path = tmp_path / f"{number}.db"
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE rows (writer INTEGER, number INTEGER, PRIMARY KEY (writer, number))")
        with contextlib.ExitStack() as stack:
            children = [
                stack.enter_context(zygote.fork("race", path=str(path), writer=n, seconds=RACE_S)) for n in range(6)
            ]
            committed = [int(child.rest()[-1]) for child in children]
        with contextlib.closing(sqlite3.connect(path)) as connection:
            found = dict(connection.execute("SELECT writer, count(*) FROM rows NOT INDEXED GROUP BY writer"))
            sound = connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        if not sound or any(found.get(n, 0) < committed[n] for n in range(4)):
            tally.control(trials=number + 1, found=1)
            return
    tally.control(trials=50, found=0)


# --- soak ----------------------------------------------------------------------------------------


@pytest.mark.seconds(25)
@row("R41")
async def test_beside_a_reader_that_is_stuck_nothing_grows_without_a_bound(
    tmp_path: Path, tally: Tally, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "journal.db"
    options = SqliteOptions(writer=WriterOptions(checkpoint_pages=256, head_every=64, min_free_bytes=0))
    store = await SqliteStore.open(path, options=options)
    process, files = psutil.Process(), JournalFiles(path)
    await soak(store, seconds=2.0, first=0)
    gc.collect()
    before = process.num_fds(), process.num_threads(), process.memory_info().rss
    appended = await soak(store, seconds=SOAK_S / 2, first=1_000_000)
    tally.check(files.wal.stat().st_size < MOST_LOG, f"the log has {files.wal.stat().st_size:,} bytes")
    with contextlib.closing(connect_reader(path)) as stuck:
        stuck.execute("BEGIN")
        held = stuck.execute("SELECT count(*) FROM entries").fetchone()
        appended += await soak(store, seconds=SOAK_S / 2, first=2_000_000)
        grown = files.wal.stat().st_size
        tally.check("journal_log_grows" in caplog.text, "nobody was told that the log grows")
        tally.check(stuck.execute("SELECT count(*) FROM entries").fetchone() == held, "the snapshot moved")
    appended += await soak(store, seconds=1.0, first=3_000_000)
    tally.check(files.wal.stat().st_size < MOST_LOG, "the log stays long after the reader has gone")
    gc.collect()
    after = process.num_fds(), process.num_threads(), process.memory_info().rss
    tally.check(after[0] <= before[0] + 2, f"descriptors: {before[0]}, then {after[0]}")
    tally.check(after[1] <= before[1] + 1, f"threads: {before[1]}, then {after[1]}")
    tally.check(after[2] - before[2] < 64 * 1024 * 1024, f"memory grew by {after[2] - before[2]:,} bytes")
    await store.close()
    tally.tried(appended)
    check_verified(tally, path, "after the soak")
    tally.check(query(path, "SELECT count(*) FROM entries")[0][0] >= appended, "entries are missing")
    tally.note(
        f"{appended:,} appends; the log grew to {grown >> 20} MiB behind the stuck reader, and was folded after it"
    )


async def soak(store: SqliteStore, *, seconds: float, first: int) -> int:
    """Append in many journals for so long, and return how many."""
    end, number = time.monotonic() + seconds, first
    while time.monotonic() < end:
        batch = [Append(f"a/{number + n}", 0, [note("x" * 200)]) for n in range(20)]
        await asyncio.gather(*(store.append(each) for each in batch))
        number += len(batch)
    return number - first
