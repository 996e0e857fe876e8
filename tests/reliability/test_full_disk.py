"""R5: disks that are really full, and disks that turn read-only."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from loom.errors import AppendUnknownError, DiskFullError, JournalReadOnlyError, LoomError
from loom.journal import Receipt
from loom.journal.sqlite import Reader, SqliteStore, WriterLock
from tests.journal.support import PLENTY, collected, notes
from tests.reliability.board import Tally, row
from tests.reliability.journals import check_verified, rows_of
from tests.reliability.small import mounted


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    with mounted(place, "size=600k,mode=700"):
        yield place


@row("R5")
async def test_a_disk_that_is_really_full_loses_nothing_and_goes_on_when_there_is_room(
    small_disk: Path, tally: Tally
) -> None:
    path, ballast = small_disk / "journal.db", small_disk / "ballast"
    ballast.write_bytes(b"x" * 100_000)
    store = await SqliteStore.open(path, options=PLENTY)
    receipts: list[Receipt] = []
    failure: LoomError | None = None
    while failure is None:
        assert len(receipts) < 1_000
        try:
            receipts.append(await store.append(notes("a/1", len(receipts), text="x" * 4_000)))
        except LoomError as error:
            failure = error
    tally.tried()
    assert isinstance(failure, DiskFullError | AppendUnknownError)
    there = [entry.entry_hash for entry in await collected(store.read_all())]
    tally.check(there[: len(receipts)] == [receipt.entry_hash for receipt in receipts], "an acknowledged entry is gone")
    ballast.unlink()
    if isinstance(failure, AppendUnknownError):
        receipt = await store.resolve(failure)
        receipts += [receipt] if receipt else []
    receipts.append(await store.append(notes("a/1", len(receipts))))
    await store.close()
    there = [each.entry_hash for each in rows_of(path)]
    tally.check(there == [receipt.entry_hash for receipt in receipts], "what is there is not what was acknowledged")
    check_verified(tally, path, "after there was room again")


@row("R5")
async def test_a_journal_cannot_be_begun_on_a_full_disk_and_says_so(small_disk: Path, tally: Tally) -> None:
    with pytest.raises(OSError, match="No space"):
        (small_disk / "ballast").write_bytes(b"x" * 1_000_000)
    with pytest.raises(LoomError):
        await SqliteStore.open(small_disk / "journal.db", options=PLENTY)
    (small_disk / "ballast").unlink()
    tally.tried()
    tally.check(not WriterLock(small_disk / "journal.lock").held(), "the lock is still held")
    store = await SqliteStore.open(small_disk / "journal.db", options=PLENTY)
    await store.append(notes("a/1", 0))
    await store.close()
    check_verified(tally, small_disk / "journal.db", "after there was room again")


@row("R5")
async def test_a_disk_that_turns_read_only_is_refused_by_type_and_can_be_read(small_disk: Path, tally: Tally) -> None:
    path = small_disk / "journal.db"
    store = await SqliteStore.open(path, options=PLENTY)
    receipts = [await store.append(notes("a/1", number)) for number in range(5)]
    await store.close()
    remount(small_disk, "ro")
    with pytest.raises(JournalReadOnlyError):
        await SqliteStore.open(path, options=PLENTY)
    reader = Reader(path)
    there = [entry.entry_hash for entry in await collected(reader.read_all())]
    await reader.close()
    tally.tried()
    tally.check(there == [receipt.entry_hash for receipt in receipts], "what was acknowledged cannot be read")
    remount(small_disk, "rw")
    store = await SqliteStore.open(path, options=PLENTY)
    tally.check((await store.append(notes("a/1", 5))).position == 6, "it does not go on")
    await store.close()
    check_verified(tally, path, "after it could be written again")


def remount(place: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)
