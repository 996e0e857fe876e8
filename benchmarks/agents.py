"""Runs of an agent of pydantic-ai as turns, and bare: runs a second, and what a model call costs on top."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import median
from loom import Loom

__all__ = ["AgentFigures", "agents"]


class AgentFigures(NamedTuple):
    """Runs per second at 1 and at 64 in flight, of turns and bare; the journaled time on top of a model call."""

    at_1: float
    at_64: float
    bare_at_1: float
    bare_at_64: float
    overhead_s: float
    """Of one run of three model calls and two tools, for each model call."""


async def agents(path: Path, *, count: int) -> AgentFigures:
    """Run the agent of the benchmark, as turns and bare, taking turns."""
    from benchmarks.peers import desk
    from loom.integrations.pydantic_ai import AgentActor, LoomDurability, RunAgent, handled

    class Desk(AgentActor):
        agent = desk.agent([LoomDurability()], reads=handled("look_up"), pays=handled("effect"))

    plain = desk.agent()
    numbers = iter(range(10**9))

    async def bare() -> Any:
        return (await plain.run("My lamp is broken.")).output

    async with Loom.open(f"sqlite:///{path}", actors=[Desk], by="the benchmark") as loom:

        async def turn() -> Any:
            number = next(numbers)
            return await loom.actor(Desk, f"{number % 64}").ask(RunAgent(prompt="My lamp is broken."), id=f"r-{number}")

        await _per_second(turn, 1, 5)
        await _per_second(bare, 1, 5)
        alone, without = [], []
        for _ in range(3):
            alone.append(await _per_second(turn, 1, count))
            without.append(await _per_second(bare, 1, count))
        at_64 = median([await _per_second(turn, 64, max(count * 2, 64)) for _ in range(3)])
        bare_at_64 = median([await _per_second(bare, 64, max(count * 2, 64)) for _ in range(3)])
    at_1, bare_at_1 = median(alone), median(without)
    return AgentFigures(at_1, at_64, bare_at_1, bare_at_64, (1 / at_1 - 1 / bare_at_1) / desk.MODEL_CALLS)


async def _per_second(work: Callable[[], Awaitable[Any]], in_flight: int, count: int) -> float:
    gate = asyncio.Semaphore(in_flight)

    async def one() -> None:
        async with gate:
            if await work() != "It was paid back.":
                raise RuntimeError("a run said something else")

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(count)))
    return count / (time.perf_counter() - began)
