"""What turns that sleep weigh, how soon after their time they wake, and how long a start takes that finds them."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from benchmarks.memory import warm_up
from benchmarks.workload import PingAgent
from loom import Actor, Command, Loom, LoomConfig
from loom.config import ActorsConfig

__all__ = ["Wakes", "bytes_per_sleeper", "wakes"]

_WOKE: list[float] = []
"""How long after its time each turn went on, in seconds."""


class Nap(Command[None]):
    """Sleep until then."""

    until: datetime


class Napper(Actor):
    """Sleeps once."""

    async def execute(self, command: Nap) -> None:
        """Sleep, and note how late it is afterwards."""
        await self.sleep(until=command.until)
        _WOKE.append((datetime.now(UTC) - command.until).total_seconds())


class Wakes(NamedTuple):
    """How late turns went on, each in seconds; and the time from the open of a loom until it knew all of them."""

    late_s: list[float]
    found_s: float


def _config(directory: Path) -> LoomConfig:
    return LoomConfig(data=directory, actors=ActorsConfig(park_keep_s=0.2, idle_after_s=0.5))


async def bytes_per_sleeper(directory: Path, *, count: int, warm: int = 8_000) -> float:
    """Return the bytes that each of `count` turns holds that sleep, of as many actors, when they were let go."""
    async with Loom.open(_config(directory), actors=[PingAgent, Napper], by="bench") as loom:
        tracemalloc.start()
        await warm_up(loom, warm)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        await _nap(loom, count, datetime.now(UTC) + timedelta(days=1), timedelta(0))
        await _let_go(loom, count)
        gc.collect()
        asleep, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return (asleep - before) / count


async def wakes(directory: Path, *, count: int, spread_s: float) -> Wakes:
    """Return how late each of `count` turns went on whose times are spread evenly over `spread_s` seconds.

    They were let go, and found again by a loom that was opened since.
    """
    _WOKE.clear()
    first = datetime.now(UTC) + timedelta(seconds=20 + count / 100)
    async with Loom.open(_config(directory), actors=[Napper], by="bench") as loom:
        await _nap(loom, count, first, timedelta(seconds=spread_s / count))
        await _let_go(loom, count)
    began = time.perf_counter()
    async with Loom.open(_config(directory), actors=[Napper], by="bench") as loom:
        while len(loom.actors.services.timer) < count:
            await asyncio.sleep(0.01)
        found_s = time.perf_counter() - began
        assert not _WOKE, "the first of them woke before all were asleep: give it more time"
        while len(_WOKE) < count:
            await asyncio.sleep(0.1)
    return Wakes(list(_WOKE), found_s)


async def _nap(loom: Loom, count: int, first: datetime, apart: timedelta) -> None:
    for batch in range(0, count, 500):
        await asyncio.gather(
            *(
                loom.actor(Napper, str(number)).tell(Nap(until=first + number * apart))
                for number in range(batch, min(batch + 500, count))
            )
        )
    await loom.reached()


async def _let_go(loom: Loom, count: int) -> None:
    while loom.actors.awake or len(loom.actors.services.timer) < count:
        await asyncio.sleep(0.05)
    await loom.reached()
