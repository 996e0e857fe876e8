"""What every store promises that several processes write: subclass `SharedJournalStoreContract`, bring `place`.

Each test opens the store twice or more: what is opened is a writer of its own, as another process would be. Some start
real processes, which are stopped and killed. `place` is a `SharedPlace`.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import pytest

from loom.errors import (
    AppendRefusedError,
    AppendUnknownError,
    DuplicateCommandError,
    LoomError,
    SequenceConflictError,
    WriterFencedError,
)
from loom.journal import Append, Head, JournalStore, Receipt, Recorded
from loom.journal.chain import genesis
from tests.journal.support import assert_chained, collected, environment, notes, received

JOURNAL = "desk/1"
APPENDS = 40
PATIENCE_S = 20.0


class SharedPlace(Protocol):
    """Where a store keeps its journals; the fixture closes what is open."""

    opener: str
    """`module:function` of the coroutine that opens the store at an address in another process."""
    address: str

    async def open(self, *, page: int = 1_000) -> JournalStore:
        """Open the store as one more process."""
        ...


class SharedJournalStoreContract:
    """The promises, one test each."""

    # --- who writes a journal -------------------------------------------------------------------

    async def test_nothing_of_a_pipeline_of_a_former_owner_is_written_not_even_what_would_fit(
        self, place: SharedPlace
    ) -> None:
        """Four appends at 4, 5, 6, 7 are under way. The new owner has written 5, 6, 7: the fourth fits."""
        old, new = await place.open(), await place.open()
        await old.acquire(JOURNAL)
        await old.append(notes(JOURNAL, 0, 4, text="of the old"))
        head = await new.acquire(JOURNAL)
        assert (head.sequence, head.taken_over) == (4, True)
        for expected in (4, 5, 6):
            await new.append(notes(JOURNAL, expected, text="of the new"))
        late = [old.submit(notes(JOURNAL, expected, text="of the old")) for expected in (4, 5, 6, 7)]
        outcomes = await asyncio.gather(*late, return_exceptions=True)
        assert [type(each) for each in outcomes] == [WriterFencedError] * 4
        assert texts(await collected(new.read(JOURNAL))) == ["of the old"] * 4 + ["of the new"] * 3

    async def test_a_former_owner_is_refused_also_where_the_new_one_has_written_nothing(
        self, place: SharedPlace
    ) -> None:
        old, new = await place.open(), await place.open()
        await old.acquire(JOURNAL)
        await old.append(notes(JOURNAL, 0))
        await new.acquire(JOURNAL)
        with pytest.raises(WriterFencedError):
            await old.append(notes(JOURNAL, 1))
        await new.append(notes(JOURNAL, 1))
        assert (await old.acquire(JOURNAL)).sequence == 2
        await old.append(notes(JOURNAL, 2))
        with pytest.raises(WriterFencedError):
            await new.append(notes(JOURNAL, 3))
        epochs = [each.epoch for each in await collected(new.read(JOURNAL))]
        assert epochs == sorted(set(epochs)), "each acquire takes a higher epoch"

    async def test_a_lost_journal_says_nothing_about_the_others(self, place: SharedPlace) -> None:
        old, new = await place.open(), await place.open()
        heard: list[LoomError] = []
        old.on_fenced(heard.append)
        for journal in ("desk/1", "desk/2"):
            await old.acquire(journal)
            await old.append(notes(journal, 0))
        await new.acquire("desk/1")
        lost, kept = await asyncio.gather(
            old.submit(notes("desk/1", 1)), old.submit(notes("desk/2", 1)), return_exceptions=True
        )
        assert isinstance(lost, WriterFencedError)
        assert isinstance(kept, Receipt)
        assert heard == []

    async def test_epochs_never_fall_within_a_journal_though_others_are_written_in_later_ones(
        self, place: SharedPlace
    ) -> None:
        one, other = await place.open(), await place.open()
        await one.acquire("desk/1")
        await other.acquire("desk/2")
        for sequence in range(3):
            await one.append(notes("desk/1", sequence))
            await other.append(notes("desk/2", sequence))
        await other.acquire("desk/1")
        await other.append(notes("desk/1", 3))
        last: dict[str, int] = {}
        for each in await collected(one.read_all()):
            assert each.epoch >= last.get(each.journal, 0)
            last[each.journal] = each.epoch

    async def test_a_journal_that_was_never_acquired_is_appended_to_by_its_sequence(self, place: SharedPlace) -> None:
        """Registries append one entry at a time, and read again where another process was faster."""
        one, other = await place.open(), await place.open()
        await one.append(notes("loom/x", 0))
        await other.append(notes("loom/x", 1))
        with pytest.raises(SequenceConflictError) as stale:
            await one.append(notes("loom/x", 1))
        assert (stale.value.expected, stale.value.at) == (1, 2)
        assert (await one.append(notes("loom/x", 2))).sequence == 3

    async def test_an_append_without_acquire_that_comes_late_does_not_take_a_journal_from_its_owner(
        self, place: SharedPlace
    ) -> None:
        owner, other = await place.open(), await place.open()
        await owner.acquire(JOURNAL)
        await owner.append(notes(JOURNAL, 0, 2))
        with pytest.raises(AppendRefusedError):
            await other.append(notes(JOURNAL, 0))
        await owner.append(notes(JOURNAL, 2))

    async def test_acquire_returns_the_head_and_says_whether_another_process_had_the_journal(
        self, place: SharedPlace
    ) -> None:
        one, other = await place.open(), await place.open()
        assert await one.acquire(JOURNAL) == Head(0, genesis("default", JOURNAL))
        receipt = await one.append(notes(JOURNAL, 0))
        assert await one.acquire(JOURNAL) == Head(1, receipt.entry_hash)
        assert await other.acquire(JOURNAL) == Head(1, receipt.entry_hash, taken_over=True)
        assert await other.acquire(JOURNAL) == Head(1, receipt.entry_hash)

    # --- who writes at all ----------------------------------------------------------------------

    async def test_each_process_has_a_number_and_one_that_is_fenced_hears_it_and_writes_nothing_more(
        self, place: SharedPlace
    ) -> None:
        zombie, other = await place.open(), await place.open()
        assert (zombie.shared, zombie.writer < other.writer) == (True, True)
        fenced = asyncio.Event()
        zombie.on_fenced(lambda _: fenced.set())
        await zombie.acquire(JOURNAL)
        await zombie.append(notes(JOURNAL, 0))
        await other.fence(zombie.writer)
        await asyncio.wait_for(fenced.wait(), 10)
        for refused in (zombie.append(notes(JOURNAL, 1)), zombie.append(notes("desk/2", 0)), zombie.acquire("desk/3")):
            with pytest.raises(WriterFencedError):
                await refused
        await other.fence(zombie.writer)
        assert len(await collected(zombie.read_all())) == 1
        await other.append(notes(JOURNAL, 1))

    async def test_a_writer_that_never_was_cannot_be_fenced(self, place: SharedPlace) -> None:
        store = await place.open()
        with pytest.raises(AppendRefusedError, match="expected"):
            await store.fence(store.writer + 1_000)

    # --- one command, one answer ----------------------------------------------------------------

    async def test_a_command_is_received_once_by_whichever_process(self, place: SharedPlace) -> None:
        one, other = await place.open(), await place.open()
        both = [each.append(Append(JOURNAL, 0, [received("c-1")])) for each in (one, other)]
        outcomes = await asyncio.gather(*both, return_exceptions=True)
        assert sorted(isinstance(each, Receipt) for each in outcomes) == [False, True]
        loser = one if isinstance(outcomes[1], Receipt) else other
        await loser.acquire(JOURNAL)
        with pytest.raises(DuplicateCommandError):
            await loser.append(Append(JOURNAL, 1, [received("c-1")]))
        found = await loser.find_command(JOURNAL, "c-1")
        assert found is not None
        assert found.sequence == 1

    # --- what is read ---------------------------------------------------------------------------

    async def test_what_one_process_has_written_another_reads_and_hears_of(self, place: SharedPlace) -> None:
        one, other = await place.open(), await place.open()
        heard: asyncio.Queue[int] = asyncio.Queue()
        other.on_commit(heard.put_nowait)
        receipt = await one.append(notes(JOURNAL, 0))
        assert await other.head(JOURNAL) == Head(1, receipt.entry_hash)
        assert texts(await collected(other.read(JOURNAL))) == ["1"]
        assert await other.refresh() == other.acknowledged == receipt.position
        assert await asyncio.wait_for(heard.get(), 10) == receipt.position

    async def test_readers_that_follow_see_every_position_once_and_in_order(self, place: SharedPlace) -> None:
        """Each reader asks for what is after the last position that it has seen, while two processes append."""
        one, other, third = await place.open(), await place.open(), await place.open(page=3)
        async with following(third, 2 * APPENDS) as seen, following(one, 2 * APPENDS) as also_seen:
            await asyncio.gather(*(pipelined(store, name) for store, name in ((one, "a"), (other, "b"))))
        for found in (seen, also_seen):
            assert [each.position for each in found] == list(range(1, 2 * APPENDS + 1))
            assert_chained(found)

    async def test_time_does_not_go_back_between_processes(self, place: SharedPlace) -> None:
        one, other = await place.open(), await place.open()
        for sequence in range(6):
            store = (one, other)[sequence % 2]
            await store.acquire(JOURNAL)
            await store.append(notes(JOURNAL, sequence))
        times = [each.recorded_at_us for each in await collected(one.read_all())]
        assert times == sorted(times)

    # --- outcomes that are unknown --------------------------------------------------------------

    @pytest.mark.parametrize("when", ["before", "after"])
    async def test_an_append_whose_connection_breaks_is_unknown_and_then_known_for_certain(
        self, place: SharedPlace, when: str
    ) -> None:
        """The store of the place has `drop_connection`, which breaks it before or after the next commit."""
        store, other = await place.open(), await place.open()
        await store.acquire(JOURNAL)
        await store.append(notes(JOURNAL, 0))
        await self.drop_connection(store, when)
        with pytest.raises(AppendUnknownError) as unknown:
            await store.append(notes(JOURNAL, 1))
        receipt = await store.resolve(unknown.value)
        written = (await other.head(JOURNAL)).sequence
        assert (receipt is not None, written) == ((True, 2) if when == "after" else (False, 1))
        await store.append(notes(JOURNAL, written))
        assert await store.resolve(unknown.value) == receipt, "an answer does not change"

    async def drop_connection(self, store: JournalStore, when: str) -> None:
        """Have the connection of a store break `before` or `after` its next commit."""
        await store.drop_connection(when)  # type: ignore[attr-defined]

    # --- real processes -------------------------------------------------------------------------

    async def test_a_process_that_was_stopped_in_a_pipeline_writes_nothing_once_another_took_over(
        self, place: SharedPlace
    ) -> None:
        store = await place.open()
        async with worker(place) as zombie:
            await zombie.ask("acquire", JOURNAL)
            assert await zombie.ask("append", JOURNAL, 0, "of the zombie") == 1
            zombie.tell("pipeline", JOURNAL, 1, 4, "of the zombie")
            zombie.send(signal.SIGSTOP)  # anywhere in its pipeline
            head = await store.acquire(JOURNAL)
            assert head.taken_over
            for sequence in range(head.sequence, 8):
                await store.append(notes(JOURNAL, sequence, text="of the new"))
            zombie.send(signal.SIGCONT)
            outcomes = await zombie.answer()
            assert set(outcomes[head.sequence - 1 :]) <= {"WriterFencedError", "AppendUnknownError"}
            assert await zombie.ask("append", JOURNAL, 8, "of the zombie") == "WriterFencedError"
        found = texts(await collected(store.read(JOURNAL)))
        assert found == ["of the zombie"] * head.sequence + ["of the new"] * (8 - head.sequence)

    async def test_what_a_killed_process_had_acknowledged_is_there_and_its_journal_can_be_taken_over(
        self, place: SharedPlace
    ) -> None:
        store = await place.open()
        async with worker(place) as victim:
            await victim.ask("acquire", JOURNAL)
            assert await victim.ask("append", JOURNAL, 0, "of the victim") == 1
            victim.tell("pipeline", JOURNAL, 1, 50, "of the victim")
            victim.send(signal.SIGKILL)
            await store.fence(victim.writer)
            head = await store.acquire(JOURNAL)
            assert head.sequence >= 1
            await store.append(notes(JOURNAL, head.sequence, text="of the new"))
        assert (await store.head(JOURNAL)).sequence == head.sequence + 1
        assert_chained(await collected(store.read_all()))


# --- what the tests share ----------------------------------------------------------------------


def texts(entries: list[Recorded]) -> list[str]:
    return [json.loads(each.body or b"{}")["text"] for each in entries]


async def pipelined(store: JournalStore, journal: str) -> None:
    """Append to a journal as a cell does, some at a time without a wait."""
    await store.acquire(journal)
    for begin in range(0, APPENDS, 4):
        await asyncio.gather(*(store.submit(notes(journal, begin + n)) for n in range(4)))


@asynccontextmanager
async def following(store: JournalStore, until: int) -> AsyncIterator[list[Recorded]]:
    """Follow a store with a cursor, as projections do; at the end it has read as far as there is anything to read."""
    seen: list[Recorded] = []
    changed = asyncio.Event()
    store.on_commit(lambda _: changed.set())

    async def follow() -> None:
        while len(seen) < until:
            changed.clear()
            seen.extend([each async for each in store.read_all(after=seen[-1].position if seen else 0)])
            if len(seen) < until:
                await changed.wait()

    task = asyncio.create_task(follow())
    yield seen
    try:
        await asyncio.wait_for(task, PATIENCE_S)
    except TimeoutError:  # it waits for what it has skipped: the test says which
        return


class Worker:
    """A process that writes the store as it is told."""

    def __init__(self, process: subprocess.Popen[str], writer: int) -> None:
        self._process = process
        self.writer = writer

    async def ask(self, verb: str, *args: object) -> Any:
        self.tell(verb, *args)
        return await self.answer()

    def tell(self, verb: str, *args: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([verb, *args]) + "\n")
        self._process.stdin.flush()

    async def answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(await asyncio.to_thread(self._process.stdout.readline))

    def send(self, number: int) -> None:
        self._process.send_signal(number)


@asynccontextmanager
async def worker(place: SharedPlace) -> AsyncIterator[Worker]:
    """Start a process that has opened the store."""
    process = await asyncio.to_thread(_start, place)
    try:
        assert process.stdout is not None
        writer = int(await asyncio.to_thread(process.stdout.readline))
        yield Worker(process, writer)
    finally:
        process.kill()
        process.communicate()


def _start(place: SharedPlace) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.shared.worker", place.opener, place.address],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
