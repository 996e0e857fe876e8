"""Other processes: a second writer, readers beside the writer, and writers that are killed in the middle of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from loom.errors import JournalLockedError
from loom.journal.sqlite import Reader, SqliteOptions, SqliteStore, WriterOptions
from loom.journal.sqlite.verify import verify
from tests.journal.support import assert_chained, collected, environment, fill, notes

OPENER = """
import asyncio, sys
from pathlib import Path
from loom.journal.sqlite import SqliteStore

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    print("open", flush=True)
    sys.stdin.readline()
    await store.close()
    print("closed", flush=True)

asyncio.run(main())
"""


def child(code: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def test_a_second_process_is_refused_as_long_as_the_first_one_lives(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with child(OPENER, path) as first:
        assert line_of(first) == "open"
        with pytest.raises(JournalLockedError) as refused:
            await SqliteStore.open(path)
        assert refused.value.holder["pid"] == first.pid
        assert f"[{first.pid}]" in str(refused.value)
        first.communicate("\n")
    store = await SqliteStore.open(path)
    with child(OPENER, path) as second:
        _, said = second.communicate()
    assert "JournalLockedError" in said
    await store.close()


async def test_a_killed_process_leaves_no_lock_behind(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with child(OPENER, path) as first:
        assert line_of(first) == "open"
        first.kill()
    store = await SqliteStore.open(path)
    await store.append(notes("a/1", 0))
    await store.close()
    assert verify(path).ok


async def test_readers_read_beside_the_writer_and_see_what_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    options = SqliteOptions(writer=WriterOptions(checkpoint_pages=4, head_every=8, min_free_bytes=0))
    store = await SqliteStore.open(path, options=options)
    reader = Reader(path, page=3)
    for round_number in range(1, 11):
        await fill(store, {f"a/{round_number}": 5})
        assert_chained(await collected(reader.read_all()))
        assert await reader.tail() == store.acknowledged == round_number * 5
    assert await reader.workspace() == "default"
    found = await asyncio.to_thread(verify, path)
    assert found.ok
    await reader.close()
    await store.close()
