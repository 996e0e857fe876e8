"""Readers' connections: a cancelled reader leaves nothing open, and no connection keeps the interpreter alive."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from loom.errors import JournalClosedError, JournalNotFoundError, ProjectionFailedError
from loom.journal.sqlite.reader import Reader
from loom.journal.sqlite.reading import ReadConnection, Reading, to_its_end
from loom.projections.views import Views
from tests.journal.support import filled
from tests.sqlite_files import connected

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def readers() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name in ("loom-reader", "loom-views-reader", "test-reader")}


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """Return the path of a journal of 300 entries."""
    path = tmp_path / "journal.db"
    await filled(path, {"box/one": 300})
    return path


async def cut_short(work: Callable[[], object], *, after: int) -> bool:
    """Start work, let the loop go round so many times, cancel it, and return whether that was before its end."""

    async def run() -> object:
        found = work()
        return await found if asyncio.iscoroutine(found) else found

    task = asyncio.ensure_future(run())
    for _ in range(after):
        await asyncio.sleep(0)
    task.cancel()
    [ended] = await asyncio.gather(task, return_exceptions=True)
    return isinstance(ended, asyncio.CancelledError)


async def test_readers_that_are_cancelled_anywhere_leave_no_statement_no_snapshot_and_no_thread(path: Path) -> None:
    before, chance, cut = readers(), random.Random(7), 0
    reader = Reader(path, page=100)

    async def everything() -> list[int]:
        return [each.position async for each in reader.read_all()]

    for _ in range(200):
        cut += await cut_short(everything, after=chance.randrange(12))
    assert cut > 100
    assert await everything() == list(range(1, 301))
    with connected(path, isolation_level=None) as other:  # a snapshot that is held keeps the log from being reset
        other.execute("CREATE TABLE another (x)")
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    other.close()
    await reader.close()
    assert readers() == before


@pytest.mark.parametrize("after", range(6))
async def test_opening_and_closing_go_on_to_their_end_wherever_they_are_cancelled(path: Path, after: int) -> None:
    before = readers()
    reader = Reader(path)
    await cut_short(reader.tail, after=after)
    await cut_short(reader.close, after=after)
    await reader.close()
    assert readers() == before
    with pytest.raises(JournalClosedError):
        await reader.tail()
    other = Reader(path)
    asked = asyncio.ensure_future(other.tail())
    for _ in range(after):
        await asyncio.sleep(0)
    await other.close()
    [ended] = await asyncio.gather(asked, return_exceptions=True)
    assert ended == 300 or isinstance(ended, JournalClosedError)


async def test_views_that_are_read_and_cancelled_anywhere_leave_no_thread(tmp_path: Path) -> None:
    before, chance = readers(), random.Random(8)
    views = Views(tmp_path / "views.db")
    await views.start([])
    for _ in range(100):
        await cut_short(lambda: views.fetch("SELECT * FROM checkpoints"), after=chance.randrange(12))
    assert await views.fetch("SELECT 1 AS one")
    await cut_short(views.close, after=2)
    await views.close()
    assert readers() == before


@pytest.mark.parametrize("after", range(8))
async def test_views_that_are_closed_under_their_readers_say_so(tmp_path: Path, after: int) -> None:
    views = Views(tmp_path / "views.db")
    await views.start([])
    await views.fetch("SELECT 1")
    asked = [asyncio.ensure_future(views.fetch("SELECT 1 AS one")) for _ in range(5)]
    for _ in range(after):
        await asyncio.sleep(0)
    await views.close()
    for ended in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(ended, ProjectionFailedError) or [row["one"] for row in ended] == [1]  # type: ignore[union-attr]


async def test_those_who_open_at_once_share_one_connection_and_a_failure_is_everybodys(
    tmp_path: Path, path: Path
) -> None:
    before = readers()
    reader = Reader(path)
    assert await asyncio.gather(*(reader.tail() for _ in range(20))) == [300] * 20
    assert len(readers() - before) == 1
    await reader.close()
    missing = Reader(tmp_path / "missing.db")
    ended = await asyncio.gather(*(missing.tail() for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in ended] == [JournalNotFoundError] * 3
    with pytest.raises(JournalNotFoundError):  # it is asked for again, and not remembered
        await missing.tail()
    await missing.close()
    assert readers() == before


async def memory() -> ReadConnection:
    return await ReadConnection.open(lambda: sqlite3.connect(":memory:", factory=Reading), name="test-reader")


@pytest.mark.parametrize("after", range(1, 5))
async def test_a_connection_whose_closing_is_cancelled_is_closed_when_that_is_said(after: int) -> None:
    before = readers()
    connection = await memory()
    asked = asyncio.ensure_future(connection.fetch("SELECT 1"))
    await asyncio.sleep(0)
    await cut_short(connection.close, after=after)
    assert readers() == before
    assert await asked == [(1,)]


async def test_what_nobody_waits_for_any_more_is_interrupted() -> None:
    connection = await memory()
    for after in (1, 3, 50):
        assert await cut_short(lambda: connection.fetch(ENDLESS), after=after)
        assert await connection.fetch("SELECT 1") == [(1,)]  # it would wait for ever behind the other
    await connection.close()


async def test_nothing_that_somebody_waits_for_is_interrupted() -> None:
    connection = await memory()
    long = ENDLESS.replace("FROM n)", "FROM n WHERE i < 20000)")
    for after in range(20):
        kept = asyncio.ensure_future(connection.fetch(long))
        await cut_short(lambda: connection.fetch("SELECT 1"), after=after)
        other = asyncio.ensure_future(connection.fetch(long))
        assert (await kept, await other) == ([(20000,)], [(20000,)])
    await connection.close()


async def test_work_that_must_end_ends_before_its_cancellation_is_passed_on() -> None:
    ended: list[str] = []

    async def work() -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        ended.append("yes")
        raise ValueError("nobody is there to hear it")

    task = asyncio.ensure_future(to_its_end(work()))
    for _ in range(3):  # once is not enough for those who mean it
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["yes"]


LEFT_OPEN = """
import asyncio, sys
from pathlib import Path
from loom.journal.sqlite.reader import Reader
from loom.projections.views import Views

kept = []

async def main():
    reader, views = Reader(Path(sys.argv[1])), Views(Path(sys.argv[2]))
    kept.extend([reader, views])
    await views.start([])
    await views.fetch("SELECT 1")
    for number in range(200):
        task = asyncio.ensure_future(reader.page(after=0))
        for _ in range(number % 7):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    if sys.argv[3] == "close":
        await reader.close()
        await views.close()

asyncio.run(main())
print("reached the end")
"""


@pytest.mark.parametrize("how", ["close", "forget"])
def test_an_interpreter_exits_after_cancelled_reads_whether_or_not_anything_was_closed(
    path: Path, tmp_path: Path, how: str
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN, str(path), str(tmp_path / "views.db"), how],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "reached the end\n"), ran.stderr
    assert how == "forget" or not ran.stderr
