"""R15 and R16: a PostgreSQL server that is stopped and killed under load, and readers that follow racing writers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from loom.errors import AppendRefusedError, AppendUnknownError, JournalBusyError, JournalReadOnlyError
from loom.journal import Append, Receipt
from loom.journal.postgres import PostgresStore
from loom.journal.postgres.verify import verify_server
from tests.journal.support import note
from tests.postgres_server import Place, Server, served
from tests.reliability.board import Tally, row

ROUNDS = 6
TERMINATIONS = 4
JOURNALS = 4
ENTRIES = 120
_AGAIN = (AppendRefusedError, JournalBusyError, JournalReadOnlyError)


@pytest.fixture
def server() -> Iterator[Server]:
    with served({"fsync": "on"}) as server:
        yield server


class Load:
    """What some writers append, and what they were told of it."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.acknowledged: dict[str, tuple[str, int, bytes]] = {}
        self.is_over = asyncio.Event()

    async def write(self, store: PostgresStore, journal: str) -> None:
        """Append one entry after the other until it is over; each is tried until its outcome is known."""
        sequence = number = 0
        await self._acquired(store, journal)
        while not self.is_over.is_set():
            text, number = f"{journal}:{number}", number + 1
            while True:
                receipt = await self._tried(store, Append(journal, sequence, [note(text)]))
                if receipt is not None:
                    break
                await asyncio.sleep(0.01)
            sequence = receipt.sequence
            self.acknowledged[text] = journal, sequence, receipt.entry_hash
            self.tally.tried()

    async def _acquired(self, store: PostgresStore, journal: str) -> None:
        while True:
            with contextlib.suppress(*_AGAIN):
                await store.acquire(journal)
                return
            await asyncio.sleep(0.05)

    async def _tried(self, store: PostgresStore, append: Append) -> Receipt | None:
        try:
            return await store.append(append)
        except AppendUnknownError as unknown:
            self.tally.heard["unknown"] += 1
            while True:
                with contextlib.suppress(*_AGAIN):
                    return await store.resolve(unknown)
                await asyncio.sleep(0.05)
        except _AGAIN as error:
            self.tally.heard[type(error).__name__] += 1
            self.tally.check(type(error).__name__ != "SequenceConflictError", error)
            return None


@row("R15")
async def test_a_server_that_is_stopped_and_killed_under_load_loses_and_doubles_nothing(
    tally: Tally, server: Server, tmp_path: Path
) -> None:
    patient, hasty = Place(server, tmp_path), Place(server, tmp_path, reconnect_timeout_s=0.0)
    hasty.schema = patient.schema
    stores = [await patient.open(node="patient"), await hasty.open(node="hasty")]
    load = Load(tally)
    async with asyncio.TaskGroup() as group:
        for which, store in enumerate(stores):
            for number in range(JOURNALS):
                group.create_task(load.write(store, f"{which}/{number}"))
        try:
            for each in range(ROUNDS):
                await _grown(load, 40)
                await _disturbed(server, patient, ("terminate", "immediate", "kill")[each % 3])
                tally.heard[("terminate", "immediate", "kill")[each % 3]] += 1
            await _grown(load, 40)
        finally:
            load.is_over.set()
    entries = [recorded async for recorded in stores[0].read_all()]
    texts = Counter(json.loads(each.body or b"{}")["text"] for each in entries)
    tally.check([each.position for each in entries] == list(range(1, len(entries) + 1)), "there is a gap")
    tally.check(set(texts.values()) <= {1}, [text for text, count in texts.items() if count > 1])
    found = {(each.journal, each.sequence): each.entry_hash for each in entries}
    for text, (journal, sequence, digest) in load.acknowledged.items():
        tally.check(found.get((journal, sequence)) == digest, f"{text} was acknowledged and is not there")
    await hasty.close(drop=False)
    await patient.close()
    tally.heard["entries"] = len(entries)


