"""Pages of a journal are bounded in number and in bytes, and the streams that they are read from are closed."""

from __future__ import annotations

from pathlib import Path

import pytest

from loom.errors import ProjectionFailedError
from loom.journal.sqlite import SqliteStore
from loom.projections import source
from loom.projections.projection import Checkpoint
from loom.projections.source import next_page, strangers
from tests.projections.journals import open_store, request, write
from tests.projections.streams import Watched


async def filled(directory: Path, entries: int) -> SqliteStore:
    store = await open_store(directory)
    for _ in range(entries):
        await write(store, "actor/a", request("x"))
    return store


async def test_a_page_ends_where_it_was_asked_to_and_its_stream_is_closed(tmp_path: Path) -> None:
    store = await filled(tmp_path, 5)
    watched = Watched(store)
    assert [each.position for each in await next_page(watched, 1, 4)] == [2, 3, 4]
    assert [stream.closed for stream in watched.streams] == [True]
    await store.close()


async def test_a_page_of_large_entries_is_bounded_and_its_stream_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await filled(tmp_path, 5)
    (first,) = [each async for each in store.read_all(until=1)]
    monkeypatch.setattr(source, "_PAGE_BYTES", 2 * len(first.body or b""))
    watched = Watched(store)
    assert [each.position for each in await next_page(watched, 0, 5)] == [1, 2, 3]
    assert [(stream.read, stream.closed) for stream in watched.streams] == [(3, True)]
    await store.close()


async def test_a_page_that_cannot_be_read_leaves_no_stream_open(tmp_path: Path) -> None:
    store = await filled(tmp_path, 3)
    watched = Watched(store, fails_at=2)
    with pytest.raises(OSError, match="the disk is gone"):
        await next_page(watched, 0, 3)
    with pytest.raises(ProjectionFailedError, match=r"no entry after position \[3\]; expected them up to \[7\]"):
        await next_page(watched, 3, 7)
    assert [stream.closed for stream in watched.streams] == [True, True]
    await store.close()


async def test_what_was_folded_of_another_journal_is_named(tmp_path: Path) -> None:
    store = await filled(tmp_path, 3)
    second, third = [each async for each in store.read_all(after=1)]

    def at(name: str, position: int, entry_hash: bytes) -> Checkpoint:
        return Checkpoint(name, 1, position, entry_hash, None)

    folded = [
        at("empty", 0, b""),
        at("ours", 2, second.entry_hash),
        at("other", 2, third.entry_hash),
        at("last", 3, third.entry_hash),
        at("ahead", 9, third.entry_hash),
    ]
    assert await strangers(store, folded, until=3) == ["other", "ahead"]
    assert await strangers(store, folded, until=2) == ["other", "last", "ahead"]
    await store.close()
