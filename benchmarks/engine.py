"""Turns a second with an engine in front, to those of one process without: `python -m benchmarks.engine`.

In one run, with the same actor and 64 commands in flight: SQLite in one process, PostgreSQL in one process, and three
nodes on PostgreSQL with an engine, asked on one of them: a third of the actors lives there, the others are asked over
the signed link. Then actors that live nowhere, which the engine has to place. All of it shares one machine, so that the
ratios say what an engine costs, and nothing about several machines.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Any

from loom import Loom
from tests import postgres_server, restate_server
from tests.engine.cluster import Cluster
from tests.engine.worker import Desk, rate
from tests.postgres_server import Server, served

_IN_FLIGHT = 64


async def measure(*, seconds: float) -> dict[str, dict[str, float]]:
    """Return turns a second, and the CPU of the process that asks, by what was measured."""
    found: dict[str, dict[str, float]] = {}
    with served() as server, tempfile.TemporaryDirectory(prefix="loom-engine-") as directory:
        path = Path(directory)
        async with Loom.open(f"sqlite:///{path}/sqlite/journal.db", actors=[Desk], by="ops") as loom:
            found["SQLite, one process"] = await rate(loom, seconds, _IN_FLIGHT, "s")
        (path / "alone").mkdir()
        async with Cluster(server, path / "alone", count=1) as alone:
            await alone.start()
            found["PostgreSQL, one process"] = await _rate(alone, seconds, "p")
        for engine in ("leases", "restate"):
            if engine == "restate" and restate_server.why_missing() is not None:
                continue
            found |= await _of_engine(engine, server, path / engine, seconds)
    return found


async def _of_engine(engine: str, server: Server, path: Path, seconds: float) -> dict[str, dict[str, float]]:
    path.mkdir()
    found: dict[str, dict[str, float]] = {}
    async with Cluster(server, path, restate=engine == "restate") as cluster:
        await cluster.start()
        await _rate(cluster, 1.0, "a")  # places the actors
        found[f"{engine}, three nodes"] = await _rate(cluster, seconds, "a")
        placed = await asyncio.gather(
            *(cluster.workers["n0"].do(placing=_IN_FLIGHT, tag=f"{engine}-{nth}") for nth in range(2))
        )
        found[f"{engine}, actors that live nowhere"] = {
            "turns_per_s": sum(each["turns_per_s"] for each in placed),
            "cpu": placed[0]["cpu"],
        }
    return found


async def _rate(cluster: Cluster, seconds: float, tag: str) -> dict[str, float]:
    found: Any = await cluster.workers["n0"].do(rate=float(seconds), in_flight=_IN_FLIGHT, tag=tag)
    return {name: float(value) for name, value in found.items()}


def main() -> None:
    """Measure, and print a table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds = parser.parse_args().seconds
    if (why := postgres_server.why_missing()) is not None:
        print(why)
        return
    found = asyncio.run(measure(seconds=seconds))
    base = found["PostgreSQL, one process"]["turns_per_s"]
    for name, each in found.items():
        print(
            f"{name:35} {each['turns_per_s']:7.0f} turns/s  {each['turns_per_s'] / base:5.2f} of PostgreSQL alone  "
            f"CPU of the asking process {each['cpu']:.2f}"
        )
    if (why := restate_server.why_missing()) is not None:
        print(why)


if __name__ == "__main__":
    main()
