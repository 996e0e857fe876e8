"""A message goes to one turn that waits for it, once, whenever it comes; others are kept, as many as are allowed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from loom.actors import Command, Message
from loom.errors import (
    ActorFailedError,
    AdmissionError,
    CommandConflictError,
    MailboxFullError,
    TurnInterruptedError,
)
from loom.runtime import Loom
from loom.testing import FixedClock, fixed_sources
from tests.actors.agents import Folding, discount
from tests.actors.support import MARKERS, entries, kinds, lay_down, opened, until


class Paid(Message):
    amount: int


class Shipped(Message):
    where: str = "sea"


class Order(Command[list[str]]):
    payments: int = 1
    timeout_s: float | None = None
    shipped: bool = False


class Shop(Folding):
    """Waits for payments, one after the other, and then for a shipment."""

    async def execute(self, command: Order) -> list[str]:
        seen = []
        for _ in range(command.payments):
            if command.timeout_s is None:
                seen.append(str((await self.wait_for(Paid)).amount))
            else:
                paid = await self.wait_for(Paid, timeout_s=command.timeout_s)
                seen.append("nothing" if paid is None else str(paid.amount))
        if command.shipped:
            seen.append((await self.wait_for(Shipped)).where)
        return seen


class Tell(Command[None]):
    key: str
    amount: int


class Bank(Folding):
    """Sends another actor a message."""

    async def execute(self, command: Tell) -> None:
        await self.send(Shop, command.key, Paid(amount=command.amount))


async def waiting(loom: Loom, number: int = 1) -> None:
    """Wait until so many turns are parked."""

    async def looks() -> bool:
        turns = [turn for cell in loom.actors.cells() for turn in cell.turns.values()]
        return sum(turn.parked and turn.host.lock.owner is not turn for turn in turns) == number

    await until(looks)


async def test_a_message_ends_the_wait_of_the_turn_that_has_waited_longest(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Shop]) as loom:
        shop = loom.actor(Shop, "one")
        first = asyncio.create_task(shop.ask(Order(), id="first"))
        await waiting(loom)
        second = asyncio.create_task(shop.ask(Order(), id="second"))
        await waiting(loom, 2)
        await shop.send(Paid(amount=1))
        assert await first == ["1"]
        await shop.send(Paid(amount=2))
        assert await second == ["2"]


async def test_messages_that_come_before_the_wait_are_kept_in_order_and_taken_once(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Shop, Bank]) as loom:
        shop = loom.actor(Shop, "one")
        await shop.send(Shipped(where="air"))
        for amount in (1, 2):
            receipt = await shop.send(Paid(amount=amount), id=f"payment {amount}", by="alice")
            assert await shop.send(Paid(amount=amount), id=f"payment {amount}", by="alice") == receipt
        with pytest.raises(CommandConflictError):
            await shop.send(Paid(amount=9), id="payment 1")
        await loom.actor(Bank, "b").ask(Tell(key="one", amount=3))
        assert await shop.ask(Order(payments=3, shipped=True), timeout_s=30) == ["1", "2", "3", "air"]
        assert await shop.send(Paid(amount=1), id="payment 1", by="alice")  # it was taken: this is the same one
        asking = asyncio.create_task(shop.ask(Order()))
        await waiting(loom)
        asking.cancel()
        await loom.reached()
        assert await loom.turns.list(status="received") == ()


async def test_a_wait_for_a_message_ends_when_its_time_is_over_and_a_late_message_is_kept(tmp_path: Path) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Shop], sources=fixed_sources(clock)) as loom:
        shop = loom.actor(Shop, "one")
        asking = asyncio.create_task(shop.ask(Order(timeout_s=60.0)))
        await waiting(loom)
        clock.advance(60)
        assert loom.actors.services.timer.fire() == 1
        assert await asking == ["nothing"]
        await shop.send(Paid(amount=5))
        assert await shop.ask(Order(), timeout_s=30) == ["5"]
        assert not loom.actors.services.timer.times


async def test_a_turn_that_waits_for_messages_goes_on_after_a_cut_at_every_entry(tmp_path: Path) -> None:
    async def carried(directory: Path) -> tuple[list[str], list[Any]]:
        async with opened(directory, agents=[Shop], sources=fixed_sources()) as loom:
            shop = loom.actor(Shop, "one")
            asking = asyncio.create_task(shop.ask(Order(payments=2, shipped=True), id="c"))
            for number in (1, 2):
                await shop.send(Paid(amount=number), id=f"m{number}")
            await shop.send(Shipped(), id="m3")
            return await asyncio.wait_for(asking, 30), await entries(loom, "shop/one")

    whole, history = await carried(tmp_path / "whole")
    assert whole == ["1", "2", "sea"]
    for cut in range(1, len(history)):
        if history[cut].kind == "wait_ended":  # in one append with the end of its message
            continue
        directory = tmp_path / f"cut-{cut}"
        await lay_down(directory, history[:cut])
        again, recorded = await carried(directory)
        assert again == whole, history[cut - 1].kind
        assert sorted(each.kind for each in recorded if each.kind not in MARKERS) == sorted(
            each.kind for each in history if each.kind not in MARKERS
        )


async def test_messages_are_kept_over_a_restart_and_those_that_came_first_win_over_the_time(tmp_path: Path) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Shop], sources=fixed_sources(clock)) as loom:
        shop = loom.actor(Shop, "one")
        await shop.send(Shipped())
        asking = asyncio.create_task(shop.ask(Order(timeout_s=60.0), id="c"))
        await waiting(loom)
    with pytest.raises(TurnInterruptedError):
        await asking
    async with opened(tmp_path, agents=[Shop], sources=fixed_sources(clock, seed="two"), resume=False) as loom:
        await loom.actor(Shop, "one").send(Paid(amount=7), id="m")
        clock.advance(3_600)
    async with opened(tmp_path, agents=[Shop], sources=fixed_sources(clock, seed="three")) as loom:
        shop = loom.actor(Shop, "one")
        assert await shop.ask(Order(timeout_s=60.0), id="c", timeout_s=30) == ["7"]
        assert await shop.ask(Order(payments=0, shipped=True), timeout_s=30) == ["sea"]


async def test_a_message_that_no_turn_waits_for_is_shown_bounded_and_can_be_abandoned(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Shop], mailbox_size=2) as loom:
        shop = loom.actor(Shop, "one")
        for number in range(2):
            await shop.send(Paid(amount=number), id=f"m{number}")
        with pytest.raises(MailboxFullError, match="keeps \\[2\\] messages"):
            await shop.send(Paid(amount=9), id="m9")
        assert "m9" not in {each.command_id for each in await entries(loom, "shop/one")}
        await loom.reached()
        listed = await loom.turns.unfinished()
        assert [(each.status, each.why) for each in listed] == [
            ("received", "no turn of the actor has waited for this message yet")
        ] * 2
        await loom.turns.abandon("m0", by="alice", reason="sent twice")
        await shop.send(Paid(amount=3), id="m3")
        assert await shop.ask(Order(payments=2), timeout_s=30) == ["1", "3"]


async def test_what_is_no_message_is_not_sent_and_a_message_is_not_asked(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Shop]) as loom:
        shop: Any = loom.actor(Shop, "one")
        for call in (shop.ask(Paid(amount=1)), shop.send(Order()), shop.send(Message())):
            with pytest.raises(AdmissionError):
                await call
        assert await entries(loom, "shop/one") == []


class Greedy(Folding):
    async def execute(self, command: Order) -> list[str]:
        if command.shipped:
            await self.wait_for(Order)  # type: ignore[type-var]
        ref: Any = self.world.refs  # type: ignore[attr-defined]
        await ref.send(Paid(amount=1))
        return []


async def test_a_turn_waits_for_messages_only_and_sends_with_its_own_verb(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Greedy]) as loom:
        with pytest.raises(ActorFailedError, match="AdmissionError"):
            await loom.actor(Greedy, "one").ask(Order(shipped=True))
        cell = await loom.actors.cell("greedy/one")
        cell.actor.world.refs = loom.actor(Greedy, "one")  # type: ignore[attr-defined]
        with pytest.raises(ActorFailedError, match="NoTurnError"):
            await loom.actor(Greedy, "one").ask(Order())


async def test_a_replay_reads_the_message_from_the_journal_and_waits_for_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Shop]) as loom:
        shop = loom.actor(Shop, "one")
        await shop.send(Paid(amount=4))
        assert await shop.ask(Order(), id="c", timeout_s=30) == ["4"]
        assert (await kinds(loom, "shop/one")) == [
            "command_received",
            "command_received",
            "wait_begun",
            "turn_completed",
            "wait_ended",
            "turn_continued",
            "turn_completed",
        ]


class Deciding(Folding):
    """Sleeps, waits for a message twice, and decides."""

    policy = discount

    async def execute(self, command: Order) -> list[str]:
        await self.sleep(0.01)
        await self.wait_for(Paid)
        await self.wait_for(Shipped, timeout_s=0.01)
        return [await self.record_decision(rationale="as paid")]


async def test_why_tells_what_a_turn_waited_for_before_it_decided(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Deciding]) as loom:
        ref = loom.actor(Deciding, "one")
        await ref.send(Paid(amount=4), id="payment 7")
        [decision_id] = await ref.ask(Order(), timeout_s=30)
        trace = await loom.traces.get(decision_id)
        assert [(each.what, each.message, each.message_id) for each in trace.waits] == [
            ("sleep", None, None),
            ("message", "Paid", "payment 7"),
            ("message", "Shipped", None),
        ]
        words = str((await loom.traces.explain(trace.decision_id)).model_dump())
        assert "What did it wait for?" in words
        for part in ("it came as [payment 7]", "for Shipped: none came"):
            assert part in words
