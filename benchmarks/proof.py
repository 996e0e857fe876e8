"""What proofs cost: turns with checkpoints on to off in one run, the tree of many entries, the proof of one of them.

`python -m benchmarks.proof` prints the figures; ratios are of the same run, on and off in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median

from benchmarks.workload import BenchAgent, DecideOnce
from loom import Loom
from loom.cli.serving import calm_collector
from loom.clock import SystemClock
from loom.config import LoomConfig
from loom.journal.sqlite import JournalFiles, SqliteStore
from loom.journal.sqlite.reader import COLUMNS
from loom.proof import tree_of
from loom.proof.config import AnchorsConfig, CheckpointsConfig
from loom.proof.keys import create_key

__all__ = ["checkpoint_ratio", "filled", "tree_figures"]


_ROWS = f"INSERT INTO entries ({COLUMNS}) VALUES (?, ?, ?, 'decision', 1, NULL, 1, 1, 0, NULL, ?, ?, ?, ?)"  # noqa: S608


async def filled(path: Path, *, count: int) -> None:
    """Make a journal with so many entries of 5,000 actors, whose bodies have 300 bytes; its hashes are made up."""
    await (await SqliteStore.open(path, workspace="bench", clock=SystemClock())).close()
    body, entry_hash = b"b" * 300, hashlib.sha256(b"bench").digest()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            _ROWS,
            (
                (at, f"bench-agent/{(at - 1) % 5_000}", (at - 1) // 5_000 + 1, b"s" * 16, body, entry_hash, entry_hash)
                for at in range(1, count + 1)
            ),
        )


def tree_figures(place: Path, *, count: int) -> tuple[float, float, float, float]:
    """Return seconds to build the tree of a journal, those of the CPU alone, and to prove one entry.

    Of 200 proofs, these are the median and the slowest.
    """
    files = JournalFiles(place / "tree" / "journal.db")
    asyncio.run(filled(files.journal, count=count))
    tree = tree_of(files)
    began, cpu = time.perf_counter(), time.process_time()
    tree.extend()
    built, worked = time.perf_counter() - began, time.process_time() - cpu
    took = []
    for number in range(200):
        began = time.perf_counter()
        assert tree.inclusion(number * 7_919 % count + 1).holds()
        took.append(time.perf_counter() - began)
    tree.close()
    return built, worked, median(took), max(took)


async def turns_per_second(config: LoomConfig, *, in_flight: int, count: int) -> float:
    """Return how many turns are durable in a second."""
    async with Loom.open(config, actors=[BenchAgent], by="bench") as loom:
        refs = [loom.actor(BenchAgent, f"agent-{number}") for number in range(in_flight)]
        command = DecideOnce(customer="acme", percent=5)
        await asyncio.gather(*(ref.ask(command) for ref in refs))
        calm_collector()

        async def work(number: int) -> None:
            for _ in range(count // in_flight):
                await refs[number].ask(command)

        began = time.perf_counter()
        await asyncio.gather(*(work(number) for number in range(in_flight)))
        return count / (time.perf_counter() - began)


def checkpoint_ratio(place: Path, *, in_flight: int, count: int, rounds: int) -> tuple[float, float, float]:
    """Return turns per second off and on, and the median of the ratios of time on to off, round by round."""
    create_key(place / "key.pem")
    (place / "anchor").mkdir()
    checkpoints = CheckpointsConfig(key_file=place / "key.pem", at_close=False)
    on = {"checkpoints": checkpoints, "anchors": AnchorsConfig(directories=(place / "anchor",))}
    off, seen, ratios = [], [], []
    for number in range(rounds):
        found = {}
        for name, sections in (("off", {}), ("on", on)) if number % 2 else (("on", on), ("off", {})):
            config = LoomConfig(data=place / f"{number}-{name}", workspace=f"{name}-{number}", sections=sections)
            found[name] = asyncio.run(turns_per_second(config, in_flight=in_flight, count=count))
        off.append(found["off"])
        seen.append(found["on"])
        ratios.append(found["off"] / found["on"])
    return median(off), median(seen), median(ratios)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proof", description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=2_048)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="loom-bench-") as directory:
        place = Path(directory)
        off, on, ratio = checkpoint_ratio(place, in_flight=given.in_flight, count=given.turns, rounds=given.rounds)
        print(f"turns, checkpoints off      {off:10,.0f} /s   {given.in_flight} in flight")
        print(f"turns, checkpoints on       {on:10,.0f} /s   every 256 entries, anchored in a directory")
        print(f"time on to off              {ratio:10.3f}      aim ≤ 1.05")
        built, worked, middle, slowest = tree_figures(place, count=given.entries)
        print(f"tree of {given.entries:,} entries {built:12.2f} s   aim ≤ 10; {worked:.2f} s of CPU")
        print(f"proof of one entry, median  {middle * 1e3:10.2f} ms  aim ≤ 20")
        print(f"proof of one entry, slowest {slowest * 1e3:10.2f} ms")


if __name__ == "__main__":
    main()
