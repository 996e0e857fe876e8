"""Statements of people over the views: they read, and do nothing else, in bounded time, memory and rows."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from loom.projections.statements import Statements
from tests.sqlite_files import connected

SECRET = "the-content-of-a-file"


@pytest.fixture
def views(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "views.db"
    with connected(path) as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("CREATE TABLE things (name TEXT, size INTEGER, raw BLOB)")
        made.executemany("INSERT INTO things VALUES (?, ?, x'00ff')", [(f"thing {n}", n) for n in range(1_000)])
        made.execute("CREATE TABLE snapshots (state BLOB)")
        made.execute("CREATE VIRTUAL TABLE words USING fts5 (said, content = '')")
        made.execute("INSERT INTO words (rowid, said) VALUES (1, 'a stitch in time')")
    (tmp_path / "secret.txt").write_text(SECRET)
    with closing(sqlite3.connect(path)) as served:  # as by a loom that runs
        served.execute("SELECT count(*) FROM things").fetchall()
        yield path


async def test_a_statement_gives_columns_rows_and_what_can_be_asked(views: Path) -> None:
    found = await Statements(views, rows=3).run("SELECT name, size, raw, 1e999 AS big FROM things ORDER BY size")
    assert (found.columns, found.more, found.problem) == (("name", "size", "raw", "big"), True, None)
    assert found.rows[1] == ("thing 1", 1, "x'00ff'", "inf")
    assert len(found.rows) == 3
    assert found.tables == {"things": ("name", "size", "raw"), "words": ("said",)}
    assert (await Statements(views).run(None)).tables == found.tables
    worded = await Statements(views).run("WITH w AS (SELECT rowid FROM words WHERE words MATCH 'time') SELECT * FROM w")
    assert worded.rows == ((1,),)
    parts = await Statements(views).run("SELECT key, value FROM json_each('{\"a\": 1}') -- and a comment")
    assert parts.rows == (("a", 1),)


REFUSED = [
    "INSERT INTO things VALUES ('x', 1, NULL)",
    "WITH x AS (SELECT 1) INSERT INTO things SELECT 'x', 1, NULL",
    "UPDATE things SET size = 0",
    "DELETE FROM things",
    "DROP TABLE things",
    "CREATE TABLE other (a)",
    "CREATE TEMP TABLE other (a)",
    "ATTACH '{place}/other.db' AS other",
    "VACUUM INTO '{place}/copy.db'",
    "PRAGMA writable_schema = ON",
    "PRAGMA journal_mode = DELETE",
    "SELECT load_extension('{place}/secret.txt')",
    "SELECT readfile('{place}/secret.txt')",
    "SELECT writefile('{place}/new.txt', 'x')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT * FROM snapshots",
    "SELECT * FROM sqlite_schema",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM dbstat",
    "SELECT * FROM sqlite_stmt",
    "SELECT * FROM pragma_table_info('things')",
    "SELECT 1; DELETE FROM things",
    "/* SELECT */ DELETE FROM things",
    "EXPLAIN DELETE FROM things",
    "BEGIN",
    "",
    "\x00",
    "SELECT \ud800",
]


@pytest.mark.parametrize("statement", REFUSED)
async def test_what_is_not_reading_of_the_views_is_refused(views: Path, statement: str) -> None:
    before = _state(views)
    found = await Statements(views).run(statement.format(place=views.parent))
    assert found.problem is not None
    assert not found.rows
    assert _state(views) == before


HEAVY = [
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "SELECT count(*) FROM things a, things b, things c, things d",
    "WITH RECURSIVE n(b) AS (SELECT zeroblob(900000) UNION ALL SELECT b FROM n) SELECT b FROM n ORDER BY 1",
    "SELECT instr(hex(zeroblob(450000)), hex(zeroblob(200000)) || '1')",  # one instruction that nothing interrupts
]


@pytest.mark.parametrize("statement", HEAVY)
async def test_what_takes_too_long_or_too_much_ends_in_time(views: Path, statement: str) -> None:
    statements = Statements(views, timeout_s=0.3, memory_bytes=256 * 1024**2)
    began = time.monotonic()
    found = await statements.run(statement)
    assert found.problem is not None, found.rows[:1]
    assert "ask for less" in found.problem or "memory" in found.problem, found.problem
    assert time.monotonic() - began < 30  # on a busy machine; the bound is 1.3 s and the start of a process


async def test_a_cancelled_caller_leaves_no_process(views: Path) -> None:
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    others = set(children.read_text().split())  # such as a server that other tests of this process have started
    asking = asyncio.create_task(Statements(views, timeout_s=30).run(HEAVY[0]))
    while not set(children.read_text().split()) - others:
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not set(children.read_text().split()) - others


async def test_a_row_that_is_long_is_cut_and_the_answer_is_bounded(views: Path) -> None:
    found = await Statements(views, rows=100_000, timeout_s=30).run(
        "SELECT printf('%.*c', 90000, 'x') AS x FROM things, json_each('[1,2]')"
    )
    assert found.rows[0][0] == "x" * 2_000 + "… (90000 characters)"
    assert sum(len(str(row[0])) for row in found.rows) < 3_000_000


def _state(views: Path) -> tuple[str, list[str]]:
    """Return a digest of the file, and what lies next to it."""
    return hashlib.sha256(views.read_bytes()).hexdigest(), sorted(each.name for each in views.parent.iterdir())


async def test_a_few_of_the_campaign_of_hostile_statements(views: Path) -> None:
    from tests.projections.hostile import statement_of

    before, draw = _state(views), random.Random(7)
    for _ in range(25):
        statement = statement_of(draw, views.parent)
        found = await Statements(views, timeout_s=0.3, rows=10).run(statement)
        assert len(found.rows) <= 10
        assert SECRET not in str(found.rows), statement
    assert _state(views) == before
