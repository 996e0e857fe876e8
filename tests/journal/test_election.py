"""One of several processes is elected; one that is silent for a lease is fenced before another takes its place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loom.errors import JournalLockedError, WriterFencedError
from loom.journal import Append, Receipt
from loom.journal.election import Election, WriterSeen, leaders
from loom.journal.sqlite import SqliteStore
from loom.journal.standby import open_alone
from loom.journal.store import draft
from tests.journal.processes import Node


class Cluster:
    """Processes that share a store, with a clock that a test moves."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.seen: dict[int, WriterSeen] = {}
        self.now = 100.0

    def beat(self, *nodes: Member, after_s: float = 1.0) -> None:
        self.now += after_s
        for node in nodes:
            self.seen[node.writer] = self.seen[node.writer]._replace(beat=self.seen[node.writer].beat + 1)


class Member(Node):
    """One process of a cluster: it has a number, and may be fenced."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.store)
        self.cluster = cluster
        self.writer = len(cluster.seen) + 1
        cluster.seen[self.writer] = WriterSeen(self.writer, f"node {self.writer}", None, 0, ended=False)

    async def writers(self) -> list[WriterSeen]:
        return list(self.cluster.seen.values())

    async def fence(self, writer: int) -> None:
        self.cluster.seen[writer] = self.cluster.seen[writer]._replace(ended=True)

    async def append(self, append: Append) -> Receipt:
        if self.cluster.seen[self.writer].ended:
            raise WriterFencedError(f"writer [{self.writer}] was fenced")
        return await super().append(append)

    async def close(self) -> None:
        self.cluster.seen[self.writer] = self.cluster.seen[self.writer]._replace(ended=True)

    def election(self, role: str = "enricher") -> Election:
        return Election(self, role, lease_s=3.0, clock=lambda: self.cluster.now)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    store = await SqliteStore.open(tmp_path / "j.db")
    yield Cluster(store)
    await store.close()


async def test_one_process_alone_needs_no_election(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "j.db")
    election = Election(store, "enricher")
    assert election.won
    assert await election.look()
    await election.resign()
    assert store.acknowledged == 0
    await store.close()


async def test_of_processes_that_stand_at_once_one_is_elected(cluster: Cluster) -> None:
    elections = [Member(cluster).election() for _ in range(5)]
    assert sum(await asyncio.gather(*(each.look() for each in elections))) == 1
    assert sum(await asyncio.gather(*(each.look() for each in elections))) == 1
    assert len([each async for each in cluster.store.read("loom/elections")]) == 1
    assert [each.role for each in await leaders(cluster.store)] == ["enricher"]


async def test_one_that_beats_stays_and_one_that_is_silent_is_fenced_first(cluster: Cluster) -> None:
    here, there = Member(cluster), Member(cluster)
    active, waiting = here.election(), there.election()
    assert await active.look()
    for _ in range(10):  # longer than the lease
        cluster.beat(here)
        assert not await waiting.look()
    cluster.beat(after_s=2.9)
    assert not await waiting.look()
    assert not cluster.seen[here.writer].ended
    cluster.beat(after_s=0.2)
    assert await waiting.look()
    assert cluster.seen[here.writer].ended
    assert not await active.look()
    with pytest.raises(WriterFencedError):  # it stands again in vain: a fenced process comes back under another number
        await _stand_again(active)


async def _stand_again(election: Election) -> None:
    await election._stand(election.leader)


async def test_what_looks_for_the_first_time_waits_for_a_whole_lease(cluster: Cluster) -> None:
    """A beat of long ago says nothing: the server may have been away, and everything is silent when it comes back."""
    here, there = Member(cluster), Member(cluster)
    assert await here.election().look()
    cluster.now += 1_000
    waiting = there.election()
    assert not await waiting.look()
    cluster.beat(here, after_s=2.0)
    assert not await waiting.look()
    assert waiting.leader_lives


async def test_one_that_resigns_is_replaced_at_once_and_is_not_fenced(cluster: Cluster) -> None:
    here, there = Member(cluster), Member(cluster)
    active = here.election()
    assert await active.look()
    await active.resign()
    assert not await active.look()
    assert await there.election().look()
    assert not cluster.seen[here.writer].ended


async def test_roles_are_elected_each_for_itself(cluster: Cluster) -> None:
    here, there = Member(cluster), Member(cluster)
    assert await here.election("enricher").look()
    assert await there.election("publisher").look()
    assert not await there.election("enricher").look()


async def test_a_workspace_that_another_process_runs_is_not_opened(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that starts without waiting is refused as soon as the other has beaten; with it, it is told who that is."""
    monkeypatch.setattr("loom.journal.standby.LOOK_EVERY_S", 0)
    here, there, told = Member(cluster), Member(cluster), list[str]()
    store, election = await open_alone(_opening(here), make_draft=draft)
    assert election.won
    beating = asyncio.ensure_future(_beat(cluster, here))
    with pytest.raises(JournalLockedError, match="is run by process"):
        await open_alone(_opening(there), make_draft=draft)
    third = Member(cluster)
    waiting = asyncio.ensure_future(open_alone(_opening(third), make_draft=draft, waits=told.append))
    while not told:
        await asyncio.sleep(0)
    assert not waiting.done()
    beating.cancel()
    await election.resign()
    await store.close()
    _, taken = await asyncio.wait_for(waiting, 10)
    assert taken.won
    assert told == [f"process {election.leader.name}"] if election.leader else False


def _opening(node: Member):  # type: ignore[no-untyped-def]
    async def opens() -> Member:
        return node

    return opens


async def _beat(cluster: Cluster, node: Member) -> None:
    while True:
        cluster.beat(node, after_s=0.1)
        await asyncio.sleep(0.001)
