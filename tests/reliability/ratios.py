"""What appends, verifying and recovering cost next to a raw peer in the same run: `-m tests.reliability.ratios`.

A ratio is of CPU time of the whole process, as times on a busy machine say more of its neighbours; rounds of ours and
of the peer take turns, and the median of five counts. The command writes them to `ratios.toml`, for this processor.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import platform
import sqlite3
import sys
import tempfile
import time
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from itertools import count, islice
from pathlib import Path
from statistics import median
from typing import ClassVar, NamedTuple

from benchmarks.raw import one_row_commit_s
from loom import Actor, Command, Entry, Loom, LoomConfig
from loom.config import ActorsConfig
from loom.journal import Append, draft
from loom.journal.sqlite import SqliteStore
from loom.journal.sqlite.verify import verify

__all__ = ["COMMITTED", "Counter", "Measured", "committed", "here", "laid_down", "measured", "recovered_s"]

COMMITTED = Path(__file__).with_name("ratios.toml")
ROUNDS = 5
APPENDS, ENTRIES = 120, 4_000
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
        for _ in range(ROUNDS):
            theirs = await _cpu_s(peer)
            rounds.append(sum([await _cpu_s(ours) for _ in range(handicap)]) / theirs)
    return Measured(name, median(rounds), tuple(rounds))


async def _cpu_s(work: Callable[[], Awaitable[None]]) -> float:
    began = time.process_time()
    await work()
    return time.process_time() - began


Both = tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]


async def _append(directory: Path, stack: AsyncExitStack) -> Both:
    """One entry at a time, each durable before the next; against a commit of one row, synchronous FULL, same disk."""
    peers, numbers = count(), count()
    store = await stack.enter_async_context(_opened(directory / "ours.db"))

    async def ours() -> None:
        for number in islice(numbers, APPENDS):
            await store.append(Append(_JOURNAL, number, [draft(CountedEntry(number=number))]))

    async def peer() -> None:
        one_row_commit_s(directory / f"peer-{next(peers)}.db", count=APPENDS, body=bytes(150))

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


def committed() -> tuple[str, dict[str, float]]:
    """Return where the ratios that are committed were measured, and them."""
    said = tomllib.loads(COMMITTED.read_text(encoding="utf-8"))
    return said["measured_on"], said["ratios"]


async def _main() -> None:
    found = {}
    for name in _SETUPS:
        with tempfile.TemporaryDirectory() as directory:
            found[name] = await measured(Path(directory), name)
        print(f"{name}: {found[name].ratio:.2f} of {', '.join(f'{each:.2f}' for each in found[name].rounds)}")
    lines = [f"{name} = {each.ratio:.2f}" for name, each in found.items()]
    text = ["# Written by `python -m tests.reliability.ratios`: CPU time of ours to that of the peer."]
    text += [f'measured_on = "{here()}"', "", "[ratios]", *lines]
    COMMITTED.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(_main())
