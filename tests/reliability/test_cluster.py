"""R45: nodes and servers that are killed with turns under way, and a node that is stopped and does not notice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.cluster import Cluster
from tests.engine.kills import VICTIMS, Kill, kill, not_once, said_of
from tests.engine.worker import Worker
from tests.postgres_server import Server, served
from tests.reliability.board import Tally, row
from tests.reliability.forks import Zygote

NIGHTLY = "LOOM_NIGHTLY" in os.environ
KILLS = int(os.environ.get("LOOM_CLUSTER_KILLS", "20" if NIGHTLY else "1"))
"""How often each victim is killed."""

STOPPED = 8
_THINK_S = 3.0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with served({"fsync": "on"}) as server:
        yield server


@pytest.mark.seconds(30)
@pytest.mark.timeout(180 + 90 * KILLS)
@row("R45")
async def test_turns_under_way_on_what_is_killed_have_one_decision_and_one_end(
    server: Server, forks: Zygote, tmp_path: Path, tally: Tally
) -> None:
    done: dict[str, list[Kill]] = {what: [] for what in VICTIMS}
    async with Cluster(server, tmp_path, count=2, zygote=forks) as cluster:
        await cluster.start()
        for nth in range(KILLS * len(VICTIMS)):
            what = VICTIMS[nth % len(VICTIMS)]
            async with asyncio.timeout(120):
                done[what].append(killed := await kill(cluster, what, nth))
            tally.check(killed.under_way, f"nothing was under way on the {what}")
            tally.tried(killed.under_way)
        turns = await cluster.turns()
    for wrong in not_once(turns).items():
        tally.fail(wrong)
    tally.check(sum(each["turn_resumed"] for each in turns.values()), "no turn was resumed: nothing was under way")
    for what, kills in done.items():
        tally.note(said_of(what, kills))


@pytest.mark.seconds(15)
@row("R45")
async def test_a_node_that_is_stopped_for_longer_than_its_lease_and_does_not_notice_writes_nothing(
    server: Server, forks: Zygote, tmp_path: Path, tally: Tally
) -> None:
    """Its engine believes on, and nobody fences it as a whole: what refuses it is the epoch of each journal alone."""
    turns = await _stopped(server, forks, tmp_path, victim=("believes",), heir=("no-fence",))
    tally.tried(len(turns))
    for wrong in not_once(turns).items():
        tally.fail(wrong)
    tally.check(all(each["turn_resumed"] == 1 for each in turns.values()), "a turn was not resumed once")


@pytest.mark.seconds(15)
@pytest.mark.parametrize("wrong", ["no-epoch", "revives"])
@row("R45")
async def test_where_cells_revive_or_no_epoch_is_checked_a_node_that_was_stopped_is_noticed(
    server: Server, forks: Zygote, tmp_path: Path, tally: Tally, wrong: str
) -> None:
    turns = await _stopped(server, forks, tmp_path, victim=("believes", wrong), heir=("no-fence", wrong))
    sign = {"no-epoch": "turn_completed", "revives": "turn_resumed"}[wrong]  # two ends, or taken back and forth
    found = sum(each[sign] > 1 for each in turns.values())
    tally.heard[f"turns with {sign} twice ({wrong})"] += found
    tally.control(trials=len(turns), found=found)


async def _stopped(
    server: Server, forks: Zygote, directory: Path, *, victim: tuple[str, ...], heir: tuple[str, ...]
) -> dict[tuple[str, str], Counter[str]]:
    """Stop a node in its turns until another has taken them over, and let it go on while that one is in the middle.

    Each in turn has all the rest of its turns queued, step by step, before the first append of them is answered: what
    comes later in such a queue fits, where nothing but sequences is checked.
    """
    wrong = {"n0": ("piecemeal", *victim), "n1": ("piecemeal", *heir)}
    async with Cluster(server, directory, count=2, zygote=forks, wrong=wrong) as cluster:
        await cluster.start()
        old, new = cluster.workers["n0"], cluster.workers["n1"]
        keys = await old.do(mine=[f"k{at}" for at in range(2 * STOPPED + 8)])
        command = {"id": "c-1", "think_s": _THINK_S, "thinks": 1, "apart_s": 0.01}
        asked = {key: asyncio.create_task(new.do(ask=key, **command)) for key in keys[:STOPPED]}
        await _reached(old, "running", len(asked))
        while await cluster.received(asked, "c-1") < len(asked):
            await asyncio.sleep(0.02)
        cluster.stop_node("n0")
        await _reached(new, "running", len(asked))
        async with cluster.held_up():
            old.kill(signal.SIGCONT)
            await _reached(old, "ending", len(asked))
        await _reached(old, "ending", 0)
        async with cluster.held_up():  # what the new one waits for comes after that
            await _reached(new, "ending", len(asked))
        with contextlib.suppress(TimeoutError):  # where it is wrong, there may be no answer
            async with asyncio.timeout(30 if heir == ("no-fence",) else 5):
                await asyncio.gather(*asked.values(), return_exceptions=True)
        turns = await cluster.turns()
    return {(journal, command): kinds for (journal, command), kinds in turns.items() if command == "c-1"}


async def _reached(worker: Worker, what: str, count: int) -> None:
    """Wait until as many turns of a node are at something: running, or with their end queued."""
    async with asyncio.timeout(60):
        while await worker.do(**{what: True}) != count:
            await asyncio.sleep(0.02)
