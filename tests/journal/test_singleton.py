"""A journal folded by one object: each entry counts once, also if several read it at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loom.errors import JournalReadOnlyError
from loom.journal import Draft, Entry, Recorded, draft
from loom.journal.following import followers_of
from loom.journal.singleton import SingletonJournal
from loom.journal.sqlite import SqliteStore
from tests.journal.processes import Node
from tests.journal.support import NotedEntry, notes


async def test_an_entry_is_folded_once_also_if_readings_overlap(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "j.db")
    await store.append(notes("loom/test", 0, 50))
    folded: list[int] = []

    def fold(recorded: Recorded) -> None:
        folded.append(recorded.sequence)

    journal = SingletonJournal(store, "loom/test", fold)
    await asyncio.gather(*(journal.load() for _ in range(4)))
    await store.append(notes("loom/test", 50, 50))
    await asyncio.gather(*(journal.load() for _ in range(4)))
    assert folded == list(range(1, 101))
    await store.close()


class Reading:
    """A reader that is no store."""

    shared = False

    async def read(self, journal: str, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        return
        yield


async def test_a_journal_says_its_name_how_far_it_is_folded_and_whether_it_decides_who_may_act(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "j.db")
    await store.append(notes("loom/test", 0, 3))
    journal = SingletonJournal(store, "loom/test", lambda _: None)
    assert (journal.name, journal.sequence, journal.writable, journal.controls) == ("loom/test", 0, True, False)
    await journal.load()
    assert journal.sequence == 3
    node = Node(store)
    followers = followers_of(node)
    assert followers is not None
    for controls in (False, True):
        each = SingletonJournal(node, f"loom/{controls}".lower(), lambda _: None, controls=controls)
        await each.load()
        assert each.name in followers.names
        assert (each.name in followers.controls()) == controls
    await store.close()


async def test_an_entry_is_made_from_what_is_there_drafted_and_folded_at_once(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "j.db")
    seen: list[str] = []
    drafted: list[Entry] = []

    def make_draft(entry: Entry) -> Draft:
        drafted.append(entry)
        return draft(entry)

    def fold(recorded: Recorded) -> None:
        assert isinstance(recorded.entry, NotedEntry)
        seen.append(recorded.entry.text)

    journal = SingletonJournal(store, "loom/test", fold, make_draft=make_draft)
    await store.append(notes("loom/test", 0, text="before"))
    calls = [journal.append_if_missing(lambda: None if "mine" in seen else NotedEntry(text="mine")) for _ in range(3)]
    await asyncio.gather(*calls)
    assert seen == ["before", "mine"]
    assert drafted == [NotedEntry(text="mine")]
    await store.close()


async def test_a_call_that_is_cancelled_still_appends_and_folds(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "j.db")
    folded = asyncio.Event()
    journal = SingletonJournal(store, "loom/test", lambda _: folded.set())
    call = asyncio.create_task(journal.append_if_missing(lambda: NotedEntry(text="mine")))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(folded.wait(), 10)
    assert (await store.head("loom/test")).sequence == 1
    await store.close()


async def test_a_journal_that_is_open_for_reading_refuses_what_is_missing_and_nothing_else() -> None:
    journal = SingletonJournal(Reading(), "loom/test", lambda _: None)  # type: ignore[arg-type]
    assert not journal.writable
    await journal.append_if_missing(lambda: None)
    with pytest.raises(JournalReadOnlyError, match=r"journal \[loom/test\]"):
        await journal.append_if_missing(NotedEntry)
