"""Two nodes under load for a long time, with kills and restarts: `make soak`, or `python -m tests.engine.soak`.

`n0` is killed again and again, the server of PostgreSQL now and then; `n1` lives all the time, so that what grows with
time is seen in it: memory, descriptors, threads, and the connections to the server. At the end each command has one
decision and one end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.engine.cluster import Cluster
from tests.engine.kills import not_once
from tests.postgres_server import served

__all__ = ["Seen", "grown", "soak"]

_KEYS, _CLIENTS = 60, 6
_EVERY_S = 5.0
_SERVER_EVERY = 4
_WARM = 0.25
_MORE_MB, _MORE_SHARE, _MORE_DESCRIPTORS, _MORE_THREADS, _MORE_CONNECTIONS = 40, 1.3, 16, 8, 4


class Seen(NamedTuple):
    """What the node that lives all the time uses, and the connections of all to the server."""

    at_s: float
    memory_mb: float
    descriptors: int
    threads: int
    connections: int


async def soak(*, seconds: float, seed: int) -> list[str]:
    """Run it and print what was seen; return what is wrong."""
    dice = random.Random(seed)
    with served({"fsync": "on"}) as server, tempfile.TemporaryDirectory(prefix="loom-soak-") as directory:
        async with Cluster(server, Path(directory), count=2) as cluster:
            await cluster.start()
            seen, asked, kills = await _pressed(cluster, seconds, dice)
            turns = await cluster.turns()
    twice = not_once(turns)
    print(
        f"{asked} commands answered, {kills} kills, {len(turns)} turns; not exactly one decision and one end: {twice}"
    )
    return [*(["turns without one decision and one end"] if twice else []), *grown(seen)]


async def _pressed(cluster: Cluster, seconds: float, dice: random.Random) -> tuple[list[Seen], int, int]:
    """Ask and kill until the time is over; return what was seen, the commands that were answered, and the kills."""
    began, over = time.monotonic(), asyncio.Event()
    seen: list[Seen] = []
    asked = kills = 0

    async def client(number: int) -> None:
        nonlocal asked
        nth = 0
        while not over.is_set():
            command = {"ask": f"k{dice.randrange(_KEYS)}", "id": f"c{number}-{nth}", "think_s": dice.random() / 10}
            while True:
                with contextlib.suppress(ConnectionError, RuntimeError):  # the same command again, under its id
                    await cluster.workers[f"n{number % 2}"].do(**command)
                    break
                await asyncio.sleep(0.1)
            nth, asked = nth + 1, asked + 1

    async with asyncio.TaskGroup() as group:
        for number in range(_CLIENTS):
            group.create_task(client(number))
        while time.monotonic() - began < seconds:
            await asyncio.sleep(_EVERY_S)
            seen.append(await _seen(cluster, time.monotonic() - began))
            print(seen[-1], flush=True)
            kills += 1
            if kills % _SERVER_EVERY == 0:
                await asyncio.to_thread(cluster.place.server.kill)
                await asyncio.to_thread(cluster.place.server.start)
            else:
                cluster.workers["n0"].kill()
                await cluster.workers["n0"].ended()
                await cluster.start_node("n0")
        over.set()
    return seen, asked, kills


async def _seen(cluster: Cluster, at_s: float) -> Seen:
    process = psutil.Process(cluster.workers["n1"].pid)
    connection = await cluster.place.connect()
    connections = await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'loom%'")
    await connection.close()
    memory_mb = process.memory_info().rss / 2**20
    return Seen(round(at_s), round(memory_mb, 1), process.num_fds(), process.num_threads(), connections)


def grown(seen: list[Seen]) -> list[str]:
    """Return what has grown since it was warm: the most of the last quarter, compared with the most of the second."""
    quarter = max(1, int(len(seen) * _WARM))
    early, late = seen[quarter : 2 * quarter] or seen[:1], seen[-quarter:]
    allowed = {
        "memory_mb": (_MORE_SHARE, _MORE_MB),
        "descriptors": (1.0, _MORE_DESCRIPTORS),
        "threads": (1.0, _MORE_THREADS),
        "connections": (1.0, _MORE_CONNECTIONS),
    }
    found: list[str] = []
    for name, (share, more) in allowed.items():
        was, became = (max(getattr(each, name) for each in some) for some in (early, late))
        print(f"{name}: {was} → {became}, at most {was * share + more:.0f}")
        if became > was * share + more:
            found.append(f"{name} grew from {was} to {became}")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=20260101)
    given = parser.parse_args()
    wrong = asyncio.run(soak(seconds=given.minutes * 60, seed=given.seed))
    print("wrong: " + "; ".join(wrong) if wrong else "nothing grew, and every turn ended once")
    sys.exit(bool(wrong))
