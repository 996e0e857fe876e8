"""What a journal in PostgreSQL does for several processes, beside the contract of all shared stores."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from loom.errors import AppendRefusedError, JournalLockedError, LoomError, WriterFencedError
from loom.journal import Receipt
from tests.journal.support import assert_chained, collected, notes
from tests.postgres_server import Place, at_once


async def test_a_pipeline_of_a_former_owner_is_refused_to_its_last_append(place: Place) -> None:
    a, b = await place.open(), await place.open()
    assert not (await a.acquire("desk/1")).taken_over
    await a.append(notes("desk/1", 0))
    assert (await b.acquire("desk/1")).taken_over
    for sequence in range(1, 4):
        await b.append(notes("desk/1", sequence, text="of b"))
    late = [a.submit(notes("desk/1", sequence, text="of a")) for sequence in range(1, 7)]
    outcomes = await asyncio.gather(*late, return_exceptions=True)
    assert [type(each) for each in outcomes] == [WriterFencedError] * 6
    assert (await b.head("desk/1")).sequence == 4


async def test_what_was_submitted_before_a_journal_is_acquired_again_is_refused(place: Place) -> None:
    a, b = await place.open(), await place.open()
    await a.acquire("desk/1")
    connection = await place.connect()
    async with connection.transaction():  # the batch waits for the tail, so that it is written after `acquire`
        await connection.execute("SELECT 1 FROM tail FOR UPDATE")
        before = a.submit(notes("desk/1", 0))
        await b.acquire("desk/1")
        await a.acquire("desk/1")
    await connection.close()
    with pytest.raises(WriterFencedError):
        await before
    assert (await a.append(notes("desk/1", 0))).sequence == 1


async def test_an_epoch_that_the_server_lost_holds_as_long_as_no_other_process_has_one(place: Place) -> None:
    a, b = await place.open(), await place.open()
    await a.acquire("desk/1")
    await a.append(notes("desk/1", 0))
    a._claims["desk/1"] += 2  # as though the server had lost the latest `acquire` in a crash
    assert (await a.append(notes("desk/1", 1))).sequence == 2
    await b.acquire("desk/1")
    await b.acquire("desk/1")
    a._claims["desk/1"] += 100
    with pytest.raises(WriterFencedError):
        await a.append(notes("desk/1", 2))


async def test_a_process_that_is_fenced_hears_of_it_without_writing(place: Place) -> None:
    a, b = await place.open(beat_s=0.05, poll_s=0.05), await place.open()
    heard: asyncio.Future[LoomError] = asyncio.get_running_loop().create_future()
    a.on_fenced(heard.set_result)
    await b.fence(a.writer)
    assert isinstance(await asyncio.wait_for(heard, 10), WriterFencedError)
    with pytest.raises(WriterFencedError):
        await a.append(notes("desk/1", 0))
    with pytest.raises(AppendRefusedError, match="not known"):
        await b.fence(10_000)


async def test_the_others_hear_of_an_append_sooner_than_they_look(place: Place) -> None:
    a, b = await place.open(), await place.open(poll_s=60.0)
    heard = asyncio.Event()
    b.on_commit(lambda position: heard.set())
    while not heard.is_set():  # b listens some time after it is open: until then nothing is to be heard
        receipt = await a.append(notes("desk/1", (await a.head("desk/1")).sequence))
        with_in = asyncio.wait_for(heard.wait(), 0.5)
        await asyncio.gather(with_in, return_exceptions=True)
    assert b.acknowledged >= 1
    assert await b.refresh() == receipt.position


async def test_processes_that_write_at_once_leave_one_gapless_chain(place: Place) -> None:
    stores = [await place.open() for _ in range(3)]

    async def run(number: int) -> None:
        store = stores[number]
        for sequence in range(12):
            await store.append(notes(f"own/{number}", sequence))
            while True:
                try:
                    await store.append(notes("all/1", (await store.head("all/1")).sequence))
                    break
                except AppendRefusedError:
                    pass

    await asyncio.gather(*(run(number) for number in range(3)))
    entries = await collected(stores[0].read_all())
    assert_chained(entries)
    assert len(entries) == 72


async def test_processes_that_open_an_empty_database_at_once_make_one_journal(place: Place) -> None:
    stores = await asyncio.gather(*(place.open(node=str(number)) for number in range(4)))
    assert len({store.writer for store in stores}) == 4
    await asyncio.gather(*(store.append(notes(f"a/{store.writer}", 0)) for store in stores))
    assert_chained(await collected(stores[0].read_all()))


async def test_processes_that_wait_for_each_other_to_make_the_tables_make_one_journal(place: Place) -> None:
    opening = [partial(place.open, node=str(number)) for number in range(3)]
    stores = await at_once(place.server, f"loom schema {place.schema}", *opening)
    assert len({store.writer for store in stores}) == 3
    await stores[0].append(notes("a/1", 0))
    assert await stores[2].refresh() == 1


async def test_a_directory_is_the_place_of_one_process(place: Place) -> None:
    await place.open(node="one")
    with pytest.raises(JournalLockedError):
        await place.open(node="one")


@pytest.mark.parametrize("there", [0, 2])
async def test_a_journal_that_is_acquired_while_a_batch_is_under_way_keeps_its_new_owner(
    place: Place, there: int
) -> None:
    """Heads are not locked before the guard changes them: it finds that one is under a later epoch, and refuses."""
    a, b = await place.open(), await place.open()
    for sequence in range(there):
        await a.append(notes("desk/1", sequence))

    class Overtaken:
        """A connection of a writer: before its rows come, another process acquires the journal."""

        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

        async def copy_records_to_table(self, *given: Any, **named: Any) -> Any:
            a._writer._connection = self._connection
            assert (await b.acquire("desk/1")).sequence == there
            return await self._connection.copy_records_to_table(*given, **named)

    await a.acquire("desk/1")
    a._writer._connection = Overtaken(a._writer._connection)
    both = a.submit(notes("desk/1", there)), a.submit(notes("desk/2", 0))
    lost, kept = await asyncio.gather(*both, return_exceptions=True)
    assert isinstance(lost, WriterFencedError)
    assert isinstance(kept, Receipt)
    assert (await b.append(notes("desk/1", there))).sequence == there + 1
    assert_chained(await collected(b.read_all()))
