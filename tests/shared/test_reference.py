"""The reference keeps the contract of shared stores; a store without epochs, and a naive cursor, do not."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loom.journal import JournalStore, Recorded
from loom.journal.sqlite.verify import verify
from tests.contracts.shared_journal_store import JOURNAL, SharedJournalStoreContract, texts
from tests.journal.support import collected, notes
from tests.shared.place import ReferencePlace, served


class TestReferenceStore(SharedJournalStoreContract):
    """Runs the contract on a journal of its own for each test."""

    @pytest.fixture
    async def place(self, tmp_path: Path) -> AsyncIterator[ReferencePlace]:
        async with served(tmp_path) as place:
            yield place


PROMISES = SharedJournalStoreContract()


async def test_a_store_without_epochs_breaks_the_contract(tmp_path: Path) -> None:
    async with served(tmp_path, has_epochs=False) as place:
        with pytest.raises(AssertionError):
            await PROMISES.test_nothing_of_a_pipeline_of_a_former_owner_is_written_not_even_what_would_fit(place)
        (found, _) = place.opened
        assert texts(await collected(found.read(JOURNAL)))[-2:] == ["of the new", "of the old"], "the fourth has fit"


class _NaivePlace:
    """Opens stores whose cursor takes a position for visible that another transaction has yet to make so."""

    opener = ReferencePlace.opener

    def __init__(self, place: ReferencePlace) -> None:
        self._place = place
        self.address = place.address

    async def open(self, *, page: int = 1_000) -> JournalStore:
        store = await self._place.open(page=page)
        read_all, chance = store.read_all, random.Random(7)

        async def naive(*, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
            async for each in read_all(after=after, until=until):
                if chance.random() > 0.1:  # the rest is still to be committed, by a transaction that began before
                    yield each

        store.read_all = naive  # type: ignore[method-assign]
        return store


async def test_a_naive_cursor_breaks_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.contracts.shared_journal_store.PATIENCE_S", 1.0)
    async with served(tmp_path) as place:
        with pytest.raises(AssertionError):
            await PROMISES.test_readers_that_follow_see_every_position_once_and_in_order(_NaivePlace(place))


async def test_a_journal_that_several_processes_have_written_verifies(tmp_path: Path) -> None:
    async with served(tmp_path) as place:
        one, other = await place.open(), await place.open()
        await one.acquire("desk/1")
        await other.acquire("desk/2")
        await other.append(notes("desk/2", 0))
        await one.append(notes("desk/1", 0))  # in an earlier epoch than the entry before it, of another journal
        epochs = [each.epoch async for each in one.read_all()]
        assert epochs[0] > epochs[1]
    assert verify(Path(place.address).with_suffix(".db")).ok
