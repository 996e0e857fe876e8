"""A command that is sent with a time begins at that time, once, over restarts, and costs nothing until then."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loom.actors import Command
from loom.errors import AdmissionError, TurnAbandonedError, TurnInterruptedError
from loom.testing import FixedClock, fixed_sources
from tests.actors.agents import Carry, Do, Folding, Interpreter, Lend, Lender
from tests.actors.support import entries, kinds, opened, until

FETCH = Carry(program=[Do(verb="fetch", key="a")])
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Remind(Command[None]):
    at: datetime


class Reminding(Folding):
    async def execute(self, command: Remind) -> None:
        await self.tell(Lender, "later", Lend(key="k"), at=command.at)


async def test_a_command_begins_at_its_time_and_is_not_in_memory_before(tmp_path: Path) -> None:
    clock = FixedClock()
    async with opened(tmp_path, sources=fixed_sources(clock)) as loom:
        ref = loom.actor(Interpreter, "one")
        receipt = await ref.tell(FETCH, id="later", at=NOON + HOUR)
        assert receipt.sequence == 1
        assert await ref.tell(FETCH, id="later", at=NOON + HOUR) == receipt
        assert loom.actors.running("interpreter/one", "later") is None
        await ref.ask(FETCH, id="now")
        asking = asyncio.create_task(ref.ask(FETCH, id="later"))
        clock.advance(3_599)
        assert loom.actors.services.timer.fire() == 0
        await loom.reached()
        [listed] = await loom.turns.unfinished()
        assert (listed.status, listed.summary.command_id) == ("parked", "later")
        clock.advance(1)
        assert loom.actors.services.timer.fire() == 1
        assert await asyncio.wait_for(asking, 30) == {"a": {"key": "a"}}
        mine = [each.kind for each in await entries(loom) if each.command_id == "later"]
        assert mine == ["command_received", "wait_begun", "turn_started", "context_gathered", "turn_completed"]


@pytest.mark.parametrize("late", [timedelta(0), 24 * HOUR], ids=["not yet", "past"])
async def test_a_command_that_is_told_for_later_survives_a_restart(tmp_path: Path, late: timedelta) -> None:
    clock = FixedClock()
    async with opened(tmp_path, sources=fixed_sources(clock)) as loom:
        await loom.actor(Reminding, "one").ask(Remind(at=NOON + HOUR))
        [sent] = [each.entry for each in await entries(loom, "reminding/one") if each.kind == "told"]
        assert sent.at == NOON + HOUR  # type: ignore[attr-defined]
    clock.advance(late)
    async with opened(tmp_path, sources=fixed_sources(clock, seed="two")) as loom:
        if not late:
            await until(lambda: loom.actors.services.timer.times)
            assert loom.actors.cells() == ()  # it was found without being woken
            clock.advance(3_600)
            assert loom.actors.services.timer.fire() == 1

        async def ended() -> bool:
            return "turn_completed" in await kinds(loom, "lender/later")

        await until(ended)
        assert (await kinds(loom, "lender/later")).count("context_gathered") == 1


async def test_a_command_for_later_can_be_abandoned_and_its_callers_hear_of_it(tmp_path: Path) -> None:
    clock = FixedClock()
    async with opened(tmp_path, sources=fixed_sources(clock)) as loom:
        ref = loom.actor(Interpreter, "one")
        await ref.tell(FETCH, id="later", at=NOON + HOUR)
        asking = asyncio.create_task(ref.ask(FETCH, id="later"))
        await until(lambda: next(iter(loom.actors.cells())).asleep.has_callers)
        await loom.reached()
        await loom.turns.abandon("later", by="alice", reason="not needed")
        with pytest.raises(TurnAbandonedError):
            await asking
        clock.advance(3_600)
        assert loom.actors.services.timer.fire() == 0
        await ref.tell(FETCH, id="another", at=NOON + 2 * HOUR)
        waiting = asyncio.create_task(ref.ask(FETCH, id="another"))
        await until(lambda: next(iter(loom.actors.cells())).asleep.has_callers)
    with pytest.raises(TurnInterruptedError):
        await waiting


async def test_a_time_without_a_zone_is_refused_and_one_that_has_passed_is_now(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        ref = loom.actor(Interpreter, "one")
        with pytest.raises(AdmissionError, match="no time zone"):
            await ref.tell(FETCH, at=datetime(2026, 1, 1))  # noqa: DTZ001
        assert await entries(loom, "interpreter/one") == []
        await ref.tell(FETCH, id="past", at=NOON)
        assert await ref.ask(FETCH, id="past", timeout_s=30) == {"a": {"key": "a"}}
