"""Two looms in processes of their own on one journal: one is killed or stopped, the other takes its actors over.

Safety is in the journal alone: whatever a process believes that it owns, each journal has one decision and one end.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from loom.journal import JournalStore, Recorded
from loom.journal.kinds import TurnResumedEntry
from tests.contracts.shared_journal_store import SharedPlace
from tests.journal.support import environment
from tests.shared.node import ENDED_AS_FENCED

RUNNING = [str(number) for number in range(6)]
PARKED = [str(number) for number in range(6, 10)]


class Process:
    """A loom in a process; each answer belongs to what was asked."""

    def __init__(self, process: subprocess.Popen[str], name: str, directory: Path) -> None:
        self.process = process
        self.name = name
        self.writer = 0
        self._directory = directory
        self._answers: dict[int, asyncio.Future[Any]] = {0: asyncio.get_running_loop().create_future()}
        self._reading = asyncio.create_task(self._read())

    async def started(self) -> None:
        self.writer = await self._answers[0]

    def ask(self, verb: str, *args: Any) -> asyncio.Future[Any]:
        number = len(self._answers)
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([number, verb, *args]) + "\n")
        self.process.stdin.flush()
        return future

    def go(self) -> None:
        """Let the fetchers of its turns return."""
        (self._directory / f"go-{self.name}").touch()

    async def ended(self) -> int:
        return await asyncio.wait_for(asyncio.to_thread(self.process.wait), 30)

    async def close(self) -> None:
        self.process.kill()
        await asyncio.to_thread(self.process.wait)
        await self._reading
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await asyncio.to_thread(self.process.stdout.readline):
            number, said = json.loads(line)
            self._answers[number].set_result(said)


Start = Callable[..., Awaitable[Process]]


@asynccontextmanager
async def cluster(directory: Path, place: SharedPlace) -> AsyncIterator[tuple[Start, JournalStore]]:
    """Start looms in processes of their own, over the store of a place."""
    started: list[Process] = []

    async def start(name: str, *more: str) -> Process:
        own = directory / name
        own.mkdir()
        arguments = [sys.executable, "-m", "tests.shared.node", place.opener, place.address, str(own), name, *more]
        opened = await asyncio.to_thread(
            lambda: subprocess.Popen(
                arguments, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
        started.append(process := Process(opened, name, directory))
        await process.started()
        return process

    try:
        yield start, await place.open()
    finally:
        for each in started:
            await each.close()


async def entries(store: JournalStore) -> list[Recorded]:
    """Return the entries of the desks."""
    return [each async for each in store.read_all() if each.journal.startswith("desk/")]


async def until(store: JournalStore, holds: Callable[[Sequence[Recorded]], bool]) -> list[Recorded]:
    async with asyncio.timeout(60):
        while True:
            found = await entries(store)
            if holds(found):
                return found
            await asyncio.sleep(0.02)


def counted(kind: str, found: Sequence[Recorded]) -> Counter[str]:
    return Counter(each.journal for each in found if each.kind == kind)


async def mid_flight(victim: Process, store: JournalStore) -> None:
    """Give a process turns, and wait until all are under way: in their fetchers, or parked."""
    await victim.ask("own", None)
    for key in (*RUNNING, *PARKED):
        victim.ask("ask", key, key in PARKED)
    found = await until(
        store,
        lambda found: (
            counted("command_received", found).total() == len(RUNNING) + len(PARKED)
            and counted("approval_requested", found).total() == len(PARKED)
        ),
    )
    assert not counted("turn_completed", found)


def assert_each_ended_once(found: Sequence[Recorded]) -> None:
    every = {f"desk/{key}": 1 for key in (*RUNNING, *PARKED)}
    for kind in ("command_received", "decision", "effect_performed", "turn_completed"):
        assert counted(kind, found) == every, kind
    assert not counted("turn_failed", found)


def assert_one_takeover(found: Sequence[Recorded], keys: Sequence[str] = (*RUNNING, *PARKED)) -> None:
    """Each turn was resumed once, by the process that took it over, and that counts as no attempt."""
    assert counted("turn_resumed", found) == {f"desk/{key}": 1 for key in keys}
    resumed = [each.entry for each in found if isinstance(each.entry, TurnResumedEntry)]
    assert {(each.attempt, each.takeover) for each in resumed} == {(1, True)}


async def take_over(heir: Process, victim: Process, *, fences: bool) -> None:
    if fences:
        await heir.ask("fence", victim.writer)
    await heir.ask("own", None)


class TwoLooms:
    """What holds of any shared store: subclass it, and bring the fixture `place`."""

    async def test_turns_of_a_killed_process_are_ended_once_by_the_one_that_takes_over(
        self, place: SharedPlace, tmp_path: Path
    ) -> None:
        async with cluster(tmp_path, place) as (start, store):
            victim, heir = await start("a"), await start("b")
            await mid_flight(victim, store)
            victim.process.kill()
            heir.go()
            await take_over(heir, victim, fences=True)
            assert await heir.ask("grant", len(PARKED)) == len(PARKED)
            found = await until(store, lambda found: counted("turn_completed", found).total() == 10)
            assert_each_ended_once(found)
            assert_one_takeover(found)
            assert await heir.ask("ask", "0", False) == "0 found"
            assert len(await entries(store)) == len(found), "a command that is sent again is answered from the journal"

    @pytest.mark.parametrize("fences", [True, False], ids=["fenced", "only acquired"])
    async def test_a_process_that_was_stopped_for_longer_than_the_takeover_writes_nothing(
        self, place: SharedPlace, tmp_path: Path, *, fences: bool
    ) -> None:
        """It is fenced as a whole, and then it ends; or its journals were acquired, and it learns that as it writes."""
        async with cluster(tmp_path, place) as (start, store):
            victim, heir = await start("a"), await start("b")
            await taken_over_while_stopped(victim, heir, store, fences=fences)
            if fences:
                assert await victim.ended() == ENDED_AS_FENCED
            else:
                await given_up(victim)
            heir.go()
            await heir.ask("grant", len(PARKED))
            found = await until(store, lambda found: counted("turn_completed", found).total() == 10)
            assert_each_ended_once(found)
            assert_one_takeover(found)

    async def test_a_process_that_wakes_what_was_taken_from_it_takes_it_back(
        self, place: SharedPlace, tmp_path: Path
    ) -> None:
        """The control: each process takes the journals from the other, and the checks above see it."""
        async with cluster(tmp_path, place) as (start, store):
            victim, heir = await start("a", "revives"), await start("b")
            await taken_over_while_stopped(victim, heir, store, fences=False)
            found = await until(store, lambda found: counted("turn_completed", found).total() == len(RUNNING))
            with pytest.raises(AssertionError):
                assert_one_takeover(found, RUNNING)
            assert min(counted("turn_resumed", found).values()) >= 2


async def taken_over_while_stopped(victim: Process, heir: Process, store: JournalStore, *, fences: bool) -> None:
    """Stop a process, let the other take its actors over, and let it go on: its fetchers return at once."""
    await mid_flight(victim, store)
    victim.process.send_signal(signal.SIGSTOP)
    await take_over(heir, victim, fences=fences)
    while await heir.ask("awake") < len(RUNNING) + len(PARKED):
        await asyncio.sleep(0.02)
    await until(store, lambda found: counted("turn_resumed", found).total() == len(RUNNING))
    victim.go()
    victim.process.send_signal(signal.SIGCONT)


async def given_up(victim: Process) -> None:
    """Wait until a process has given up the actors whose turns tried to write."""
    async with asyncio.timeout(30):
        while await victim.ask("awake") > len(PARKED):
            await asyncio.sleep(0.02)
