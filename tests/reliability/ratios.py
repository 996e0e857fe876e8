"""What appends, verifying and recovering cost next to a raw peer in the same run: `-m tests.reliability.ratios`.

A ratio is of CPU time of the whole process, as times on a busy machine say more of its neighbours; rounds of ours and
of the peer take turns, and the median counts. Appends are measured on one core and in memory, in many short rounds:
what the kernel spends in fsync, and in waking a thread on another core, depends on what else the machine does.
`--write` puts what was measured into `ratios.toml`, which has ratios of several processors, and how each was measured.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import platform
import sqlite3
import sys
import tempfile
import time
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from itertools import count, islice
from pathlib import Path
from statistics import median
from typing import Any, ClassVar, NamedTuple

from benchmarks.raw import one_row_commits_s
from loom import Actor, Command, Entry, Loom, LoomConfig
from loom.config import ActorsConfig
from loom.journal import Append, draft
from loom.journal.sqlite import SqliteStore
from loom.journal.sqlite.verify import verify

__all__ = ["COMMITTED", "Counter", "Measured", "committed", "here", "laid_down", "measured", "recovered_s"]

COMMITTED = Path(__file__).with_name("ratios.toml")
ROUNDS = {"append": 25, "verify": 5, "recovery": 5}
APPENDS, ENTRIES = 40, 4_000
MEMORY = Path("/dev/shm")
"""Where files are in memory, on Linux."""
_BATCH = 1_000
_JOURNAL = "counter/one"
_HEADER = bytes(300)
"""About as long as the header of an entry, which is hashed as well."""


class CountedEntry(Entry):
    kind: ClassVar[str] = "test.reliability.counted"

    number: int
    words: str = "what a person or a program has said of something, in about so many words as in real journals"


class HowMany(Command[int]):
    """Asks for the count."""


class Counter(Actor[dict[str, int]]):
    """Counts the entries of its journal."""

    actor_type: ClassVar[str] = "counter"

    async def execute(self, command: HowMany) -> int:
        return self.state.get("count", 0)

    def apply(self, entry: Entry) -> None:
        if isinstance(entry, CountedEntry):
            self.state["count"] = self.state.get("count", 0) + 1


class Measured(NamedTuple):
    """One median ratio: CPU seconds of ours to those of the peer."""

    name: str
    ratio: float
    rounds: tuple[float, ...]


async def measured(directory: Path, name: str, *, handicap: int = 1) -> Measured:
    """Return a ratio; with a `handicap`, ours does its work so many times: what a regression would look like."""
    async with AsyncExitStack() as stack:
        ours, peer = await _SETUPS[name](directory, stack)
        await ours()
        await peer()
        rounds = []
        for _ in range(ROUNDS[name]):
            theirs = await _cpu_s(peer)
            rounds.append(sum([await _cpu_s(ours) for _ in range(handicap)]) / theirs)
    return Measured(name, median(rounds), tuple(rounds))


async def _cpu_s(work: Callable[[], Awaitable[None]]) -> float:
    began = time.process_time()
    await work()
    return time.process_time() - began


Both = tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]


async def _append(directory: Path, stack: AsyncExitStack) -> Both:
    """One entry at a time, each committed before the next; against a commit of one row, with the same pragmas."""
    numbers = count()
    stack.enter_context(_one_core())
    below = MEMORY if os.access(MEMORY, os.W_OK) else directory
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loom-ratios-", dir=below)))
    store = await stack.enter_async_context(_opened(directory / "ours.db"))
    most = APPENDS * (ROUNDS["append"] + 1)
    raw = stack.enter_context(closing(one_row_commits_s(directory / "peer.db", count=most, body=bytes(150))))

    async def ours() -> None:
        for number in islice(numbers, APPENDS):
            await store.append(Append(_JOURNAL, number, [draft(CountedEntry(number=number))]))

    async def peer() -> None:
        assert len(list(islice(raw, APPENDS))) == APPENDS

    return ours, peer


async def _verify(directory: Path, stack: AsyncExitStack) -> Both:
    """A whole journal; against the hashes alone, of bodies that are in memory."""
    path = directory / "verified.db"
    await laid_down(path, ENTRIES)
    with closing(sqlite3.connect(path)) as db:
        bodies = [salt + body for salt, body in db.execute("SELECT salt, body FROM entries")]

    async def ours() -> None:
        found = verify(path)
        assert found.ok, list(found.lines())

    async def peer() -> None:
        link = b"0" * 32
        for body in bodies:
            link = hashlib.sha256(_HEADER + hashlib.sha256(body).digest() + link).digest()

    return ours, peer


async def _recovery(directory: Path, stack: AsyncExitStack) -> Both:
    """An actor that folds its whole journal after a start; against reading the rows and their JSON."""
    await laid_down(directory / "default" / "journal.db", ENTRIES)

    async def ours() -> None:
        await recovered_s(directory, ENTRIES)

    async def peer() -> None:
        with closing(sqlite3.connect(f"file:{directory}/default/journal.db?mode=ro", uri=True)) as db:
            for (body,) in db.execute("SELECT body FROM entries ORDER BY position"):
                json.loads(body)

    return ours, peer


_SETUPS: dict[str, Callable[[Path, AsyncExitStack], Awaitable[Both]]] = {
    "append": _append,
    "verify": _verify,
    "recovery": _recovery,
}


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this thread, and those that it starts, on one core, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path)
    try:
        yield store
    finally:
        await store.close()


async def laid_down(path: Path, entries: int) -> None:
    """Write the journal of one actor with so many entries."""
    path.parent.mkdir(parents=True, exist_ok=True)
    async with _opened(path) as store:
        for begin in range(0, entries, _BATCH):
            drafts = [draft(CountedEntry(number=each)) for each in range(begin, begin + _BATCH)]
            await store.append(Append(_JOURNAL, begin, drafts))


async def recovered_s(directory: Path, entries: int) -> float:
    """Return the seconds until an actor that has no snapshot has folded its journal and answered."""
    config = LoomConfig(data=directory, actors=ActorsConfig(snapshot_every=0))
    began = time.perf_counter()
    async with Loom.open(config, by="mira", actors=[Counter]) as loom:
        assert await loom.actor(Counter, "one").ask(HowMany(), id="the same each time") == entries
        return time.perf_counter() - began


# --- what is committed ----------------------------------------------------------------------------


def here() -> str:
    """Return what a ratio depends on besides the code: the processor and the minor version of Python."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((each.partition(":")[2].strip() for each in lines if each.startswith("model name")), "unknown")
    return f"{model}, Python {sys.version_info.major}.{sys.version_info.minor} ({platform.machine()})"


