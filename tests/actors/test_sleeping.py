"""A turn that sleeps lets others run, and wakes when its time is over: in this life of the process or another."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loom.actors import Command, Sources
from loom.clock import SystemClock
from loom.errors import ActorFailedError, TurnInterruptedError
from loom.runtime import Loom
from loom.testing import FixedClock, fixed_sources
from tests.actors.agents import Carry, Do, Folding, Interpreter
from tests.actors.support import MARKERS, entries, kinds, lay_down, opened, until

FETCH = Carry(program=[Do(verb="fetch", key="a")])
YEAR = timedelta(days=365)


class Rest(Command[list[str]]):
    naps: tuple[float, ...] = (1.0,)
    until: datetime | None = None
    together: bool = False


class Sleeper(Folding):
    """Sleeps, and looks something up after each nap."""

    async def execute(self, command: Rest) -> list[str]:
        seen: list[str] = []

        async def nap(number: int, seconds: float) -> None:
            await self.sleep(seconds, key=f"nap {number}" if command.together else None)
            await self.gather_context(
                system="s", entity="e", query=f"{number}", fetcher=lambda: self.world.call(f"nap {number}")
            )
            seen.append(f"{number}")

        if command.until is not None:
            await self.sleep(until=command.until)
        if command.together:
            async with asyncio.TaskGroup() as group:
                for number, seconds in enumerate(command.naps):
                    group.create_task(nap(number, seconds))
        else:
            for number, seconds in enumerate(command.naps):
                await nap(number, seconds)
        return seen


async def asleep(loom: Loom, number: int = 1) -> None:
    """Wait until so many turns are parked."""

    async def looks() -> bool:
        turns = [turn for cell in loom.actors.cells() for turn in cell.turns.values()]
        return sum(turn.parked and turn.host.lock.owner is not turn for turn in turns) == number

    await until(looks)


async def test_a_turn_sleeps_in_real_time_and_other_turns_of_its_actor_run_meanwhile(tmp_path: Path) -> None:
    class Both(Interpreter):
        actor_type = "both"

        async def execute(self, command: Any) -> Any:
            if isinstance(command, Rest):
                await self.sleep(command.naps[0])
                return ["woke"]
            return await super().execute(command)

    async with opened(tmp_path, agents=[Both]) as loom:
        ref = loom.actor(Both, "one")
        resting = asyncio.create_task(ref.ask(Rest(naps=(0.2,)), id="rest"))
        await asleep(loom)
        await ref.ask(FETCH)
        assert await resting == ["woke"]
        recorded = await kinds(loom, "both/one")
        assert recorded == [
            "command_received",
            "wait_begun",
            "command_received",
            "context_gathered",
            "turn_completed",
            "turn_continued",
            "turn_completed",
        ]
        assert len(loom.actors.services.timer) == 0


@pytest.mark.parametrize("by", [YEAR, -YEAR, timedelta(0)], ids=["ahead", "behind", "right"])
async def test_a_sleep_takes_its_time_whatever_becomes_of_the_time_of_day(tmp_path: Path, by: timedelta) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Sleeper], sources=fixed_sources(clock)) as loom:
        resting = asyncio.create_task(loom.actor(Sleeper, "one").ask(Rest(naps=(60.0,))))
        await asleep(loom)
        timer = loom.actors.services.timer
        clock.set_by(by)
        assert timer.fire() == 0
        clock.advance(59)
        assert timer.fire() == 0
        clock.advance(1)
        assert timer.fire() == 1
        assert await resting == ["0"]


async def test_a_sleep_is_over_after_a_restart_by_the_time_of_day(tmp_path: Path) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Sleeper], sources=fixed_sources(clock)) as loom:
        resting = asyncio.create_task(loom.actor(Sleeper, "one").ask(Rest(naps=(3_600.0,)), id="c"))
        await asleep(loom)
    with pytest.raises(TurnInterruptedError):
        await resting
    clock.advance(3_000)
    async with opened(tmp_path, agents=[Sleeper], sources=fixed_sources(clock, seed="two")) as loom:
        await asleep(loom)
        await loom.reached()
        [listed] = await loom.turns.unfinished()
        assert listed.status == "parked"
        clock.advance(599)
        assert loom.actors.services.timer.fire() == 0
    clock.advance(1)
    async with opened(tmp_path, agents=[Sleeper], sources=fixed_sources(clock, seed="three")) as loom:
        assert await loom.actor(Sleeper, "one").ask(Rest(naps=(3_600.0,)), id="c", timeout_s=30) == ["0"]
        assert await kinds(loom, "sleeper/one") == [
            "command_received",
            "wait_begun",
            "turn_resumed",
            "turn_continued",
            "context_gathered",
            "turn_completed",
        ]


async def test_a_sleep_that_a_clock_ahead_has_set_ends_after_a_restart_within_its_length(tmp_path: Path) -> None:
    clock = FixedClock()
    clock.set_by(YEAR)
    async with opened(tmp_path, agents=[Sleeper], sources=fixed_sources(clock)) as loom:
        resting = asyncio.create_task(loom.actor(Sleeper, "one").ask(Rest(naps=(60.0,)), id="c"))
        await asleep(loom)
    await asyncio.gather(resting, return_exceptions=True)
    clock.set_by(-YEAR)
    async with opened(tmp_path, agents=[Sleeper], sources=fixed_sources(clock, seed="two")) as loom:
        await asleep(loom)
        clock.advance(59)
        assert loom.actors.services.timer.fire() == 0
        clock.advance(1)
        assert loom.actors.services.timer.fire() == 1
        assert await loom.actor(Sleeper, "one").ask(Rest(naps=(60.0,)), id="c", timeout_s=30) == ["0"]


class Wrong(SystemClock):
    by_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.by_us


async def test_a_turn_wakes_by_itself_though_the_time_of_day_was_set_back_a_year(tmp_path: Path) -> None:
    clock = Wrong()
    async with opened(tmp_path, agents=[Sleeper], sources=Sources(clock=clock)) as loom:
        clock.by_us = YEAR // timedelta(microseconds=1)
        resting = asyncio.create_task(loom.actor(Sleeper, "one").ask(Rest(naps=(0.05, 0.05))))
        await asleep(loom)
        clock.by_us = 0
        async with asyncio.timeout(30):
            assert await resting == ["0", "1"]


async def test_a_turn_that_sleeps_goes_on_after_a_cut_at_every_entry(tmp_path: Path) -> None:
    command = Rest(naps=(0.0, 30.0), together=True, until=datetime(2026, 1, 1, 12, 0, 20, tzinfo=UTC))

    async def carried(directory: Path, clock: FixedClock) -> tuple[list[str], list[Any]]:
        async with opened(directory, agents=[Sleeper], sources=fixed_sources(clock)) as loom:
            asking = asyncio.create_task(loom.actor(Sleeper, "one").ask(command, id="c"))
            async with asyncio.timeout(30):
                while not asking.done():
                    clock.advance(10)
                    loom.actors.services.timer.fire()
                    await asyncio.sleep(0.001)
            return await asking, await entries(loom, "sleeper/one")

    clock = FixedClock()
    whole, history = await carried(tmp_path / "whole", clock)
    assert sorted(whole) == ["0", "1"]
    for cut in range(1, len(history)):
        directory = tmp_path / f"cut-{cut}"
        await lay_down(directory, history[:cut])
        again, recorded = await carried(directory, FixedClock())
        assert sorted(again) == sorted(whole), history[cut - 1].kind
        done = [(each.kind, each.entry.step) for each in recorded if each.kind not in MARKERS]
        assert sorted(map(str, done)) == sorted(
            str((each.kind, each.entry.step)) for each in history if each.kind not in MARKERS
        )


class Hasty(Folding):
    """Gives its sleep up for something else."""

    async def execute(self, command: Rest) -> list[str]:
        try:
            async with asyncio.timeout(0.01):
                await self.sleep(command.naps[0])
        except TimeoutError:
            return ["gave up"]
        return ["slept"]


async def test_a_sleep_that_is_given_up_leaves_nothing_behind(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Hasty]) as loom:
        assert await loom.actor(Hasty, "one").ask(Rest(naps=(3_600.0,)), timeout_s=30) == ["gave up"]
        assert len(loom.actors.services.timer) == 0
        await loom.reached()
        [turn] = await loom.turns.list()
        assert turn.status == "completed"


@pytest.mark.parametrize(
    ("seconds", "wakes"),
    [
        (-1.0, None),
        (math.inf, None),
        (1e12, None),
        (None, datetime(2026, 1, 1)),  # noqa: DTZ001
        (None, None),
        (1.0, datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
async def test_a_sleep_without_a_sensible_length_is_refused(
    tmp_path: Path, seconds: float | None, wakes: datetime | None
) -> None:
    class Odd(Folding):
        actor_type = "odd"

        async def execute(self, command: Rest) -> list[str]:
            await self.sleep(seconds, until=wakes)
            return []

    async with opened(tmp_path, agents=[Odd]) as loom:
        with pytest.raises(ActorFailedError, match="AdmissionError"):
            await loom.actor(Odd, "one").ask(Rest())
        assert "wait_begun" not in await kinds(loom, "odd/one")


async def test_a_replay_of_a_turn_that_slept_waits_for_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Sleeper]) as loom:
        await loom.actor(Sleeper, "one").ask(Rest(naps=(0.01, 0.01)), id="c")
        async with asyncio.timeout(30):
            replayed = await loom.replay.state("sleeper/one")
        assert replayed.kinds["wait_begun"] == 2
