"""Heads are durable before `append` returns, and a line that is none is not passed over in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from loom.journal.sqlite import SqliteOptions, SqliteStore, WriterOptions
from loom.journal.sqlite.heads import HeadsFile, WrittenHead
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
