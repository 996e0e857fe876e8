"""Nodes on one journal in PostgreSQL, its copies and its views: `python -m benchmarks.cluster [--seconds N]`.

Several processes append to one workspace, each to journals of its own, while each hears of what the others append. What
a node and the server take of the processor is per entry. On a machine with two cores this shows what a node costs, and
not how it scales. Then: how soon a suspension holds in another process, how fast a journal is copied to the server, and
how fast all views are built again from there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import following
from benchmarks.postgres import appends, cpu_s
from benchmarks.workload import BenchAgent, DecideOnce
from loom import Loom
from loom.config import LoomConfig
from loom.journal.copying import copy_journal
from loom.journal.places import NodeFiles
from loom.journal.postgres import PostgresStore, PostgresUrl
from loom.journal.sqlite import JournalFiles
from tests.postgres_server import Server

__all__ = ["copied", "nodes"]

_NODES = (1, 2, 4)
_IN_FLIGHT = 64
_ENTRIES_OF_A_TURN = 5
_WORKSPACE = "default"


async def nodes(server: Server, directory: Path, count: int, *, seconds: float) -> dict[str, float]:
    """Return entries a second of so many nodes together, and what one of them and the server cost per entry."""
    url = server.url(schema=f"nodes_{count}")
    await (await PostgresStore.open(url, JournalFiles(directory / f"first-{count}" / "journal.db"))).close()
    given = [[url, str(directory / f"node-{count}-{number}"), str(seconds)] for number in range(count)]
    command = (sys.executable, "-m", "benchmarks.cluster", "--node")
    pipe = asyncio.subprocess.PIPE
    running = [await asyncio.create_subprocess_exec(*command, *each, stdin=pipe, stdout=pipe) for each in given]
    for each in running:
        assert each.stdout is not None
        await each.stdout.readline()  # it is ready
    before = cpu_s(server)
    for each in running:
        assert each.stdin is not None
        each.stdin.write(b"go\n")
    said = [json.loads(await each.stdout.readline()) for each in running if each.stdout is not None]
    server_s = cpu_s(server) - before  # of its processes, which end with their nodes
    for each in running:
        await each.communicate(b"end\n")
    entries = sum(each["entries"] for each in said)
    return {
        "entries/s": sum(each["per_s"] for each in said),
        "node µs": sum(each["cpu_s"] for each in said) / entries * 1e6,
        "server µs": server_s / entries * 1e6,
        "heard of others": sum(each["heard"] for each in said) / count,
    }


async def _node(url: str, directory: str, seconds: float) -> None:
    """Be one node: append, hear of the others, and say what that took."""
    heard = 0

    def hear(position: int) -> None:
        nonlocal heard
        heard = max(heard, position)

    store = await PostgresStore.open(url, JournalFiles(Path(directory) / "journal.db"))
    store.on_commit(hear)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    cpu, began = time.process_time(), time.perf_counter()
    per_s = await appends(store, in_flight=_IN_FLIGHT, seconds=seconds, tag=Path(directory).name)
    entries = per_s * (time.perf_counter() - began)
    said = {"per_s": per_s, "entries": entries, "cpu_s": time.process_time() - cpu, "heard": heard - entries}
    print(json.dumps(said), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await store.close()


async def copied(server: Server, directory: Path, *, entries: int) -> dict[str, float]:
    """Return entries a second of `loom copy`, which verifies both sides, and of a rebuild of all views from there."""
    path = directory / "source" / "journal.db"
    await _lay_down(path, turns=entries // _ENTRIES_OF_A_TURN)
    url = PostgresUrl.parse(server.url(schema="copied"))
    files = NodeFiles(directory / "copy", url)
    began = time.perf_counter()
    done = await copy_journal(JournalFiles(path), files, workspace=_WORKSPACE, progress=lambda *_: None)
    per_s = done.entries / (time.perf_counter() - began)
    config = {"data": directory / "copy", "journal": {"url": server.url(schema="copied")}}
    async with Loom.open(LoomConfig.model_validate(config), actors=[BenchAgent], by="bench", resume=False) as loom:
        began = time.perf_counter()
        await loom.rebuild()
        rebuilt = loom.store.acknowledged / (time.perf_counter() - began)
    return {"entries": done.entries, "copied/s": per_s, "rebuilt/s": rebuilt}


async def _lay_down(path: Path, *, turns: int) -> None:
    async with Loom.open(f"sqlite:///{path}", actors=[BenchAgent], by="bench") as loom:
        command = DecideOnce(customer="acme", percent=5)
        for begin in range(0, turns, _IN_FLIGHT):
            asked = range(begin, min(begin + _IN_FLIGHT, turns))
            await asyncio.gather(*(loom.actor(BenchAgent, f"{number}").ask(command) for number in asked))


async def measure(*, seconds: float, entries: int, suspensions: int) -> None:
    """Print what was found."""
    server = Server(settings={"fsync": "on"}).make()
    try:
        with tempfile.TemporaryDirectory(prefix="loom-cluster-") as given:
            directory = Path(given)
            for count in _NODES:
                _print(f"{count} nodes", await nodes(server, directory, count, seconds=seconds))
            lag = await following.measure(server.url(schema="lag"), suspensions)
            _print("a suspension holds in another process, ms", lag._asdict())
            _print("loom copy, and views built again", await copied(server, directory, entries=entries))
    finally:
        server.remove()


def _print(name: str, figures: dict[str, float]) -> None:
    print(f"{name:42}", "  ".join(f"{what} {value:,.1f}" for what, value in figures.items()), flush=True)


def main() -> None:
    """Measure, or be one of the nodes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each number of nodes")
    parser.add_argument("--entries", type=int, default=50_000, help="of the journal that is copied")
    parser.add_argument("--suspensions", type=int, default=200, help="for the time until they hold")
    parser.add_argument("--node", nargs=3, metavar=("URL", "DIRECTORY", "SECONDS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.node:
        url, directory, seconds = given.node
        asyncio.run(_node(url, directory, float(seconds)))
        return
    asyncio.run(measure(seconds=given.seconds, entries=given.entries, suspensions=given.suspensions))


if __name__ == "__main__":
    main()
