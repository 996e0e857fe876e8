"""Kill nodes, servers of PostgreSQL, or servers of Restate, under load: `python -m tests.engine.kills --what node`.

Each kill asserts that turns were under way on the victim: on a node that is killed, or anywhere where a server is. At
the end every command has exactly one decision and one end. It says how long it took until the first of those turns had
its answer, and until the last had.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.engine.cluster import Cluster
from tests.postgres_server import served

__all__ = ["VICTIMS", "Kill", "kill", "not_once", "of_share", "said_of"]

VICTIMS = ("node", "postgres", "node+postgres")
_KEYS = 8
_THINK_S = 0.6
_ONCE = ("command_received", "decision", "turn_completed")


class Kill(NamedTuple):
    """One kill: how many turns were under way on the victim, and when the first and the last of them had its answer."""

    what: str
    under_way: int
    first_s: float
    last_s: float


async def kill(cluster: Cluster, what: str, nth: int) -> Kill:
    """Kill what is named, with turns under way on it and a request that waits for a person; start it again."""
    if what == "restate":
        return await _kill_restate(cluster, nth)
    keys, names = [f"w{nth}-{at}" for at in range(_KEYS)], list(cluster.nodes)
    await asyncio.gather(
        *(cluster.workers[names[at % len(names)]].do(ask=key, id="c-0") for at, key in enumerate(keys))
    )
    homes = {name: await cluster.workers[name].do(mine=keys) for name in names}
    victim = max(names, key=lambda name: len(homes[name]))  # it is spared where only a server is killed
    theirs = homes[victim] if "node" in what else keys
    assert theirs, homes
    *_, other = survivors = [name for name in names if name != victim]
    asker = cluster.workers[survivors[0]]
    waiting = asyncio.create_task(asker.do(ask=keys[0], id="c-1", percent=30))
    approval = await cluster.approval_of(keys[0], seen_by=other)
    asked = {key: asyncio.create_task(asker.do(ask=key, id="c-1", think_s=_THINK_S)) for key in keys[1:]}
    waits = keys[0] in theirs  # the one that waits for a person is under way, too, and costs nothing
    under_way = 0
    while under_way < max(len(theirs) - waits, 1) or await cluster.received(theirs, "c-1") < len(theirs):
        under_way = await _under_way(cluster, [victim] if "node" in what else names) - waits
        await asyncio.sleep(0.01)
    killed_at, took = time.monotonic(), list[float]()
    for key, task in asked.items():
        if key in theirs:
            task.add_done_callback(lambda _: took.append(time.monotonic() - killed_at))
    if "node" in what:
        cluster.workers[victim].kill()
    if "postgres" in what:
        await asyncio.to_thread(cluster.place.server.kill)
        await asyncio.to_thread(cluster.place.server.start)
    if "node" in what:
        await cluster.workers[victim].ended()
    granted = await cluster.workers[other].do(grant=approval, by="vp")
    assert granted["status"] == "granted"
    assert all(each["granted"] for each in await asyncio.gather(*asked.values(), waiting))
    if "node" in what:
        await cluster.start_node(victim)
    return Kill(what, under_way, min(took), max(took))


async def _under_way(cluster: Cluster, nodes: list[str]) -> int:
    return sum(await asyncio.gather(*(cluster.workers[name].do(running=True) for name in nodes)))


async def _kill_restate(cluster: Cluster, nth: int) -> Kill:
    """Kill a server of Restate while it places actors; start it again."""
    assert cluster.servers is not None
    keys, names = [f"s{nth}-{at}" for at in range(_KEYS)], list(cluster.nodes)
    asked = [
        asyncio.create_task(cluster.workers[names[at % len(names)]].do(ask=key, id="c-0", think_s=_THINK_S))
        for at, key in enumerate(keys)
    ]
    while (under_way := await _under_way(cluster, names)) < _KEYS // 2:
        await asyncio.sleep(0.02)
    at = nth % len(names)
    cluster.servers.kill(at)
    killed_at, took = time.monotonic(), list[float]()
    for task in asked:
        task.add_done_callback(lambda _: took.append(time.monotonic() - killed_at))
    assert all(each["granted"] for each in await asyncio.gather(*asked))
    cluster.servers.start(at)
    await asyncio.to_thread(cluster.servers.ready)
    return Kill("restate", under_way, min(took), max(took))


def not_once(turns: Mapping[tuple[str, str], Counter[str]]) -> dict[str, dict[str, int]]:
    """Return the turns that have not exactly one beginning, one decision and one end."""
    return {
        f"{journal} {command}": dict(kinds)
        for (journal, command), kinds in turns.items()
        if any(kinds[kind] != 1 for kind in _ONCE) or kinds["turn_failed"]
    }


def of_share(values: list[float], share: float) -> float:
    """Return a percentile of what was measured."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def said_of(what: str, kills: list[Kill]) -> str:
    """Return the figures of some kills in words."""
    first, last = [each.first_s for each in kills], [each.last_s for each in kills]
    return (
        f"{what} killed {len(kills)} times, {sum(each.under_way for each in kills)} turns under way: first answer "
        f"after p50 {of_share(first, 0.5):.1f} s, p95 {of_share(first, 0.95):.1f} s; last p50 "
        f"{of_share(last, 0.5):.1f} s, p95 {of_share(last, 0.95):.1f} s; {2 * _THINK_S:.1f} s of it the turns' own"
    )


async def campaign(*, engine: str, what: str, kills: int, nodes: int) -> bool:
    """Run it, print what came of it, and return whether each command has one decision and one end."""
    done: list[Kill] = []
    with served({"fsync": "on"}) as server, tempfile.TemporaryDirectory(prefix="loom-kills-") as directory:
        async with Cluster(server, Path(directory), count=nodes, restate=engine == "restate") as cluster:
            await cluster.start()
            for nth in range(kills):
                async with asyncio.timeout(120):
                    done.append(await kill(cluster, what, nth))
                print(f"{engine} {nth + 1}: {done[-1]}", flush=True)
            turns = await cluster.turns()
    wrong, resumed = not_once(turns), sum(each["turn_resumed"] for each in turns.values())
    print(said_of(what, done))
    print(f"{engine}: {len(turns)} commands, {resumed} turns resumed; not exactly one decision and one end: {wrong}")
    return not wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=["leases", "restate"], default="leases")
    parser.add_argument("--what", choices=[*VICTIMS, "restate"], default="node")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--nodes", type=int, default=3)
    given = parser.parse_args()
    asked_for = campaign(engine=given.engine, what=given.what, kills=given.kills, nodes=given.nodes)
    sys.exit(0 if asyncio.run(asked_for) else 1)
