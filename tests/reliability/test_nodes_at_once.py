"""R46: two nodes at once, and a server that was put back to an earlier time: one answer, or a refusal."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from loom.config import JournalConfig, LoomConfig
from loom.errors import JournalCorruptError
from loom.identity import Identity
from loom.proof.entries import LossAcceptedEntry
from loom.runtime import Loom
from tests.engine.cluster import Cluster
from tests.engine.kills import not_once, of_share
from tests.engine.switching import ROUTER
from tests.engine.worker import Decide, Desk
from tests.postgres_server import Place, Server, served
from tests.reliability.board import Tally, row
from tests.reliability.forks import Zygote

NIGHTLY = "LOOM_NIGHTLY" in os.environ
TIMES = 20 if NIGHTLY else 3
SWITCHED = 100 if NIGHTLY else 15
MOST_S = 1.0
"""Within this time a kill switch holds on every node, as docs/scale.md says."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with served() as server:
        yield server


@pytest.mark.seconds(25)
@pytest.mark.timeout(600)
@row("R46")
async def test_what_two_nodes_do_at_once_has_one_answer(
    server: Server, forks: Zygote, tmp_path: Path, tally: Tally
) -> None:
    async with Cluster(server, tmp_path, zygote=forks, routing=True) as cluster:
        await cluster.start("n0", "n1")
        tally.tried()  # both have begun on an empty schema, and have one journal
        await _joined_under_load(cluster, tally)
        for nth in range(TIMES):
            await _granted_twice(cluster, tally, f"twice-{nth}")
        await _circle(cluster, tally)
        await _switch(cluster, tally)
        for wrong in not_once(await cluster.turns()).items():
            tally.check("circle" in wrong[0], wrong)


@pytest.mark.seconds(5)
@pytest.mark.timeout(120 + 20 * TIMES)
@row("R46")
async def test_many_processes_that_open_an_empty_schema_at_once_make_one_journal(
    server: Server, tmp_path: Path, tally: Tally
) -> None:
    for nth in range(TIMES):
        place = Place(server, tmp_path / str(nth))
        stores = await asyncio.gather(*(place.open(node=f"p{each}") for each in range(6)))
        tally.tried(len(stores))
        tally.check(len({each.writer for each in stores}) == len(stores), "two have the same number")
        connection = await place.connect()
        tally.check(await connection.fetchval("SELECT count(*) FROM tail") == 1, "not one tail")
        await connection.close()
        await place.close()


async def _joined_under_load(cluster: Cluster, tally: Tally) -> None:
    """Have a node join while two are asked all the time; every command is answered once."""
    joined = asyncio.Event()
    asked = 0

    async def ask(name: str, number: int) -> None:
        nonlocal asked
        nth = 0
        while not joined.is_set() or nth < 3:
            command = f"{name}-{nth}"
            said = await cluster.workers[name].do(ask=f"load-{number}", id=command)
            tally.check(said["granted"], said)
            nth += 1
            asked += 1

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for number in range(12):
            group.create_task(ask(("n0", "n1")[number % 2], number))
        await cluster.start_node("n2")
        joined.set()
    tally.tried(asked)
    theirs = await cluster.workers["n2"].do(mine=[f"load-{number}" for number in range(12)])
    said = await asyncio.gather(*(cluster.workers["n2"].do(ask=f"load-{number}", id="n2") for number in range(12)))
    tally.check(all(each["granted"] for each in said), "what was asked on the node that joined")
    tally.note(f"a node joined under load: {asked} commands meanwhile, {len(theirs)} of 12 actors came to it")


async def _granted_twice(cluster: Cluster, tally: Tally, key: str) -> None:
    asked = asyncio.create_task(cluster.workers["n0"].do(ask=key, id="c-1", percent=30))
    for node in ("n1", "n2"):
        approval = await cluster.approval_of(key, seen_by=node)
    said = await asyncio.gather(
        cluster.workers["n1"].do(grant=approval, by="vp"),
        cluster.workers["n2"].do(grant=approval, by="cfo"),
        return_exceptions=True,
    )
    refused = [str(each) for each in said if isinstance(each, BaseException)]
    tally.tried()
    tally.check(len(refused) == 1 and "ApprovalAnsweredError" in refused[0], said)
    tally.check((await asked)["granted"], "it was not granted")
    answers = (await cluster.kinds())[f"desk/{key}"]["approval_answered"]
    tally.check(answers == 1, f"{answers} answers of one request")


