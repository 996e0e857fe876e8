"""Checking code before a deploy: open turns are driven to where they would continue, and nothing is done or written."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from loom.actors import Actor, Command
from loom.errors import OutOfRangeError
from loom.policies import Evaluation, allow, case, first_match, otherwise, policy
from loom.replay import TurnCheck
from loom.runtime import Loom
from tests.actors.agents import (
    Carry,
    Case,
    Do,
    Folding,
    Interpreter,
    Lender,
    Limits,
    Program,
    Together,
    World,
    discount,
)
from tests.actors.support import Granting, entries, opened, until

EVERY: Program = [
    Do(verb="fetch", key="f"),
    Do(verb="evaluate", key="e"),
    Do(verb="note", key="n"),
    Do(verb="draw", key="dr"),
    Do(verb="perform", key="p"),
    Do(verb="decide", key="d"),
    Together(branches=[[Do(verb="fetch", key="x")], [Do(verb="fetch", key="y")]]),
    Do(verb="approve", key="vp"),
]


async def left_open(directory: Path, *programs: Program) -> None:
    """Leave turns that are parked in an approval, or were cut short in a look-up."""
    world = World()
    world.hold("fetch held")
    async with opened(directory, world, shutdown_grace_s=0) as loom:
        for number, program in enumerate(programs):
            await loom.actor(Interpreter, str(number)).tell(Carry(program=program), id=f"c{number}")
            await until(lambda number=number: under_way(loom, f"interpreter/{number}", f"c{number}"))  # type: ignore[misc]


async def under_way(loom: Loom, journal: str, command_id: str) -> bool:
    turn = loom.actors.running(journal, command_id)
    if turn is None:
        return False
    await turn.durable()
    kinds = [each.kind for each in await entries(loom, journal)]
    return turn.parked or "context_gathered" in kinds


async def checked(directory: Path, *agents: type[Actor[Any]], world: World | None = None) -> list[TurnCheck]:
    """Check open turns with some code; nothing is resumed, done or written."""
    seen = world or World()
    async with opened(directory, seen, agents=agents or (Interpreter, Lender), resume=False) as loom:
        before = await entries(loom)
        found = [each async for each in loom.replay.check()]
        assert [each.entry_hash for each in await entries(loom)] == [each.entry_hash for each in before]
        assert seen.calls == {}
    return sorted(found, key=lambda each: each.command_id)


async def test_code_that_did_not_change_can_resume_every_open_turn(tmp_path: Path) -> None:
    await left_open(tmp_path, EVERY, [*EVERY[:-1], Do(verb="fetch", key="held")])

    assert [each.verdict for each in await checked(tmp_path)] == ["continues", "continues"]


class Changed(Interpreter):
    """Looks something else up first."""

    actor_type = "interpreter"

    async def execute(self, command: Carry) -> Any:
        await self.gather_context(system="new", entity="thing", query="q", fetcher=lambda: self.world.call("new"))
        return await super().execute(command)


class Shorter(Interpreter):
    """Replies without having asked for what was recorded."""

    actor_type = "interpreter"

    async def execute(self, command: Carry) -> Any:
        return {}


class Stubborn(Interpreter):
    """Waits for what nothing in it can bring about."""

    actor_type = "interpreter"

    async def execute(self, command: Carry) -> Any:
        await asyncio.get_running_loop().create_future()


class Raising(Interpreter):
    """Raises before it has asked for what was recorded."""

    actor_type = "interpreter"

    async def execute(self, command: Carry) -> Any:
        raise ValueError("new code")


@pytest.mark.parametrize(
    ("agent", "says"),
    [
        (Changed, "new/thing/q"),
        (Shorter, "its code replied"),
        (Raising, "its code raised [ValueError]"),
        (Stubborn, "stalled"),
    ],
)
async def test_code_that_would_diverge_is_named_with_the_steps_and_the_reason(
    tmp_path: Path, agent: type[Actor[Any]], says: str
) -> None:
    await left_open(tmp_path, EVERY)

    async with opened(tmp_path, agents=[agent, Lender], resume=False, divergence_timeout_s=1) as loom:
        [found] = [each async for each in loom.replay.check()]

    assert (found.verdict, found.journal, found.command_type) == ("diverges", "interpreter/0", "Carry")
    assert found.steps[0].startswith("gather_context")
    assert says in (found.reason or "")


async def test_an_agent_that_was_renamed_leaves_its_turns_without_code(tmp_path: Path) -> None:
    class Renamed(Interpreter):
        actor_type = "renamed"

    await left_open(tmp_path, EVERY)

    [found] = await checked(tmp_path, Renamed, Lender)

    assert found.verdict == "cannot_continue"
    assert "actor type [interpreter] has no code in this process" in (found.reason or "")


async def test_an_agent_that_was_renamed_and_keeps_its_type_continues(tmp_path: Path) -> None:
    class Renamed(Interpreter):
        actor_type = "interpreter"

    await left_open(tmp_path, EVERY)

    assert [each.verdict for each in await checked(tmp_path, Renamed, Lender)] == ["continues"]


async def test_a_command_that_cannot_be_read_any_more_is_named(tmp_path: Path) -> None:
    class Go(Command[None]):
        at: int

    class Going(Folding):
        actor_type = "going"

        async def execute(self, command: Go) -> None:
            await self.request_approval(approver="vp", reason="please")

    async with opened(tmp_path, agents=[Going], shutdown_grace_s=0) as loom:
        await loom.actor(Going, "one").tell(Go(at=1), id="c")
        await until(lambda: under_way(loom, "going/one", "c"))
    strict = type("Go", (Command[None],), {"__annotations__": {"at": "str"}, "__module__": "elsewhere"})

    class Later(Folding):
        actor_type = "going"

        async def execute(self, command: Any) -> None:
            await self.request_approval(approver="vp", reason="please")

    Later.execute.__annotations__["command"] = strict

    [found] = await checked(tmp_path, Later)

    assert found.verdict == "cannot_continue"
    assert "valid string" in (found.reason or "")


async def test_a_rule_that_is_gone_is_named_where_the_turn_has_yet_to_evaluate(tmp_path: Path) -> None:
    @policy("test-discount", Limits(), examples=[Case(percent=5)])
    def other(params: Limits, facts: Case) -> Evaluation:
        return first_match(
            case("below", facts.percent < 0, allow(), why="below zero", why_not="not below zero"),
            otherwise("over", allow(), why="whatever"),
        )

    class Other(Interpreter):
        actor_type = "interpreter"
        policy = other

    assert Interpreter.policy is discount
    await left_open(
        tmp_path, [Do(verb="fetch", key="f"), Do(verb="approve", key="vp"), Do(verb="evaluate", key="e")], EVERY
    )

    before, evaluated = await checked(tmp_path, Other, Lender)

    assert before.verdict == "cannot_continue"
    assert "test-discount" in (before.reason or "")
    assert evaluated.verdict == "continues"  # what it evaluated is recorded


async def test_a_sample_of_ended_turns_is_driven_again_and_a_seed_repeats_it(tmp_path: Path) -> None:
    async with opened(tmp_path, approver=Granting()) as loom:
        for number in range(6):
            await loom.actor(Interpreter, str(number % 2)).ask(Carry(program=EVERY), id=f"c{number}")
    async with opened(tmp_path, agents=[Shorter, Lender], resume=False) as loom:
        chosen = [each async for each in loom.replay.sample(3, seed=7)]
        assert chosen == [each async for each in loom.replay.sample(3, seed=7)]
        assert len({each.command_id for each in chosen}) == 3
        assert {each.verdict for each in chosen} == {"diverged"}
        assert len([each async for each in loom.replay.sample(100)]) == 6
        with pytest.raises(OutOfRangeError):
            loom.replay.sample(-1)
