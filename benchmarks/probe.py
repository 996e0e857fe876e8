"""Measures one revision: `python -P probe.py PART DIRECTORY SCALE`, its checkout on PYTHONPATH; prints JSON.

It runs unchanged on every revision, so what it imports of loom and of `benchmarks` has to be there in all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

IN_FLIGHT = 256
ENTRIES = 5
"""How many entries a turn of the workload has."""

_BODY = b'{"pad":"' + b"x" * 600 + b'"}'
_COMMAND = {"customer": "acme", "percent": 5}


def turns(place: Path, scale: float) -> dict[str, float]:
    """CPU by thread until the views have caught up, turns per second, and what they left on the disk."""
    found = asyncio.run(_turns(place / "turns.db", rounds=max(round(16 * scale), 2)))
    found.update(_bytes(place, decisions=found.pop("decisions")))
    return found


def alone(place: Path, scale: float) -> dict[str, float]:
    """One turn alone, in commits of one raw row, which are timed before it and after it."""
    from benchmarks import raw

    commits = raw.one_row_commit_s(place / "before.db", count=max(round(500 * scale), 20), body=_BODY)
    took = asyncio.run(_alone(place / "alone.db", count=max(round(500 * scale), 20)))
    commits += raw.one_row_commit_s(place / "after.db", count=max(round(500 * scale), 20), body=_BODY)
    turn, commit = statistics.median(took), statistics.median(commits)
    return {"turn_us": turn * 1e6, "commit_us": commit * 1e6, "commits": turn / commit}


def calls(place: Path, scale: float) -> dict[str, float]:
    """Calls of Python functions in a turn, over all threads: `call` events, those of generated code included."""
    del scale
    together = _calls(place / "together.db", actors=IN_FLIGHT, rounds=2)
    one = _calls(place / "one.db", actors=1, rounds=50)
    return {"calls": together[0], "calls_on_loop": together[1], "calls_alone": one[0], "calls_alone_on_loop": one[1]}


def _calls(path: Path, *, actors: int, rounds: int) -> tuple[float, float]:
    counting, on_loop, others = False, itertools.count(), itertools.count()
    # A step of a counter is one operation: threads cannot lose one another's
    loop_thread = threading.get_ident()

    def count(frame: FrameType, event: str, _: Any) -> None:
        if counting and event == "call":
            next(on_loop if threading.get_ident() == loop_thread else others)

    async def measure() -> int:
        nonlocal counting
        async with _opened(path) as loom:
            refs = await _warm(loom, actors=actors)
            counting = True
            for _ in range(rounds):
                await asyncio.gather(*(ref.ask(_command()) for ref in refs))
            await _caught_up(loom)
            counting = False
        return rounds * actors

    threading.setprofile(count)  # of the threads that begin from here on
    sys.setprofile(count)
    try:
        turns = asyncio.run(measure())
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    loop = next(on_loop)
    return (loop + next(others)) / turns, loop / turns


def history(place: Path, scale: float) -> dict[str, float]:
    """Reading back: a journal rebuilt, pydantic alone on the same bodies, and the views."""
    from benchmarks import history as of_revision

    path = place / "long.db"
    asyncio.run(of_revision.lay_down(path, entries=int(20_000 * scale)))
    limits, seen = [], []
    for _ in range(3):
        limits.append(asyncio.run(of_revision.validate_json_per_second(path)))
        seen.append(asyncio.run(of_revision.rebuild_per_second(path)))
    rebuilt, limit = statistics.median(seen), statistics.median(limits)
    return {"rebuild": rebuilt, "validate_json": limit, "rebuild_ratio": rebuilt / limit} | asyncio.run(_views(path))


def judged(place: Path, scale: float) -> dict[str, float]:
    """Decisions judged again per second."""
    from benchmarks import judging

    return {"judged": asyncio.run(judging.judging(place / "judged.db", decisions=int(20_000 * scale))).judged}


def memory(place: Path, scale: float) -> dict[str, float]:
    """What actors hold."""
    from benchmarks import memory as of_revision

    asleep, awake = asyncio.run(of_revision.bytes_per_actor(place, count=int(1_000 * scale)))
    return {"asleep": asleep, "awake": awake}


def shell(place: Path, scale: float) -> dict[str, float]:
    """CPU of `loom --help`: the median of five processes, after one that leaves the compiled files."""
    del place, scale
    took = []
    for _ in range(6):
        before = _children_s()
        subprocess.run([sys.executable, "-P", "-m", "loom.cli", "--help"], check=True, stdout=subprocess.DEVNULL)
        took.append(_children_s() - before)
    return {"help_ms": statistics.median(took[1:]) * 1e3}


PARTS: dict[str, Callable[[Path, float], dict[str, float]]] = {
    "turns": turns,
    "alone": alone,
    "calls": calls,
    "history": history,
    "judged": judged,
    "memory": memory,
    "shell": shell,
}


async def _turns(path: Path, *, rounds: int) -> dict[str, float]:
    from loom.cli.serving import calm_collector

    async with _opened(path) as loom:
        refs = await _warm(loom)

        async def work(number: int) -> None:
            for _ in range(rounds):
                await refs[number].ask(_command())

        calm_collector()
        threads, cpu, began = _threads_s(), time.process_time(), time.perf_counter()
        await asyncio.gather(*(work(number) for number in range(len(refs))))
        elapsed = time.perf_counter() - began
        await _caught_up(loom)
        cpu, now = time.process_time() - cpu, _threads_s()
    count = rounds * len(refs)
    found = {f"{group}_us": (now[group] - threads[group]) / count * 1e6 for group in _GROUPS}
    found["views_us_an_entry"] = found["views_us"] / ENTRIES
    return found | {"cpu_us": cpu / count * 1e6, "per_second": count / elapsed, "decisions": count + 3 * len(refs)}


async def _alone(path: Path, *, count: int) -> list[float]:
    took = []
    async with _opened(path) as loom:
        [ref] = await _warm(loom, actors=1)
        for _ in range(count):
            began = time.perf_counter()
            await ref.ask(_command())
            took.append(time.perf_counter() - began)
    return took


async def _views(path: Path) -> dict[str, float]:
    async with _opened(path) as loom:
        await _caught_up(loom)
        gc.collect()
        before = _threads_s()
        await loom.rebuild()
        spent = _threads_s()["views"] - before["views"]
        return {"views_rebuilt_us_an_entry": spent / loom.store.acknowledged * 1e6}


def _opened(path: Path) -> Any:
    from benchmarks.workload import BenchAgent, PingAgent
    from loom import Loom

    return Loom.open(f"sqlite:///{path}", actors=[BenchAgent, PingAgent], by="bench")


def _command() -> Any:
    from benchmarks.workload import DecideOnce

    return DecideOnce(**_COMMAND)


async def _warm(loom: Any, *, actors: int = IN_FLIGHT) -> list[Any]:
    from benchmarks.workload import BenchAgent

    refs = [loom.actor(BenchAgent, f"agent-{number}") for number in range(actors)]
    for _ in range(3):
        await asyncio.gather(*(ref.ask(_command()) for ref in refs))
    await _caught_up(loom)
    return refs


async def _caught_up(loom: Any) -> None:
    from loom.errors import ProjectionLagError

    for _ in range(30):
        with contextlib.suppress(ProjectionLagError):  # a busy machine takes longer than loom waits
            await loom.reached()
            return


_GROUPS = ("loop", "writer", "views", "readers")


def _threads_s() -> dict[str, float]:
    """Return the CPU of each group of threads so far, in seconds; what is none of the first three reads."""
    spent: dict[str, float] = defaultdict(float)
    for thread in threading.enumerate():
        try:
            [ran, *_] = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()
        except OSError:  # it has just ended
            continue
        spent[group_of(thread.name)] += int(ran) / 1e9
    return spent


def group_of(thread: str) -> str:
    """Return what a thread is for, by its name."""
    if thread == "MainThread":
        return "loop"
    return "writer" if thread.startswith("loom-journal") else "views" if thread.startswith("loom-views") else "readers"


def _bytes(place: Path, *, decisions: float) -> dict[str, float]:
    """Return what a decision takes on the disk: in the journal and what belongs to it, and in the views."""
    sizes: dict[str, float] = defaultdict(float)
    for path in place.iterdir():
        if path.suffix == ".db":
            with sqlite3.connect(path) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.close()
    for path in place.iterdir():
        sizes["views" if ".views." in path.name else "journal"] += path.stat().st_size / decisions
    return {"journal_bytes": sizes["journal"], "views_bytes": sizes["views"], "bytes": sum(sizes.values())}


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    print(json.dumps(PARTS[sys.argv[1]](Path(sys.argv[2]), float(sys.argv[3]))), flush=True)
    os._exit(0)  # what is measured is measured: nothing has to be torn down
