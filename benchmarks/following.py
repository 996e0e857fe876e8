"""How soon a suspension that one process takes holds in another: `python -m benchmarks.following postgresql://… [N]`.

Two processes on one machine share the clock that does not stop, so their times can be compared. The figures are of a
suspension that is durable until it is folded by the other process, as ratios to a commit in the same run.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from loom.background import Background
from loom.journal.entry import Recorded
from loom.journal.following import Follower, followers_of
from loom.journal.postgres import PostgresStore
from loom.journal.singleton import SingletonJournal
from loom.journal.sqlite import JournalFiles
from loom.standings import STANDINGS_JOURNAL, StandingChangedEntry, Standings

__all__ = ["Figures", "measure"]

_PAUSE_S = 0.03
"""Between two suspensions: a burst would be folded in one look, and look better than it is."""


class Figures(NamedTuple):
    """In milliseconds: the commit of a suspension here, and from then until it holds there."""

    suspensions: int
    commit_p50: float
    lag_p50: float
    lag_p99: float
    lag_max: float


async def measure(url: str, count: int) -> Figures:
    """Suspend subjects here, while another process follows, and return how long that took to hold there."""
    with tempfile.TemporaryDirectory() as directory:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.following", url, "--follow", directory, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        store = await PostgresStore.open(url, JournalFiles(Path(directory) / "here" / "journal.db"))
        try:
            standings = Standings(store)
            await standings.load()
            await child.stdout.readline()
            commits: list[float] = []
            durable: dict[str, float] = {}
            held: dict[str, float] = {}
            for number in range(count):
                began = time.monotonic()
                await standings.suspend(f"subject-{number}", by="ops", reason="a measurement")
                durable[f"subject-{number}"] = time.monotonic()
                commits.append(durable[f"subject-{number}"] - began)
                await asyncio.sleep(_PAUSE_S)
            while len(held) < count:
                subject, at = json.loads(await child.stdout.readline())
                held[subject] = at
        finally:
            child.kill()
            await child.wait()
            await store.close()
    lags = sorted(max(0.0, held[subject] - durable[subject]) for subject in durable)
    return Figures(
        count,
        statistics.median(commits) * 1_000,
        statistics.median(lags) * 1_000,
        lags[min(len(lags) - 1, round(len(lags) * 0.99))] * 1_000,
        lags[-1] * 1_000,
    )


async def _follow(url: str, directory: str) -> None:
    """Print when each suspension is folded in this process."""

    def fold(recorded: Recorded) -> None:
        if isinstance(recorded.entry, StandingChangedEntry):
            print(json.dumps([recorded.entry.subject, time.monotonic()]), flush=True)

    background = Background()
    store = await PostgresStore.open(url, JournalFiles(Path(directory) / "there" / "journal.db"))
    folded = SingletonJournal(store, STANDINGS_JOURNAL, fold)
    await folded.load()
    followers = followers_of(store)
    assert followers is not None
    Follower(store, followers, background=background).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


def main(arguments: list[str]) -> None:
    """Print the figures, or be the process that follows."""
    if "--follow" in arguments:
        asyncio.run(_follow(arguments[0], arguments[-1]))
        return
    found = asyncio.run(measure(arguments[0], int(arguments[1]) if len(arguments) > 1 else 200))
    print(f"{found.suspensions} suspensions, commit p50 {found.commit_p50:.1f} ms")
    for name, value in (("p50", found.lag_p50), ("p99", found.lag_p99), ("max", found.lag_max)):
        print(f"holds in the other process after, {name}: {value:.1f} ms, {value / found.commit_p50:.1f} commits")


if __name__ == "__main__":
    main(sys.argv[1:])
