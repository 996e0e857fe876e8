"""Appending to a journal that has no owner: again after a lost race, from what was appended first, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from loom.errors import AppendUnknownError, SequenceConflictError
from loom.journal import Append
from loom.journal.appending import RACES, Prepared, append_last, append_prepared
from loom.journal.sqlite import SqliteStore
from tests.journal.support import collected, note, notes


class Unsure:
    """A store whose appends end as a test says; `known` is what it finds out about one afterwards."""

    def __init__(self, ends: Sequence[Exception | str], *, known: str | None = None) -> None:
        self._ends = list(ends)
        self._known = known
        self.appends: list[Append] = []
        self.asked: list[Exception] = []

    async def append(self, append: Append) -> Any:
        self.appends.append(append)
        end = self._ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end

    async def resolve(self, unknown: Exception) -> Any:
        self.asked.append(unknown)
        return self._known


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr("loom.journal.appending.asyncio", type("Asyncio", (), {"sleep": sleep}))
    return found


async def appended(store: Unsure, *, nothing_after: int = 1_000) -> Any:
    async def prepare() -> Prepared | None:
        made = len(store.appends)
        return None if made >= nothing_after else Prepared(made, (note(f"{made}"),))

    return await append_prepared(store, "loom/test", prepare)  # type: ignore[arg-type]


CONFLICT = SequenceConflictError(journal="loom/test", at=9, expected=0)
UNKNOWN = AppendUnknownError("the disk said nothing", journal="loom/test", sequence=1, entry_hash=b"")


async def test_a_lost_race_is_run_again_from_what_is_there_then_after_a_longer_pause(pauses: list[float]) -> None:
    store = Unsure([CONFLICT, CONFLICT, CONFLICT, "done"])
    assert await appended(store) == "done"
    assert [(each.journal, each.expected) for each in store.appends] == [("loom/test", n) for n in range(4)]
    assert pauses == [0.001, 0.002, 0.003]


async def test_what_another_made_needless_in_a_race_is_not_appended(pauses: list[float]) -> None:
    assert await appended(Unsure([CONFLICT, "done"]), nothing_after=1) is None
    assert len(pauses) == 1


async def test_races_that_are_always_lost_end(pauses: list[float]) -> None:
    store = Unsure([CONFLICT] * 100)
    with pytest.raises(SequenceConflictError):
        await appended(store)
    assert len(store.appends) == RACES == 50
    assert len(pauses) == RACES - 1


async def test_an_append_whose_outcome_is_unknown_is_resolved() -> None:
    found = Unsure([UNKNOWN], known="receipt")
    assert await appended(found) == "receipt"
    lost = Unsure([UNKNOWN])
    with pytest.raises(AppendUnknownError) as raised:
        await appended(lost)
    assert found.asked == lost.asked == [raised.value] == [UNKNOWN]


async def test_entries_are_appended_at_the_end_wherever_that_is(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "j.db")
    await store.append(notes("loom/test", 0, 2))
    receipts = await asyncio.gather(*(append_last(store, "loom/test", (note("a"), note("b"))) for _ in range(3)))
    assert sorted(receipt.sequence for receipt in receipts) == [4, 6, 8]
    texts = [each.entry.text for each in await collected(store.read("loom/test"))]  # type: ignore[attr-defined]
    assert texts == ["1", "2", *["a", "b"] * 3]
    await store.close()
