"""What actors weigh: asleep, and awake."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from pathlib import Path

from benchmarks.workload import Ping, PingAgent
from loom import Loom, LoomConfig
from loom.config import ActorsConfig

__all__ = ["bytes_per_actor", "warm_up"]


async def bytes_per_actor(directory: Path, *, count: int, warm: int = 8_000) -> tuple[float, float]:
    """Return the bytes that each of `count` actors holds: when it has been let go, and while it is awake.

    `warm` others were there before, as in a loom that has run for a while.
    """
    config = LoomConfig(data=directory, actors=ActorsConfig(idle_after_s=1.0))
    async with Loom.open(config, actors=[PingAgent], by="bench") as loom:
        tracemalloc.start()
        await warm_up(loom, warm)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        await _ping(loom, "actor", count)
        gc.collect()
        awake, _ = tracemalloc.get_traced_memory()
        woken = loom.actors.awake
        await _asleep(loom)
        gc.collect()
        asleep, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return max(0.0, (asleep - before) / count), (awake - before) / max(woken, 1)


async def warm_up(loom: Loom, count: int) -> None:
    """Use so many actors and have them let go: what is remembered of journals is bounded, and full then."""
    for batch in range(count // 1_000):
        await _ping(loom, f"warm-{batch}", 1_000)
    await _asleep(loom)


async def _ping(loom: Loom, name: str, count: int) -> None:
    await asyncio.gather(*(loom.actor(PingAgent, f"{name}-{number}").ask(Ping()) for number in range(count)))
    await loom.reached()


async def _asleep(loom: Loom) -> None:
    while loom.actors.awake:
        await asyncio.sleep(0.05)