async def _circle(cluster: Cluster, tally: Tally) -> None:
    """Refuse a circle of asks whose actors live on two nodes; a path without one goes through."""
    keys = [f"circle-{at}" for at in range(16)]
    here, there = [await cluster.workers[name].do(mine=keys) for name in ("n0", "n1")]
    for one, other in zip(here[:TIMES], there[:TIMES], strict=False):
        tally.tried()
        through = await cluster.workers["n2"].do(relay=one, path=[other])
        tally.check(through == 2, through)
        try:
            said = await cluster.workers["n2"].do(relay=one, path=[other, one])
        except RuntimeError as refused:
            tally.check("AskCycleError" in str(refused) or "would never end" in str(refused), refused)
        else:
            tally.fail(said)


async def _switch(cluster: Cluster, tally: Tally) -> None:
    """Engage the kill switch where the router does not live, and look at the choices of the node where it does."""
    homes = [name for name, each in cluster.workers.items() if await each.do(lives=ROUTER)]
    (home,) = homes
    away = next(name for name in cluster.workers if name != home)
    chosen = await cluster.workers[home].do(switch="history", tag="first")
    tally.check(chosen == "agent-b", f"history chooses {chosen}")
    lags: list[float] = []
    for nth in range(SWITCHED):
        await cluster.workers[home].do(switch="optimised", tag=f"o-{nth}")
        choosing = asyncio.create_task(cluster.workers[home].do(switch="choose", tag=f"c-{nth}"))
        await asyncio.sleep(0.02)
        engaged = await cluster.workers[away].do(switch="kill", tag="")
        async with asyncio.timeout(20):
            choices = await choosing
        tally.tried()
        late = [began for began, _, agent in choices if agent == "agent-b" and began > engaged + MOST_S]
        tally.check(not late, f"{len(late)} choices of history's more than {MOST_S} s after the switch")
        lags.append(choices[-1][1] - engaged)
    shown = [max(0.0, each) * 1_000 for each in lags]
    tally.note(
        f"kill switch here, decision there, {SWITCHED} times: the first choice under it was made p50 "
        f"{of_share(shown, 0.5):.0f} ms, p99 {of_share(shown, 0.99):.0f} ms after it was durable"
    )


@pytest.mark.seconds(10)
@row("R46")
async def test_a_server_that_was_put_back_to_an_earlier_time_is_refused_unless_a_person_accepts_the_loss(
    tmp_path: Path, tally: Tally
) -> None:
    """Its files are copied while it is stopped, and put back later; what a node wrote down outside says so."""
    with served({"fsync": "on"}) as server:
        unaware = await _put_back(server, tmp_path, tally)
    tally.control(trials=1, found=int(unaware))


async def _put_back(server: Server, directory: Path, tally: Tally) -> bool:
    """Do it, and return whether a node that wrote nothing down opened the journal without a word."""
    place = Place(server, directory)
    await _decided(place, directory / "n0", 0, 3)
    earlier = server.directory / "earlier"
    server.stop()
    await asyncio.to_thread(subprocess.check_call, ["cp", "-a", str(server.data), str(earlier)])
    server.start()
    await _decided(place, directory / "n0", 3, 6)
    server.stop()
    shutil.rmtree(server.data)
    earlier.rename(server.data)
    server.start()
    tally.tried(3)
    with pytest.raises(JournalCorruptError, match=r"CUT.*--accept-loss"):
        await _decided(place, directory / "n0", 6, 7)
    unaware = await _decided(place, directory / "elsewhere", 6, 7)  # the control: a node that wrote nothing down
    with pytest.raises(JournalCorruptError, match=r"CUT|REWRITTEN"):
        await _decided(place, directory / "n0", 7, 8)
    found = await _decided(place, directory / "n0", 7, 8, accept_loss=Identity("dana", via="shell"))
    tally.check("proof.loss_accepted dana" in found, f"the loss is not journaled in a person's name: {found}")
    await _decided(place, directory / "n0", 8, 9)
    await place.close(drop=False)
    return "decision" in unaware


async def _decided(
    place: Place, directory: Path, first: int, until: int, *, accept_loss: Identity | None = None
) -> list[str]:
    """Open the journal in a loom, have something decided, and close it; return kinds, and who accepted losses."""
    config = LoomConfig(data=directory, journal=JournalConfig(url=SecretStr(place.text)))
    async with Loom.open(config, actors=[Desk], by="ops", accept_loss=accept_loss) as loom:
        for nth in range(first, until):
            await loom.actor(Desk, f"k{nth}").ask(Decide(percent=5))
        return [
            f"{each.kind} {each.entry.by}" if isinstance(each.entry, LossAcceptedEntry) else each.kind
            async for each in loom.store.read_all()
        ]
