"""A turn that only waits leaves memory after a time, and is driven again when something that it waits for comes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loom.actors import Command, Message
from loom.errors import TurnAbandonedError, TurnInterruptedError
from loom.journal import Draft, Receipt, Recorded
from loom.runtime import Loom
from loom.testing import FixedClock, fixed_sources
from tests.actors.agents import Folding
from tests.actors.support import entries, lay_down, opened, until

KEEP_S = 60


class Paid(Message):
    amount: int


class Wait(Command[str]):
    how: str
    seconds: float = 3_600.0


class Patient(Folding):
    """Waits in one of many ways; the world counts how often it begins."""

    async def execute(self, command: Wait) -> str:
        await self.world.call("begun")
        if command.how == "sleep":
            await self.sleep(command.seconds)
        elif command.how == "approval":
            return str((await self.request_approval(approver="vp", reason="please")).granted)
        elif command.how == "message":
            paid = await self.wait_for(Paid, timeout_s=command.seconds)
            return "nothing" if paid is None else str(paid.amount)
        elif command.how == "both":
            async with asyncio.TaskGroup() as group:
                group.create_task(self.sleep(command.seconds, key="a"))
                group.create_task(self.sleep(2 * command.seconds, key="b"))
        elif command.how == "timeout":
            try:
                async with asyncio.timeout(3_600):
                    await self.sleep(command.seconds)
            except TimeoutError:
                return "too long"
        elif command.how == "branch":
            async with asyncio.TaskGroup() as group:
                group.create_task(self.sleep(command.seconds))
                group.create_task(self._outside())
        return "woke"

    async def _outside(self) -> None:
        await self.world.call("outside")


async def parked(loom: Loom, *, turns: int = 1) -> None:
    async def looks() -> bool:
        return sum(turn.can_be_let_go for cell in loom.actors.cells() for turn in cell.turns.values()) >= turns

    await until(looks)


async def let_go(loom: Loom, clock: FixedClock) -> int:
    """Let a turn park for long enough, and let it go."""
    await parked(loom)
    clock.advance(KEEP_S - 1)
    assert loom.actors.sleepers.let_go() == 0
    clock.advance(1)
    return loom.actors.sleepers.let_go()


def cell(loom: Loom) -> Any:
    return next(iter(loom.actors.cells()))


@pytest.mark.parametrize("how", ["sleep", "approval", "message", "both"])
async def test_a_turn_that_was_let_go_is_driven_again_when_its_wait_ends_and_its_caller_gets_the_reply(
    tmp_path: Path, how: str
) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Patient], sources=fixed_sources(clock)) as loom:
        patient = loom.actor(Patient, "one")
        asking = asyncio.create_task(patient.ask(Wait(how=how), id="c", by="bob"))
        assert await let_go(loom, clock) == 1
        assert loom.actors.running("patient/one", "c") is None
        again = asyncio.create_task(patient.ask(Wait(how=how), id="c", by="bob"))
        await until(lambda: len(cell(loom).asleep._callers["c"]) == 2)
        await loom.reached()
        [listed] = await loom.turns.unfinished()
        assert listed.status == "parked"
        if how == "approval":
            [request] = await loom.approvals.pending()
            await loom.approvals.grant(request.approval_id, by="alice")
            expected = "True"
        elif how == "message":
            await patient.send(Paid(amount=3))
            expected = "3"
        else:
            clock.advance(3_600)
            assert loom.actors.services.timer.fire() == 1
            if how == "both":
                await until(lambda: loom.actors.running("patient/one", "c"))
                await parked(loom)
                clock.advance(3_600)
                assert loom.actors.services.timer.fire() == 1
            expected = "woke"
        async with asyncio.timeout(30):
            assert (await asking, await again) == (expected, expected)
        assert cell(loom).actor.world.calls["begun"] == 2  # the code before the wait ran again
        recorded = await entries(loom, "patient/one")
        mine = [each.kind for each in recorded if each.command_id == "c" and each.kind.startswith("turn_")]
        assert mine[:3] == ["turn_parked", "turn_resumed", "turn_continued"]


async def test_a_turn_is_not_let_go_while_its_answer_is_being_journaled(tmp_path: Path) -> None:
    """It would be asleep by an entry after its answer, and nothing would ever wake it after a crash."""
    clock = FixedClock()
    async with opened(tmp_path, agents=[Patient], sources=fixed_sources(clock)) as loom:
        asking = asyncio.create_task(loom.actor(Patient, "one").ask(Wait(how="approval"), id="c", by="bob"))
        await parked(loom)
        clock.advance(KEEP_S)
        awake, went = cell(loom), []
        write = awake.write_and_wait

        async def written(ready: Draft) -> Receipt:
            writing = asyncio.ensure_future(write(ready))
            await asyncio.sleep(0)  # it is queued, and not durable
            went.append(loom.actors.sleepers.let_go())
            receipt: Receipt = await writing
            went.append(loom.actors.sleepers.let_go())
            return receipt

        awake.write_and_wait = written
        [request] = await loom.approvals.pending()
        await loom.approvals.grant(request.approval_id, by="alice")
        assert await asyncio.wait_for(asking, 30) == "True"
        assert went == [0, 0]
        assert "turn_parked" not in [each.kind for each in await entries(loom, "patient/one")]


async def test_a_turn_that_an_earlier_loom_let_go_after_its_answer_goes_on_at_the_next_start(tmp_path: Path) -> None:
    clock = FixedClock()
    async with opened(tmp_path / "first", agents=[Patient], sources=fixed_sources(clock)) as loom:
        asking = asyncio.create_task(loom.actor(Patient, "one").ask(Wait(how="approval"), id="c", by="bob"))
        assert await let_go(loom, clock) == 1
        [request] = await loom.approvals.pending()
        await loom.approvals.grant(request.approval_id, by="alice")
        assert await asyncio.wait_for(asking, 30) == "True"
        history = await entries(loom)
    [asleep] = [at for at, each in enumerate(history) if each.kind == "turn_parked"]
    assert history[asleep + 1].kind == "approval_answered"
    earlier = [*history[:asleep], *history[asleep + 1 : asleep + 2], history[asleep]]
    await lay_down(tmp_path / "again", [replace(each, sequence=at) for at, each in counted(earlier)])
    async with opened(tmp_path / "again", agents=[Patient]) as loom:
        asked = loom.actor(Patient, "one").ask(Wait(how="approval"), id="c", by="bob")
        assert await asyncio.wait_for(asked, 30) == "True"


def counted(history: list[Recorded]) -> Iterator[tuple[int, Recorded]]:
    """Yield entries with their sequences in their journals, in this order."""
    last = Counter[str]()
    for each in history:
        last[each.journal] += 1
        yield last[each.journal], each


@pytest.mark.parametrize("how", ["timeout", "branch"])
async def test_a_turn_that_may_go_on_by_itself_is_not_let_go(tmp_path: Path, how: str) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Patient], sources=fixed_sources(clock)) as loom:
        patient = loom.actor(Patient, "one")
        (await loom.actors.cell("patient/one")).actor.world.hold("outside")  # type: ignore[attr-defined]
        asking = asyncio.create_task(patient.ask(Wait(how=how), id="c"))
        assert await let_go(loom, clock) == 0
        cell(loom).actor.world.let_go("outside")
        clock.advance(3_600)
        loom.actors.services.timer.fire()
        assert await asyncio.wait_for(asking, 30) == "woke"


@pytest.mark.parametrize("how", ["sleep", "message", "approval"])
async def test_a_turn_that_was_let_go_is_found_at_the_next_start_without_waking_its_actor(
    tmp_path: Path, how: str
) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Patient], sources=fixed_sources(clock)) as loom:
        await loom.actor(Patient, "one").tell(Wait(how=how), id="c", by="bob")
        assert await let_go(loom, clock) == 1
        await until(lambda: cell(loom).written is None)
    async with opened(tmp_path, agents=[Patient], sources=fixed_sources(clock, seed="two")) as loom:
        timed = how != "approval"
        if timed:
            await until(lambda: loom.actors.services.timer.times)
        assert loom.actors.cells() == ()
        clock.advance(3_599 - KEEP_S)
        assert loom.actors.services.timer.fire() == 0
        if timed:
            clock.advance(1)
            assert loom.actors.services.timer.fire() == 1
        else:
            [request] = await loom.approvals.pending()
            await loom.approvals.grant(request.approval_id, by="alice")
        reply = await loom.actor(Patient, "one").ask(Wait(how=how), id="c", by="bob", timeout_s=30)
        assert reply == {"sleep": "woke", "message": "nothing", "approval": "True"}[how]
        assert not loom.actors.services.timer.times


async def test_a_turn_that_was_cut_short_before_it_was_let_go_is_driven_at_the_next_start(tmp_path: Path) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Patient], sources=fixed_sources(clock)) as loom:
        await loom.actor(Patient, "one").tell(Wait(how="sleep"), id="c")
        await parked(loom)
    async with opened(tmp_path, agents=[Patient], sources=fixed_sources(clock, seed="two")) as loom:
        await parked(loom)  # another branch of it may have been cut short
        assert loom.actors.running("patient/one", "c") is not None


async def test_a_turn_that_was_let_go_can_be_abandoned_and_callers_hear_of_it_and_of_a_close(tmp_path: Path) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Patient], sources=fixed_sources(clock)) as loom:
        patient = loom.actor(Patient, "one")
        asking = asyncio.create_task(patient.ask(Wait(how="sleep"), id="c"))
        assert await let_go(loom, clock) == 1
        await loom.turns.abandon("c", by="alice", reason="not needed")
        with pytest.raises(TurnAbandonedError):
            await asking
        assert not loom.actors.services.timer.times
        other = asyncio.create_task(patient.ask(Wait(how="sleep"), id="d"))
        assert await let_go(loom, clock) == 1
    with pytest.raises(TurnInterruptedError):
        await other


async def test_turns_are_let_go_by_themselves_and_many_wake_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Patient], park_keep_s=0.01, idle_after_s=0.05, resume_concurrency=4) as loom:
        for number in range(40):
            await loom.actor(Patient, str(number % 20)).tell(Wait(how="sleep", seconds=2.0), id=f"c{number}")
        await until(lambda: not loom.actors.cells())
        assert len(loom.actors.services.timer.times) == 40
        async with asyncio.timeout(60):
            for number in range(40):
                ref = loom.actor(Patient, str(number % 20))
                assert await ref.ask(Wait(how="sleep", seconds=2.0), id=f"c{number}") == "woke"
        ended = [each for each in await entries(loom) if each.kind == "turn_completed"]
        assert len(ended) == 40
        assert not loom.actors.services.timer.times


async def test_a_start_finds_many_turns_that_were_let_go_and_wakes_only_what_is_not_alone(tmp_path: Path) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Patient], sources=fixed_sources(clock)) as loom:
        for key in ("a", "b", "c", "c"):
            await loom.actor(Patient, key).tell(Wait(how="sleep"))

        await parked(loom, turns=4)
        clock.advance(KEEP_S)

        def all_gone() -> bool:
            loom.actors.sleepers.let_go()  # again and again, as one that is not durable yet stays
            return not any(each.turns or each.written for each in loom.actors.cells())

        await until(all_gone)
        clock.advance(KEEP_S)
    async with opened(tmp_path, agents=[Patient], sources=fixed_sources(clock, seed="two")) as loom:
        await until(lambda: len(loom.actors.services.timer.times) == 4)
        assert [each.journal for each in loom.actors.cells()] == ["patient/c"]
        assert cell(loom).turns == {}  # it was read, and its turns were left asleep
        clock.advance(3_600)
        assert loom.actors.services.timer.fire() == 4

        async def ended() -> bool:
            return [each.kind for each in await entries(loom)].count("turn_completed") == 4

        await until(ended)
