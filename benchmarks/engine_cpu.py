"""CPU time a turn costs, by process: `python -m benchmarks.engine_cpu`. `--profile` prints where it goes in a node.

Two nodes on PostgreSQL with the leases of the tests. `n0` is asked for actors that live there, then for actors of `n1`.
CPU time says little about latency, and hardly depends on what else a machine does; a turn has six entries.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tests.engine.cluster import Cluster
from tests.engine.worker import opened, rate
from tests.postgres_server import served

_IN_FLIGHT = 64


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process and its children."""
    found = psutil.Process(pid)
    return sum(sum(each.cpu_times()[:2]) for each in (found, *found.children(recursive=True)))


async def measure(seconds: float) -> None:
    """Print CPU milliseconds a turn, by process, with actors here and there."""
    with served() as server, tempfile.TemporaryDirectory(prefix="loom-engine-") as directory:
        async with Cluster(server, Path(directory), count=2) as cluster:
            await cluster.start()
            n0, n1 = cluster.workers["n0"], cluster.workers["n1"]
            for where, node in (("n0", n0), ("n1", n1)):
                tags = [f"x{at}-0" for at in range(40)]
                tag = (await node.do(mine=tags))[0].removesuffix("-0")
                pids = {"n0": n0.pid, "n1": n1.pid, "PostgreSQL": server.pid or 0}
                before = {name: cpu_s(pid) for name, pid in pids.items()}
                turns, began = 0.0, time.monotonic()
                keys = await node.do(mine=[f"{tag}-{at}" for at in range(4 * _IN_FLIGHT)])
                while time.monotonic() - began < seconds:
                    await asyncio.gather(*(n0.do(ask=key, id=f"{where}-{turns}-{key}") for key in keys[:_IN_FLIGHT]))
                    turns += len(keys[:_IN_FLIGHT])
                took = time.monotonic() - began
                used = {name: (cpu_s(pid) - before[name]) * 1_000 / turns for name, pid in pids.items()}
                shown = ", ".join(f"{name} {each:.2f} ms" for name, each in used.items())
                print(f"asked on n0, actors of {where}: {shown} of CPU a turn; {turns / took:.0f} turns/s")


async def profile(seconds: float) -> None:
    """Print where the CPU time of a node goes whose actors live there."""
    with served() as server, tempfile.TemporaryDirectory(prefix="loom-engine-") as directory:
        async with Cluster(server, Path(directory), count=1) as cluster:
            given: dict[str, Any] = {
                "url": cluster.place.text,
                "directory": directory,
                "leases": f"{directory}/leases.db",
            }
            given |= {"node": "n0", "nodes": cluster.nodes, "key": "k" * 40}
            async with opened(given) as loom:
                await rate(loom, 1.0, _IN_FLIGHT, "p")
                profiler = cProfile.Profile(time.process_time)
                profiler.enable()
                print(await rate(loom, seconds, _IN_FLIGHT, "p"))
                profiler.disable()
            pstats.Stats(profiler).sort_stats("cumulative").print_stats(r"loom|asyncpg|send|execute|fsync|epoll", 60)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    asyncio.run((profile if given.profile else measure)(given.seconds))
