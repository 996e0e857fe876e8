"""Kill nodes, or servers of Restate, under load: `python -m tests.engine.kills --engine restate --kills 20`.

Each round asserts that turns were under way on the victim when it was killed. At the end every journal has exactly one
decision and one end for each command. It prints how long it took until the first turn of a victim had its answer from
another node, and until the last had. `--what server` kills a server of Restate in place of a node.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.engine.cluster import Cluster
from tests.postgres_server import Place, Server

_KEYS = 8


async def kill_node(cluster: Cluster, nth: int) -> list[float]:
    """Kill the node with most of the actors, with a turn of each under way and a request that waits; start it again."""
    keys = [f"w{nth}-{at}" for at in range(_KEYS)]
    names = list(cluster.nodes)
    await asyncio.gather(
        *(cluster.workers[names[at % len(names)]].do(ask=key, id="c-0") for at, key in enumerate(keys))
    )
    homes = {name: await cluster.workers[name].do(mine=keys) for name in names}
    victim = max(names, key=lambda name: len(homes[name]))
    theirs = homes[victim]
    asker, other = (name for name in names if name != victim)
    asked = {key: asyncio.create_task(cluster.workers[asker].do(ask=key, id="c-1", think_s=0.7)) for key in keys[1:]}
    waiting = asyncio.create_task(cluster.workers[asker].do(ask=keys[0], id="c-1", percent=30))
    approval = await cluster.approval_of(keys[0], seen_by=other)
    for key in theirs:
        asked[f"{key}+"] = asyncio.create_task(cluster.workers[other].do(ask=key, id="c-2", think_s=2.0))
    while await cluster.workers[victim].do(running=True) < max(len(theirs) // 2, 1):  # one is the request that waits
        await asyncio.sleep(0.02)
    cluster.workers[victim].kill()
    killed_at = time.monotonic()
    took: list[float] = []
    for key, task in asked.items():
        if key.rstrip("+") in theirs:
            task.add_done_callback(lambda _: took.append(time.monotonic() - killed_at))
    await cluster.workers[victim].ended()
    granted = await cluster.workers[other].do(grant=approval, by="vp")
    assert granted["status"] == "granted"
    assert all(each["granted"] for each in await asyncio.gather(*asked.values(), waiting))
    await cluster.start_node(victim)
    return [min(took), max(took)]


async def kill_server(cluster: Cluster, nth: int) -> list[float]:
    """Kill a server of Restate while it places actors; start it again."""
    assert cluster.servers is not None
    keys = [f"s{nth}-{at}" for at in range(_KEYS)]
    names = list(cluster.nodes)
    asked = [
        asyncio.create_task(cluster.workers[names[at % len(names)]].do(ask=key, id="c-0", think_s=0.7))
        for at, key in enumerate(keys)
    ]
    while sum([await each.do(running=True) for each in cluster.workers.values()]) < _KEYS // 2:
        await asyncio.sleep(0.02)
    at = nth % len(names)
    cluster.servers.kill(at)
    killed_at = time.monotonic()
    assert all(each["granted"] for each in await asyncio.gather(*asked))
    took = time.monotonic() - killed_at
    cluster.servers.start(at)
    await asyncio.to_thread(cluster.servers.ready)
    return [took]


async def campaign(*, engine: str, what: str, kills: int) -> bool:
    """Run it, print what came of it, and return whether each command has one decision and one end."""
    server = Server()
    server.make()
    took: list[list[float]] = []
    with tempfile.TemporaryDirectory(prefix="loom-kills-") as directory:
        place = Place(server, Path(directory))
        cluster = Cluster(place, Path(directory), restate=engine == "restate")
        try:
            await cluster.start()
            for nth in range(kills):
                async with asyncio.timeout(120):
                    took.append(await (kill_node if what == "node" else kill_server)(cluster, nth))
                print(f"{engine} {what} {nth + 1}: {', '.join(f'{each:.2f} s' for each in took[-1])}", flush=True)
            found = await cluster.kinds()
        finally:
            await cluster.close()
            await place.close()
            server.remove()
    wrong = {
        journal: dict(kinds)
        for journal, kinds in found.items()
        if not kinds["command_received"] == kinds["decision"] == kinds["turn_completed"]
    }
    first, last = sorted(each[0] for each in took), sorted(each[-1] for each in took)
    commands = sum(each["command_received"] for each in found.values())
    resumed = sum(each["turn_resumed"] for each in found.values())
    print(
        f"{engine}: {len(took)} kills of a {what}, {commands} commands, {resumed} turns resumed; journals without "
        f"exactly one decision and one end for each: {len(wrong)} {wrong or ''}"
    )
    print(
        f"first answer p50 {_at(first, 0.5):.2f} s, p95 {_at(first, 0.95):.2f} s; "
        f"last answer p50 {_at(last, 0.5):.2f} s, p95 {_at(last, 0.95):.2f} s"
    )
    return not wrong


def _at(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=["leases", "restate"], default="leases")
    parser.add_argument("--what", choices=["node", "server"], default="node")
    parser.add_argument("--kills", type=int, default=20)
    given = parser.parse_args()
    sys.exit(0 if asyncio.run(campaign(engine=given.engine, what=given.what, kills=given.kills)) else 1)
