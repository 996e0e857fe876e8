"""Scenarios tell what an actor does, and find agent code that cannot be resumed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

import pytest
from pydantic import BaseModel

from loom import Actor, Command, DecisionJournalEntry, Entry, Sources
from loom.ext import ActorFactory, Extension, Host
from loom.testing import FixedClock, Scenario, fixed_sources


class Counted(Command[int]):
    """Count up, asking for consent above ten."""

    by: int


class Total(BaseModel):
    """What was counted."""

    total: int = 0


class CountingAgent(Actor[Total]):
    """Adds numbers up, looking one up and asking for consent."""

    looked_up = 0

    async def execute(self, command: Counted) -> int:
        """Count."""
        bonus = await self.gather_context(
            system="table", entity="bonus", query=str(command.by), fetcher=lambda: self.look_up(command.by)
        )
        if command.by > 10:
            approval = await self.request_approval(approver="teller", reason="a large number")
            if not approval.granted:
                raise PermissionError("not granted")
        await self.record_decision(rationale="it was asked for", outcome={"by": command.by + bonus})
        return self.state.total

    def look_up(self, by: int) -> int:
        """Return a bonus."""
        type(self).looked_up += 1
        return by // 10

    def apply(self, entry: Entry) -> None:
        """Add up."""
        if isinstance(entry, DecisionJournalEntry):
            by = entry.decision.outcome["by"]
            assert isinstance(by, int)
            self.state = Total(total=self.state.total + by)


class ForgetfulAgent(Actor[None]):
    """Keeps something in memory that no journal knows: it cannot be resumed."""

    calls = 0

    async def execute(self, command: Counted) -> int:
        """Return something else whenever it is driven again."""
        type(self).calls += 1
        await self.gather_context(system="table", entity="bonus", query="1", fetcher=lambda: 1)
        return type(self).calls


class Drawn(Command[str]):
    """Draw."""


class DrawingAgent(Actor[None]):
    """Draws ids and numbers, and does something in between."""

    async def execute(self, command: Drawn) -> str:
        """Return all that was drawn."""
        drawn = []
        for number in range(2):
            drawn += [await self.new_id(), str(await self.random())]
            await self.perform(action="note", effect=lambda key: key, key=f"note-{number}")
        return ",".join(drawn)


async def test_a_scenario_runs_the_real_thing_and_tells_what_happened() -> None:
    happened = await Scenario(CountingAgent).given(Counted(by=3), Counted(by=4)).when(Counted(by=20))
    happened.then(reply=29, state=Total(total=29), decisions=1)
    assert "approval_requested" in happened.kinds
    assert happened.decisions[0].outcome == {"by": 22}


async def test_a_denied_approval_is_what_the_scenario_says() -> None:
    happened = await Scenario(CountingAgent, answers={"teller": False}).when(Counted(by=20))
    happened.then(raises="PermissionError", decisions=0, state=Total())


async def test_what_then_expects_and_did_not_happen_is_an_assertion_error() -> None:
    happened = await Scenario(CountingAgent).when(Counted(by=3))
    with pytest.raises(AssertionError, match="the reply is 3; expected 4"):
        happened.then(reply=4)
    with pytest.raises(AssertionError, match="the error is None; expected 'ValueError'"):
        happened.then(raises="ValueError")


async def test_a_turn_comes_to_the_same_end_wherever_it_is_cut_short() -> None:
    scenario = Scenario(CountingAgent, always_resume=True).given(Counted(by=3))
    (await scenario.when(Counted(by=20))).then(reply=25)


async def test_code_that_cannot_be_resumed_is_found() -> None:
    with pytest.raises(AssertionError, match="the reply, resumed after"):
        await Scenario(ForgetfulAgent, always_resume=True).when(Counted(by=1))


@pytest.mark.parametrize("sources", [None, fixed_sources(FixedClock())], ids=["its own", "a test's"])
async def test_a_turn_that_draws_comes_to_the_same_end_wherever_it_is_cut_short(sources: Sources | None) -> None:
    happened = await Scenario(DrawingAgent, always_resume=True, sources=sources).when(Drawn())
    assert len(set(happened.reply.split(","))) == 4


async def test_fixed_sources_give_the_same_again() -> None:
    first, second = fixed_sources(), fixed_sources()
    assert [first.new_id(), first.new_salt(16), first.random()] == [
        second.new_id(),
        second.new_salt(16),
        second.random(),
    ]


def test_a_fixed_clock_stands_still_and_goes_where_it_is_moved() -> None:
    clock = FixedClock()
    began = clock.now_us()
    clock.advance(1.5)
    assert clock.now_us() - began == 1_500_000
    clock.advance(-2)
    assert clock.now_us() - began == -500_000


class Ask(Command[int]):
    """What does it cost?"""

    item: str


class Clerk(Actor[None]):
    """Looks things up in what it was made with."""

    def __init__(self, prices: Mapping[str, int]) -> None:
        self._prices = prices

    async def execute(self, command: Ask) -> int:
        found: int = await self.gather_context(
            system="prices", entity="item", query=command.item, fetcher=lambda: self._prices[command.item]
        )
        return found


async def test_an_actor_with_a_constructor_is_made_as_the_scenario_says_also_where_it_is_resumed() -> None:
    scenario = Scenario(Clerk, make=lambda: Clerk({"tea": 3}), always_resume=True)
    (await scenario.when(Ask(item="tea"))).then(reply=3)


async def test_a_scenario_runs_with_the_extensions_that_its_actor_needs() -> None:
    entered: list[str] = []

    @contextlib.asynccontextmanager
    async def start(host: Host) -> AsyncIterator[str]:
        entered.append(host.by)
        yield "started"

    brought = Extension(name="prices", start=start, actors=[ActorFactory(Clerk, lambda: Clerk({"tea": 4}))])
    scenario = Scenario(Clerk, make=lambda: Clerk({"tea": 4}), extensions=[brought])
    (await scenario.when(Ask(item="tea"))).then(reply=4)
    assert len(entered) == 1
