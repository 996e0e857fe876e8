"""R36: the writer stands still and everybody goes on sending. Nothing is dropped, and nothing grows without a bound."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from loom import Loom
from loom.errors import JournalBusyError, MailboxFullError
from loom.journal import Append
from loom.journal.sqlite import SqliteStore
from tests.journal.support import PLENTY, note
from tests.reliability.agents import Add, Adder
from tests.reliability.board import Tally, row
from tests.reliability.journals import check_verified, rows_of

PENDING = 100_000
MOST_BYTES = 600 * 1024 * 1024


@contextlib.contextmanager
def stalled(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let the writer stand still in its next batch until the event is set."""
    go_on = threading.Event()
    commit = store._writer.commit

    def slow(batch: list[Append]) -> object:
        go_on.wait(60)
        return commit(batch)

    monkeypatch.setattr(store._writer, "commit", slow)
    try:
        yield go_on
    finally:
        go_on.set()


@pytest.mark.seconds(25)
@row("R36")
async def test_behind_a_writer_that_stands_still_all_wait_and_none_is_dropped(
    tmp_path: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    store = await SqliteStore.open(path, options=PLENTY)
    process = psutil.Process()
    before, said = process.memory_info().rss, Counter[str]()
    draft = note("x" * 100)

    async def send(number: int) -> None:
        polite = number % 2 == 0
        while True:
            if polite:
                await store.room()
            try:
                await store.append(Append(f"a/{number}", 0, [draft]))
            except JournalBusyError:
                said["busy"] += 1
                polite = True  # who was refused waits for room
                continue
            said["appended"] += 1
            return

    with stalled(store, monkeypatch) as go_on:
        senders = [asyncio.ensure_future(send(number)) for number in range(PENDING)]
        for _ in range(5):
            await asyncio.sleep(0)
        tally.check(not said["appended"], "something was acknowledged by a writer that stands still")
        tally.check(store._queue._entries <= PLENTY.max_pending_entries, "the queue is longer than its bound")
        grown = process.memory_info().rss - before
        tally.check(grown < MOST_BYTES, f"memory grew by {grown:,} bytes")
        go_on.set()
        async with asyncio.timeout(100):
            await asyncio.gather(*senders)
    await store.close()
    tally.tried(PENDING)
    tally.check(said["busy"] > 0, "nobody was ever refused: the queue has no bound")
    tally.check(len(rows_of(path)) == PENDING == said["appended"], f"{len(rows_of(path))} of {PENDING} are there")
    check_verified(tally, path, "after the flood")
    tally.note(f"{said['busy']:,} were answered that the journal is busy, and waited; memory grew by {grown >> 20} MiB")


@row("R36")
async def test_behind_a_writer_that_stands_still_a_full_mailbox_refuses_and_keeps_what_it_took(
    tmp_path: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    async with Loom.open(f"sqlite:///{path}", actors=[Adder], by="ana") as loom:
        ref = loom.actor(Adder, "one")
        await ref.ask(Add(number=0), id="first")
        said = Counter[str]()

        async def send(number: int) -> None:
            try:
                await ref.ask(Add(number=1), id=f"c{number}")
            except MailboxFullError:
                said["full"] += 1
            else:
                said["answered"] += 1

        assert isinstance(loom.store, SqliteStore)
        with stalled(loom.store, monkeypatch) as go_on:
            senders = [asyncio.ensure_future(send(number)) for number in range(3_000)]
            while not said["full"]:
                await asyncio.sleep(0.01)
            go_on.set()
            async with asyncio.timeout(100):
                await asyncio.gather(*senders)
        state = await loom.replay.state("adder/one")
    tally.tried(3_000)
    tally.check(said["full"] + said["answered"] == 3_000, f"{said}")
    tally.check(state.sum == said["answered"], f"{state} after {said['answered']} answers")
