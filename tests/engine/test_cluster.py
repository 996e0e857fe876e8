"""Three nodes, each a process of its own, on one journal in PostgreSQL: on leases, and on Restate where that is."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import restate_server
from tests.engine.cluster import Cluster
from tests.postgres_server import Server

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(300)]


@pytest.fixture(params=["leases", "restate"])
async def cluster(request: pytest.FixtureRequest, postgres: Server, tmp_path: Path) -> AsyncIterator[Cluster]:
    restate = request.param == "restate"
    if restate and (why := restate_server.why_missing()) is not None:
        pytest.skip(why)
    async with Cluster(postgres, tmp_path, restate=restate) as cluster:
        await cluster.start()
        yield cluster


async def test_an_approval_asked_on_one_node_is_granted_on_another_after_its_owner_was_killed(cluster: Cluster) -> None:
    one = cluster.workers["n0"]
    assert (await one.do(ask="easy", id="c-0", percent=5))["granted"] is True
    asked = asyncio.create_task(one.do(ask="acme", id="c-1", percent=30))
    await cluster.approval_of("acme", seen_by="n1")
    home = await cluster.home_of("acme")
    asker = next(name for name in cluster.nodes if name != home)
    again = asyncio.create_task(cluster.workers[asker].do(ask="acme", id="c-1", percent=30))

    cluster.workers[home].kill()
    await cluster.workers[home].ended()
    approval = await cluster.approval_of("acme", seen_by=asker)
    other = next(name for name in cluster.nodes if name not in (home, asker))
    granted = await cluster.workers[other].do(grant=approval, by="vp")
    assert granted == {"status": "granted", "by": "vp"}
    assert (await again)["granted"] is True
    if home != "n0":
        assert (await asked) == await again
    else:
        with pytest.raises(ConnectionError):
            await asked
    kinds = (await cluster.kinds())["desk/acme"]
    assert (kinds["decision"], kinds["turn_completed"], kinds["approval_answered"]) == (1, 1, 1)


async def test_turns_that_run_while_their_node_is_killed_end_once_on_another(cluster: Cluster) -> None:
    keys = [f"k{at}" for at in range(12)]
    first = await asyncio.gather(*(cluster.workers["n0"].do(ask=key, id="c-0") for key in keys))
    assert all(each["granted"] for each in first)
    homes = {key: await cluster.home_of(key) for key in keys}
    victim = max(set(homes.values()), key=lambda name: list(homes.values()).count(name))
    asker = next(name for name in cluster.nodes if name != victim)
    asked = [asyncio.create_task(cluster.workers[asker].do(ask=key, id="c-1", think_s=1.5)) for key in keys]
    async with asyncio.timeout(30):
        while await cluster.workers[victim].do(running=True) < list(homes.values()).count(victim):
            await asyncio.sleep(0.05)
    cluster.workers[victim].kill()
    assert all(each["granted"] for each in await asyncio.gather(*asked))
    found = await cluster.kinds()
    assert {(found[f"desk/{key}"]["decision"], found[f"desk/{key}"]["turn_completed"]) for key in keys} == {(2, 2)}


async def test_a_node_that_was_stopped_for_longer_than_its_lease_writes_nothing_when_it_goes_on(
    cluster: Cluster,
) -> None:
    one = cluster.workers["n0"]
    await one.do(ask="acme", id="c-0")
    home = await cluster.home_of("acme")
    asker = next(name for name in cluster.nodes if name != home)
    asked = asyncio.create_task(cluster.workers[asker].do(ask="acme", id="c-1", think_s=1.0))
    async with asyncio.timeout(30):
        while not await cluster.workers[home].do(running=True):
            await asyncio.sleep(0.02)
    cluster.stop_node(home)
    try:
        async with asyncio.timeout(60):
            assert (await asked)["granted"] is True
        before = await cluster.kinds()
    finally:
        cluster.workers[home].kill(signal.SIGCONT)
    await asyncio.sleep(3)
    assert await cluster.kinds() == before
    assert before["desk/acme"]["decision"] == before["desk/acme"]["turn_completed"] == 2


async def test_what_waits_for_a_time_comes_once_though_the_node_that_waits_is_killed(cluster: Cluster) -> None:
    """A sleep, a deadline and a command for later: another node keeps them from the journals."""
    one = cluster.workers["n0"]
    await asyncio.gather(*(one.do(ask=f"t{at}", id="c-0") for at in range(9)))
    homes = {f"t{at}": await cluster.home_of(f"t{at}") for at in range(9)}
    victim = max(set(homes.values()), key=list(homes.values()).count)
    sleeper, asker, later = [key for key, home in homes.items() if home == victim][:3]
    other = next(name for name in cluster.nodes if name != victim)
    due = time.monotonic() + 8.0
    waiting = [
        asyncio.create_task(cluster.workers[other].do(nap=sleeper, what="sleep", seconds=8.0)),
        asyncio.create_task(cluster.workers[other].do(nap=asker, what="deadline", seconds=8.0)),
    ]
    await cluster.workers[other].do(tell=later, after_s=8.0)
    while await cluster.received([sleeper], f"nap-{sleeper}") + await cluster.received([asker], f"nap-{asker}") < 2:
        await asyncio.sleep(0.05)
    cluster.workers[victim].kill()
    async with asyncio.timeout(60):
        assert await asyncio.gather(*waiting) == ["slept", "denied"]
        assert time.monotonic() >= due
        while not (turns := await cluster.turns())[f"desk/{later}", f"tell-{later}"]["turn_completed"]:
            await asyncio.sleep(0.2)
    assert time.monotonic() >= due
    for key, command in ((sleeper, "nap"), (asker, "nap"), (later, "tell")):
        assert turns[f"desk/{key}", f"{command}-{key}"]["turn_completed"] == 1


async def test_turns_ask_actors_on_other_nodes_and_a_circle_of_them_is_refused(cluster: Cluster) -> None:
    keys = [f"r{at}" for at in range(12)]
    names = list(cluster.nodes)
    await asyncio.gather(*(cluster.workers[names[at % 3]].do(ask=key, id="c-0") for at, key in enumerate(keys)))
    homes = {key: await cluster.home_of(key) for key in keys}
    one = keys[0]
    two = next(key for key in keys if homes[key] != homes[one])
    other = next(name for name in names if name != homes[one])
    async with asyncio.timeout(60):
        assert await cluster.workers[other].do(relay=one, path=[two, keys[5]]) == 3
        with pytest.raises(RuntimeError, match=r"would never end|AskCycleError"):
            await cluster.workers[other].do(relay=one, path=[two, one])


async def test_the_same_request_granted_on_two_nodes_at_once_has_one_answer(cluster: Cluster) -> None:
    asked = asyncio.create_task(cluster.workers["n0"].do(ask="acme", id="c-1", percent=30))
    for node in ("n1", "n2"):
        approval = await cluster.approval_of("acme", seen_by=node)
    said = await asyncio.gather(
        cluster.workers["n1"].do(grant=approval, by="vp"),
        cluster.workers["n2"].do(grant=approval, by="cfo"),
        return_exceptions=True,
    )
    refused = [str(each) for each in said if isinstance(each, BaseException)]
    assert len(refused) == 1
    assert "ApprovalAnsweredError" in refused[0]
    assert (await asked)["granted"] is True
    assert (await cluster.kinds())["desk/acme"]["approval_answered"] == 1