def committed() -> dict[str, float]:
    """Return the ratios that are committed for this processor; none where it was not measured on one like it."""
    return {name: each["ratio"] for name, each in _all_committed().get(here(), {}).items()}


def _all_committed() -> dict[str, dict[str, dict[str, Any]]]:
    return tomllib.loads(COMMITTED.read_text(encoding="utf-8"))


async def _measured_often(name: str, times: int) -> tuple[float, str]:
    """Return the median of some runs, and how it was measured, in words."""
    found = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as directory:
            found.append((await measured(Path(directory), name)).ratio)
    load, ratio = os.getloadavg()[0], median(found)
    spread = f"{min(found):.2f} to {max(found):.2f}"
    return ratio, f"median of {times} runs, {spread}; load average {load:.1f} on {os.cpu_count()} cores"


def _write(found: dict[str, tuple[float, str]]) -> None:
    """Write what was measured; what is of other processors, or was not measured now, stays."""
    known = _all_committed()
    known.setdefault(here(), {}).update({name: {"ratio": ratio, "how": how} for name, (ratio, how) in found.items()})
    lines = ["# Written by `python -m tests.reliability.ratios --write`: CPU time of ours to that of the peer."]
    for where, ratios in sorted(known.items()):
        lines += ["", f"[{json.dumps(where)}]"]
        lines += [
            f"{name} = {{ ratio = {each['ratio']:.2f}, how = {json.dumps(each['how'])} }}"
            for name, each in ratios.items()
        ]
    COMMITTED.write_text("\n".join(lines) + "\n", encoding="utf-8")


async def _main(names: Collection[str], times: int, *, write: bool) -> None:
    found = {}
    for name in names:
        ratio, how = found[name] = await _measured_often(name, times)
        print(f"{name}: {ratio:.2f}, {how}")
    if write:
        _write(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(_SETUPS)}; all of them without one")
    parser.add_argument("--times", type=int, default=5, help="runs, of which the median counts")
    parser.add_argument("--write", action="store_true", help=f"put them into {COMMITTED.name}")
    given = parser.parse_args()
    if unknown := set(given.names) - set(_SETUPS):
        parser.error(f"not known: {', '.join(sorted(unknown))}")
    asyncio.run(_main(given.names or list(_SETUPS), given.times, write=given.write))
