"""What every engine promises: subclass `EngineContract`, bring the fixture `cluster`, and pytest runs it.

Nodes are stand-ins that note what they are given: safety is the journal's, and has a contract of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from loom.engine import Delivery, Engine
from loom.engine.port import Reply
from loom.errors import LoomClosedError, LoomError, MailboxFullError, NodeUnreachableError, NotOwnerError
from loom.identity import Identity

__all__ = ["Cluster", "EngineContract", "NotingNode", "delivered", "until"]

JOURNALS = tuple(f"desk/{key}" for key in range(12))


class NotingNode:
    """Notes what it is given, and replies with its name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.got: list[Delivery] = []
        self.refuses: LoomError | None = None
        self.changes = 0

    async def receive(self, delivery: Delivery) -> Reply:
        self.got.append(delivery)
        if self.refuses is not None:
            raise self.refuses
        return {"reply": {"by": self.name, "given": delivery.arguments}}

    def parked(self, journal: str, id: str) -> bool:
        return False

    def awake(self) -> tuple[str, ...]:
        return tuple({each.journal for each in self.got})

    def ownership_changed(self) -> None:
        self.changes += 1


class Cluster(Protocol):
    """Starts engines that know of each other; the fixture closes those that are left."""

    several: bool
    """Whether there may be more than one node."""

    async def start(self) -> tuple[Engine, NotingNode]:
        """Start another node, and serve it."""
        ...

    async def kill(self, engine: Engine) -> None:
        """End a node as a power cut does: it says nothing to anyone."""
        ...


async def until(done: Callable[[], bool], *, within_s: float = 30.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(within_s):
        while not done():
            await asyncio.sleep(0.01)


async def delivered(engine: Engine, delivery: Delivery) -> Reply:
    """Deliver as a loom does: again, while no node answers for the actor."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await engine.deliver(delivery)
            except (LoomClosedError, NodeUnreachableError, NotOwnerError):
                await asyncio.sleep(0.02)


def _ask(journal: str, id: str = "c-1", *, by: Identity | None = None) -> Delivery:
    return Delivery("ask", journal, id, {"percent": 5, "note": "ä"}, by)


class EngineContract:
    """The promises, one test each."""

    async def test_a_delivery_reaches_the_node_of_its_actor_and_its_reply_comes_back(self, cluster: Cluster) -> None:
        engine, node = await cluster.start()
        reply = await delivered(engine, _ask("desk/1", by=Identity("robin", "api_key:7", "http")))
        assert reply == {"reply": {"by": node.name, "given": {"percent": 5, "note": "ä"}}}
        assert node.got == [_ask("desk/1", by=Identity("robin", "api_key:7", "http"))]

    async def test_what_a_node_refuses_is_refused_to_the_sender_in_the_same_words(self, cluster: Cluster) -> None:
        engine, node = await cluster.start()
        await delivered(engine, _ask("desk/1"))
        node.refuses = MailboxFullError("the mailbox is full; expected room: wait")
        with pytest.raises(MailboxFullError, match="the mailbox is full; expected room: wait"):
            await engine.deliver(_ask("desk/1", "c-2"))

    async def test_nothing_is_delivered_to_an_engine_that_is_closed_and_closing_twice_is_harmless(
        self, cluster: Cluster
    ) -> None:
        engine, node = await cluster.start()
        await engine.close()
        await engine.close()
        with pytest.raises((LoomClosedError, NodeUnreachableError)):
            await engine.deliver(_ask("desk/1"))
        assert node.got == []

    async def test_what_is_scheduled_comes_at_its_time_and_once_for_its_id(self, cluster: Cluster) -> None:
        engine, node = await cluster.start()
        await delivered(engine, _ask("desk/1"))
        soon, late = datetime.now(UTC) + timedelta(seconds=0.3), datetime.now(UTC) + timedelta(hours=1)
        for at in (soon, soon, late):
            await engine.schedule(Delivery("resume", "desk/1", "wake-1"), at=at)
        assert [each.id for each in node.got] == ["c-1"]
        await until(lambda: len(node.got) == 2)
        assert datetime.now(UTC) >= soon
        await engine.schedule(Delivery("resume", "desk/1", "wake-2"), at=datetime.now(UTC))
        await until(lambda: len(node.got) == 3)
        assert [each.id for each in node.got] == ["c-1", "wake-1", "wake-2"]

    async def test_what_is_cancelled_does_not_come(self, cluster: Cluster) -> None:
        engine, node = await cluster.start()
        await delivered(engine, _ask("desk/1"))
        soon = datetime.now(UTC) + timedelta(seconds=0.3)
        await engine.schedule(Delivery("resume", "desk/1", "wake-1"), at=soon)
        await engine.schedule(Delivery("resume", "desk/1", "wake-2"), at=soon)
        await engine.cancel("wake-1")
        await engine.cancel("wake-9")
        await until(lambda: len(node.got) == 2)
        assert [each.id for each in node.got] == ["c-1", "wake-2"]

    # --- several nodes --------------------------------------------------------------------------

    async def test_an_actor_lives_in_one_node_whichever_is_asked(self, cluster: Cluster) -> None:
        if not cluster.several:
            pytest.skip("this engine has one node")
        engines = dict([await cluster.start() for _ in range(3)])
        for journal in JOURNALS:
            said = {(await delivered(engine, _ask(journal)))["reply"]["by"] for engine in engines}  # type: ignore[index,call-overload]
            assert len(said) == 1, journal
            at_home = [node.name for engine, node in engines.items() if engine.ownership.mine(journal)]
            assert at_home == list(said)

    async def test_a_node_knows_who_passed_a_name_on(self, cluster: Cluster) -> None:
        if not cluster.several:
            pytest.skip("this engine has one node")
        (one, at_one), (two, at_two) = await cluster.start(), await cluster.start()
        await delivered(one, _ask("desk/1"))
        (home,) = [node for node in (at_one, at_two) if node.got]
        away = two if home is at_one else one
        await delivered(away, _ask("desk/1", "c-2", by=Identity("robin", "api_key:7", "http")))
        by = home.got[-1].by
        assert by is not None
        other = at_two if home is at_one else at_one
        assert (by.name, by.source, by.via) == ("robin", f"forwarded:{other.name}/api_key:7", "http")

    async def test_actors_of_a_node_that_is_gone_live_in_another(self, cluster: Cluster) -> None:
        if not cluster.several:
            pytest.skip("this engine has one node")
        engines = dict([await cluster.start() for _ in range(2)])
        homes = {journal: (await delivered(next(iter(engines)), _ask(journal)))["reply"]["by"] for journal in JOURNALS}  # type: ignore[index,call-overload]
        gone, left = sorted(engines, key=lambda each: engines[each].name)
        if engines[gone].name not in homes.values():
            gone, left = left, gone
        await cluster.kill(gone)
        for journal in JOURNALS:
            said = await delivered(left, _ask(journal, "c-2"))
            assert said["reply"]["by"] == engines[left].name  # type: ignore[index,call-overload]
            assert left.ownership.mine(journal)

    async def test_what_was_scheduled_by_a_node_that_is_gone_is_delivered(self, cluster: Cluster) -> None:
        if not cluster.several:
            pytest.skip("this engine has one node")
        (one, _), (two, at_two) = await cluster.start(), await cluster.start()
        await one.schedule(Delivery("resume", "desk/1", "wake-1"), at=datetime.now(UTC) + timedelta(seconds=0.5))
        await cluster.kill(one)
        await until(lambda: "wake-1" in [each.id for each in at_two.got])
        assert two.ownership.mine("desk/1")
