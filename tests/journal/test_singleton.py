"""A journal folded by one object: each entry counts once, also if several read it at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from loom.journal import Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.sqlite import SqliteStore
from tests.journal.support import notes


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
