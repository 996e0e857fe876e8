"""Heads are durable before `append` returns, and a line that is none is not passed over in silence."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from loom.journal.sqlite import SqliteOptions, SqliteStore, WriterOptions
from loom.journal.sqlite import heads as heads_module
from loom.journal.sqlite.heads import HeadLines, HeadsFile, WrittenHead
from loom.journal.sqlite.verify import verify
from tests.journal.support import PLENTY, fill, filled, notes
from tests.sealing.powercut import disk_under

OFTEN = SqliteOptions(writer=WriterOptions(min_free_bytes=0, head_every=4))


def head(position: int) -> WrittenHead:
    return WrittenHead(position, bytes([position]) * 32)


def faults(path: Path) -> dict[str, int]:
    return {code: count for code, count in verify(path).counts.items() if code != "UNANCHORED_TAIL"}


async def journal_with_heads(path: Path) -> bytes:
    await filled(path, {"a/1": 12}, options=OFTEN)
    return path.with_suffix(".heads").read_bytes()


# --- power cuts ---------------------------------------------------------------------------------


def test_a_head_that_was_written_down_outlasts_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").touch()
    heads = HeadsFile(tmp_path / "journal.heads")
    with disk_under(tmp_path, monkeypatch) as disk:
        for count, position in enumerate((3, 7, 9), start=1):
            heads.append(head(position))
            disk.note("appended")
            for left in disk.states():
                assert left["journal.heads"].count(b"\n") == count
                assert left["journal.heads"] == (tmp_path / "journal.heads").read_bytes()


async def test_heads_of_a_journal_that_was_closed_outlast_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    with disk_under(tmp_path, monkeypatch) as disk:
        store = await SqliteStore.open(path, options=OFTEN)
        await fill(store, {"a/1": 10})
        await store.close()
        kept = path.with_suffix(".heads").read_bytes()
        assert kept.count(b"\n") == 3
        assert [left["journal.heads"] for left in disk.states()] == [kept, kept]


def test_what_a_power_cut_leaves_of_the_heads_at_any_moment_is_none_of_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = HeadsFile(tmp_path / "journal.heads")
    with disk_under(tmp_path, monkeypatch) as disk:
        for position in (1, 2, 3):
            heads.append(head(position))
    whole = (tmp_path / "journal.heads").read_bytes()
    assert all(whole.startswith(left.get("journal.heads", b"")) for left in disk.seen)


# --- lines that are none ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [b"x", b"12 " + b"g" * 64, b"012 " + b"0" * 64, b"12  " + b"0" * 64, b"12 " + b"0" * 65, b"\x00" * 70, b"-1"],
    ids=repr,
)
async def test_a_damaged_line_is_a_finding_with_its_number(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "journal.db"
    heads = await journal_with_heads(path)
    first, rest = heads.split(b"\n", 1)
    path.with_suffix(".heads").write_bytes(first + b"\n" + line + b"\n" + rest)
    assert faults(path) == {"DAMAGED": 1}
    assert any("line 2 is no position with a hash" in said for said in verify(path).lines())
    assert verify(path).anchored_through == 12


async def test_a_line_that_was_written_in_part_is_said_and_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    heads = await journal_with_heads(path)
    for torn in (heads + b"1", heads + b"13 0a1b", heads[: heads.index(b"\n") - 1] + b"\na" + heads[-10:]):
        path.with_suffix(".heads").write_bytes(torn)
        found = verify(path)
        assert found.counts["HEAD_TORN"] == 1
    path.with_suffix(".heads").write_bytes(heads + b"13 0a1b")
    store = await SqliteStore.open(path, options=PLENTY)
    await store.append(notes("a/1", 12))
    await store.close()
    assert faults(path) == {"HEAD_TORN": 1}
    assert verify(path).ok
    assert verify(path).anchored_through == 13


async def test_no_flip_of_a_bit_of_the_heads_is_passed_over_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    heads = await journal_with_heads(path)
    unseen = []
    for at in range(len(heads)):
        for mask in (0x01, 0x10, 0x80):
            flipped = bytearray(heads)
            flipped[at] ^= mask
            path.with_suffix(".heads").write_bytes(flipped)
            if not faults(path):
                unseen.append((at, mask))
    assert unseen == []


# --- the file alone -----------------------------------------------------------------------------


def test_lines_are_numbered_and_read_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "journal.heads"
    path.write_bytes(b"7 " + b"07" * 32 + b"\n\n12\nnonsense\n3 " + b"03" * 32 + b"\n9 0a")
    assert HeadsFile(path).read() == ((head(7), head(3)), (3, 6), (4,))
    assert HeadsFile(path).last() == head(3)


def test_a_file_that_is_missing_or_has_no_head_has_no_last_one(tmp_path: Path) -> None:
    path = tmp_path / "journal.heads"
    assert HeadsFile(path).read() == ((), (), ())
    assert HeadsFile(path).last() is None
    path.write_bytes(b"12 0a1b")
    assert HeadsFile(path).last() is None


@pytest.mark.parametrize("size", [64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 64 * 1024 + 30, 128 * 1024])
def test_the_last_head_is_found_at_the_end_of_a_long_file_without_reading_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = tmp_path / "journal.heads"
    line = b"7 " + b"07" * 32 + b"\n"
    text = line * 2_000 + b"9 " + b"09" * 32 + b"\n"
    path.write_bytes(text[-size:])
    asked: list[bytes] = []
    lines_in = heads_module._lines_in

    def noting(found: bytes) -> HeadLines:
        asked.append(found)
        return lines_in(found)

    monkeypatch.setattr(heads_module, "_lines_in", noting)
    assert HeadsFile(path).last() == head(9)
    (read,) = asked
    assert len(read) <= 64 * 1024
    assert read.startswith(b"7 ") or size <= 64 * 1024, "what is left of a line in the middle is passed over"


def test_where_the_end_of_a_long_file_has_no_head_all_of_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.heads"
    path.write_bytes(b"7 " + b"07" * 32 + b"\n" + b"1" * 70_000)
    assert HeadsFile(path).last() == head(7)


def test_a_head_after_a_torn_line_is_on_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "journal.heads"
    heads = HeadsFile(path)
    heads.append(head(3))
    path.write_bytes(path.read_bytes() + b"5 0a")
    heads.append(head(7))
    heads.append(head(9))
    assert path.read_bytes().splitlines() == [b"3 " + b"03" * 32, b"5 0a", b"7 " + b"07" * 32, b"9 " + b"09" * 32]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_torn_line_of_one_byte_is_ended_too(tmp_path: Path) -> None:
    path = tmp_path / "journal.heads"
    path.write_bytes(b"5")
    HeadsFile(path).append(head(7))
    assert HeadsFile(path).read() == ((head(7),), (1,), ())


def test_a_head_that_is_written_in_part_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "write", lambda descriptor, text: write(descriptor, text[:10]))
    with pytest.raises(OSError, match=r"position \[7\] was written in part"):
        HeadsFile(tmp_path / "journal.heads").append(head(7))
    assert len(os.listdir("/proc/self/fd")) == before


def test_only_a_new_file_has_its_directory_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    before = len(os.listdir("/proc/self/fd"))
    heads = HeadsFile(tmp_path / "journal.heads")
    heads.append(head(1))
    heads.append(head(2))
    assert synced == [False, True, False]
    assert len(os.listdir("/proc/self/fd")) == before