async def _grown(load: Load, by: int) -> None:
    """Wait until so many more entries are acknowledged."""
    until = len(load.acknowledged) + by
    async with asyncio.timeout(60):
        while len(load.acknowledged) < until:
            await asyncio.sleep(0.01)


async def _disturbed(server: Server, place: Place, how: str) -> None:
    if how == "terminate":
        for _ in range(TERMINATIONS):
            connection = await place.connect()
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'loom%'"
            )
            await connection.close()
            await asyncio.sleep(0.05)
        return
    await asyncio.to_thread(server.stop, "immediate") if how == "immediate" else await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)


@row("R16")
async def test_a_reader_that_follows_racing_writers_skips_nothing(tally: Tally, server: Server, tmp_path: Path) -> None:
    place = Place(server, tmp_path)
    writers = [await place.open() for _ in range(3)]
    reader = await place.open(page=7)
    raw = await place.connect()
    seen: list[int] = []
    done = asyncio.Event()

    async def write(number: int) -> None:
        for sequence in range(ENTRIES):
            await writers[number].append(Append(f"own/{number}", sequence, [note()]))
            await asyncio.sleep(tally.dice.random() * 0.004)

    async def hold() -> None:
        """Begin transactions that wait with entries of their own, and take them back."""
        while not done.is_set():
            transaction = raw.transaction()
            await transaction.start()
            name = [f"held/{tally.dice.random()}"]
            await raw.fetch("SELECT * FROM begin_append($1, $2)", writers[0].writer, name)
            await asyncio.sleep(tally.dice.random() * 0.01)
            await transaction.rollback()
            await asyncio.sleep(0.005)

    async def follow() -> None:
        while not done.is_set() or (seen[-1] if seen else 0) < len(writers) * ENTRIES:
            seen.extend([each.position async for each in reader.read_all(after=seen[-1] if seen else 0)])
            await asyncio.sleep(0.001)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(follow())
        group.create_task(hold())
        await asyncio.gather(*(write(number) for number in range(len(writers))))
        done.set()
    tally.tried(len(seen))
    tally.check(seen == list(range(1, len(writers) * ENTRIES + 1)), f"{len(seen)} seen, the last {seen[-1:]}")
    tally.check((await verify_server(place.url(), tmp_path / "none.heads")).ok, "it does not verify")
    skipped, written = await _naive(place, tally)
    tally.control(trials=written, found=skipped)
    await raw.close()
    await place.close()


async def _naive(place: Place, tally: Tally) -> tuple[int, int]:
    """Follow a table whose numbers are given out as its rows are inserted; return how many a cursor skips."""
    async with contextlib.AsyncExitStack() as stack:
        writers = [await stack.enter_async_context(_connected(place)) for _ in range(4)]
        reader = await stack.enter_async_context(_connected(place))
        await reader.execute("CREATE TABLE naive (position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)")
        seen: set[int] = set()
        done = asyncio.Event()

        async def write(connection: Any) -> None:
            for _ in range(60):
                transaction = connection.transaction()
                await transaction.start()
                await connection.execute("INSERT INTO naive DEFAULT VALUES")
                await asyncio.sleep(tally.dice.random() * 0.006)
                await (transaction.rollback() if tally.dice.random() < 0.1 else transaction.commit())

        async def follow() -> None:
            last = 0
            while not done.is_set():
                rows = await reader.fetch("SELECT position FROM naive WHERE position > $1 ORDER BY 1", last)
                seen.update(row[0] for row in rows)
                last = rows[-1][0] if rows else last
                await asyncio.sleep(0.001)

        async with asyncio.TaskGroup() as group:
            group.create_task(follow())
            await asyncio.gather(*(write(each) for each in writers))
            done.set()
        there = {row[0] for row in await reader.fetch("SELECT position FROM naive")}
        return len(there - seen), len(there)


@contextlib.asynccontextmanager
async def _connected(place: Place) -> AsyncIterator[Any]:
    connection = await place.connect()
    try:
        yield connection
    finally:
        await connection.close()
