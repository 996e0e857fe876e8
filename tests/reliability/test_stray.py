"""R8: a plain open and close of the database in the writer's process, then another process that folds the log away."""

from __future__ import annotations

from pathlib import Path

import pytest

from loom.errors import LoomError
from loom.journal.sqlite import SqliteStore
from loom.journal.sqlite.writer_connection import WriterConnection
from tests.journal.support import PLENTY, fill, notes
from tests.reliability.board import Tally, row
from tests.reliability.forks import Zygote


@row("R8")
async def test_a_stray_open_and_close_gives_no_false_receipt(tmp_path: Path, tally: Tally, zygote: Zygote) -> None:
    for number in range(50):
        false, refused = await strayed(tmp_path / f"{number}.db", tally, zygote)
        tally.tried()
        tally.check(not false, f"trial {number}: {false} receipts for what is not there")
        tally.check(refused, f"trial {number}: the guard let everything pass")


@row("R8")
async def test_without_the_guard_a_stray_open_and_close_gives_false_receipts(
    tmp_path: Path, tally: Tally, zygote: Zygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WriterConnection, "check_identity", lambda self: None)
    found = sum([bool((await strayed(tmp_path / f"{n}.db", tally, zygote))[0]) for n in range(10)])
    tally.control(trials=10, found=found)


async def strayed(path: Path, tally: Tally, zygote: Zygote) -> tuple[int, int]:
    """Return how many receipts were false after the files were strayed over, and how many appends raised."""
    store = await SqliteStore.open(path, options=PLENTY)
    receipts = await fill(store, {"a/1": tally.dice.randrange(1, 8)})
    path.open("rb").close()  # drops every lock that this process has on the file
    with zygote.fork("look_and_leave", path=str(path)) as other:
        assert other.wait() == 0
    refused = 0
    for _ in range(5):
        try:
            receipts.append(await store.append(notes("a/1", receipts[-1].sequence)))
        except LoomError:
            refused += 1
    with zygote.fork("tell_hashes", path=str(path)) as other:  # what would be left if this process died here
        there = {line.strip() for line in other.rest()}
    await store.close()
    return sum(each.entry_hash.hex() not in there for each in receipts), refused
