"""The format floor: what a loom writes while an earlier one may read, who raises it, and who is refused after that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from loom.background import Background
from loom.errors import AdmissionError, JournalFormatError, JournalLockedError, WriterFencedError
from loom.identity import Identity
from loom.journal import Append, Entry, draft, lowering
from loom.journal.floor import FLOOR_JOURNAL, Floor
from loom.journal.following import Follower, followers_of
from loom.journal.kinds import FloorRaisedEntry
from tests.journal.support import notes
from tests.journal.test_postgres_bad_input import one_line
from tests.postgres_server import Place

DANA = Identity("dana", "os_user:1000", "shell")


class WeighedEntry(Entry):
    """Schema 2 has the weight in grams; it was in whole kilograms."""

    kind: ClassVar[str] = "test.weighed"
    schema_version: ClassVar[int] = 2

    grams: int

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        return {"step": None, "grams": body["kilograms"] * 1_000}

    @classmethod
    def downcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any] | None:
        whole, rest = divmod(body["grams"], 1_000)
        return None if rest else {"step": None, "kilograms": whole}


class InventedEntry(Entry):
    kind: ClassVar[str] = "test.invented"


class ForgottenEntry(Entry):
    kind: ClassVar[str] = "test.forgotten"
    schema_version: ClassVar[int] = 2


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be a loom of level 2."""
    monkeypatch.setattr(lowering, "LEVEL", 2)
    changes = {WeighedEntry.kind: (1, 2), InventedEntry.kind: (0, 1), ForgottenEntry.kind: (1, 2)}
    monkeypatch.setitem(lowering.CHANGES, 2, changes)
    yield
    lowering.LOWERED.clear()


async def test_below_the_floor_entries_are_written_in_the_older_shape_and_above_it_in_their_own(
    place: Place, newer: None
) -> None:
    assert draft(WeighedEntry(grams=2_000)).schema_version == 2
    store = await place.open()
    older = draft(WeighedEntry(grams=2_000))
    assert (older.schema_version, older.body) == (1, b'{"step":null,"kilograms":2}')
    for entry, why in (
        (WeighedEntry(grams=2_500), "it says what that cannot"),
        (InventedEntry(), "schema \\[0\\]"),
        (ForgottenEntry(), "override ForgottenEntry.downcast"),
    ):
        with pytest.raises(AdmissionError, match=why) as refused:
            draft(entry)
        one_line(refused.value)
    await store.append(Append("a/1", 0, [older]))
    assert await Floor(store).raise_to(2, by=DANA, reason="all are new")
    assert not await Floor(store).raise_to(2, by=DANA)
    assert draft(WeighedEntry(grams=2_500)).schema_version == 2
    draft(InventedEntry())
    [found] = [each async for each in store.read("a/1")]
    assert found.entry == WeighedEntry(grams=2_000)
    [raised] = [each async for each in store.read(FLOOR_JOURNAL)]
    assert isinstance(raised.entry, FloorRaisedEntry)
    assert (raised.entry.level, raised.entry.identity) == (2, DANA)
    await store.close()
    assert not lowering.LOWERED


async def test_a_floor_is_not_raised_over_a_process_of_an_earlier_loom_unless_it_is_silent(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = await place.open(beat_s=60.0)
    monkeypatch.setattr(lowering, "LEVEL", 2)
    store = await place.open()
    with pytest.raises(JournalLockedError, match=f"\\[{older.writer} .* of loom .* below level \\[2\\]") as refused:
        await Floor(store).raise_to(2, by=DANA)
    one_line(refused.value)
    assert [each async for each in store.read(FLOOR_JOURNAL)] == []
    connection = await place.connect()
    silent = "UPDATE writers SET beat_at = now() - interval '1 minute' WHERE writer = $1"
    await connection.execute(silent, older.writer)
    await connection.close()
    assert await Floor(store).raise_to(2, by=DANA)
    with pytest.raises(WriterFencedError):
        await older.append(notes("a/1", 0))
    await store.append(notes("a/1", 0))


async def test_a_loom_that_knows_less_than_the_floor_is_refused_by_name(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(lowering, "LEVEL", 2)
        await Floor(await place.open(node="newer")).raise_to(2, by=DANA)
    with pytest.raises(
        JournalFormatError, match=r"floor \[2\], which \[dana\] raised.*at most \[1\].*install"
    ) as refused:
        await place.open(node="older")
    one_line(refused.value)
    with monkeypatch.context() as newer:
        newer.setattr(lowering, "LEVEL", 2)
        await (await place.open(node="older")).append(notes("a/1", 0))  # its place was given up


async def test_a_process_that_hears_of_a_floor_above_its_own_level_ends(place: Place) -> None:
    """As one that was opened while the floor was being raised."""
    older, other = await place.open(poll_s=0.05), await place.open()
    heard: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    older.on_fenced(heard.set_result)
    followers = followers_of(older)
    assert followers is not None
    background = Background()
    Follower(older, followers, background=background).start()
    entry = FloorRaisedEntry(level=2, release="9.0", reason="", **DANA.written())
    await other.append(Append(FLOOR_JOURNAL, 0, [draft(entry)]))
    assert isinstance(await asyncio.wait_for(heard, 20), WriterFencedError)
    with pytest.raises(WriterFencedError):
        await older.append(notes("a/1", 0))
    await background.close()
