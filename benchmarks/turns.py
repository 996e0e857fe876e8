"""Whole turns, durable, with every projection on."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from benchmarks.measure import median, percentile
from benchmarks.workload import BenchAgent, DecideOnce, Ping, PingAgent
from loom import Loom
from loom.cli.serving import calm_collector
from loom.projections import Projector

__all__ = ["TurnFigures", "messages_per_second", "record_decision_s", "turns", "turns_without_views_per_second"]


@dataclass(frozen=True, slots=True)
class TurnFigures:
    """What was seen at one concurrency. Times are in seconds; the lag is in entries, right at the end."""

    in_flight: int
    per_second: float
    entries_per_second: float
    p50_s: float
    p99_s: float
    lag_entries: int
    catch_up_s: float


def opened(path: Path) -> Loom:
    """Return a loom in a file."""
    return Loom.open(f"sqlite:///{path}", actors=[BenchAgent, PingAgent], by="bench")


async def turns(path: Path, *, in_flight: int, count: int) -> TurnFigures:
    """Have `count` decisions made by as many actors as are in flight."""
    async with opened(path) as loom:
        refs = [loom.actor(BenchAgent, f"agent-{number}") for number in range(in_flight)]
        command = DecideOnce(customer="acme", percent=5)
        await asyncio.gather(*(ref.ask(command) for ref in refs))
        await loom.reached()
        took: list[float] = []

        async def work(number: int) -> None:
            for _ in range(count // in_flight):
                began = time.perf_counter()
                await refs[number].ask(command)
                took.append(time.perf_counter() - began)

        before = loom.store.acknowledged
        calm_collector()  # as `loom run` does
        began = time.perf_counter()
        await asyncio.gather(*(work(number) for number in range(in_flight)))
        elapsed = time.perf_counter() - began
        entries = loom.store.acknowledged - before
        lag = max(status.lag for status in loom.projections())
        began = time.perf_counter()
        await loom.reached()
        catch_up = time.perf_counter() - began
    return TurnFigures(
        in_flight, len(took) / elapsed, entries / elapsed, median(took), percentile(took, 0.99), lag, catch_up
    )


async def turns_without_views_per_second(path: Path, *, in_flight: int, count: int) -> float:
    """Return turns per second where no projection follows the journal: what is next to the floor."""

    async def nothing(_: Projector) -> None:
        """Fold nothing."""

    with mock.patch.object(Projector, "_catch_up", nothing):
        async with opened(path) as loom:
            refs = [loom.actor(BenchAgent, f"agent-{number}") for number in range(in_flight)]
            command = DecideOnce(customer="acme", percent=5)
            await asyncio.gather(*(ref.ask(command) for ref in refs))

            async def work(number: int) -> None:
                for _ in range(count // in_flight):
                    await refs[number].ask(command)

            calm_collector()
            began = time.perf_counter()
            await asyncio.gather(*(work(number) for number in range(in_flight)))
            return count // in_flight * in_flight / (time.perf_counter() - began)


async def messages_per_second(path: Path, *, in_flight: int, count: int) -> float:
    """Return how many durable messages per second are answered by actors that do nothing else."""
    async with opened(path) as loom:
        refs = [loom.actor(PingAgent, f"ping-{number}") for number in range(in_flight)]
        await asyncio.gather(*(ref.ask(Ping()) for ref in refs))

        async def work(number: int) -> None:
            for _ in range(count // in_flight):
                await refs[number].ask(Ping())

        began = time.perf_counter()
        await asyncio.gather(*(work(number) for number in range(in_flight)))
        return count / (time.perf_counter() - began)


async def record_decision_s(path: Path, *, count: int) -> list[float]:
    """Return the seconds from call to return of `record_decision`, one actor alone."""
    took: list[float] = []
    original = BenchAgent.record_decision

    async def timed(self: BenchAgent, **given: object) -> str:
        began = time.perf_counter()
        decision_id = await original(self, **given)  # type: ignore[arg-type]
        took.append(time.perf_counter() - began)
        return decision_id

    BenchAgent.record_decision = timed  # type: ignore[method-assign,assignment]
    try:
        await turns(path, in_flight=1, count=count)
    finally:
        BenchAgent.record_decision = original  # type: ignore[method-assign]
    return took
