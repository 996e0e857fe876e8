"""A resumed turn that does not do what its journal says is an error that names both sides, and has done nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from loom.actors import Actor
from loom.errors import DivergenceError
from loom.journal import Recorded
from loom.runtime import Loom
from tests.actors.agents import Carry, Do, Interpreter, Lender, NotedEntry, World
from tests.actors.support import entries, lay_down, opened, until

STEPS = [Do(verb="fetch", key="one"), Do(verb="fetch", key="two"), Do(verb="note", key="three")]


class RepliesAtOnce(Interpreter):
    actor_type = "interpreter"

    async def execute(self, command: Carry) -> dict[str, Any]:
        await self._do(command.program[0])  # type: ignore[arg-type]
        return {}


class Raises(Interpreter):
    actor_type = "interpreter"

    async def execute(self, command: Carry) -> dict[str, Any]:
        raise ValueError("new code, new fault")


class AsksForMore(Interpreter):
    actor_type = "interpreter"

    async def execute(self, command: Carry) -> dict[str, Any]:
        await self._fetch("zero", fails=False)
        return await super().execute(command)


class AsksInAnotherOrder(Interpreter):
    actor_type = "interpreter"

    async def execute(self, command: Carry) -> dict[str, Any]:
        return await super().execute(command.model_copy(update={"program": command.program[::-1]}))


class SwallowsEverything(AsksForMore):
    actor_type = "interpreter"

    async def execute(self, command: Carry) -> dict[str, Any]:
        try:
            return await super().execute(command)
        except BaseException:
            return {"said": "all is well"}


async def cut_before_the_end(directory: Path) -> list[Recorded]:
    """Leave a journal in which a turn did three steps and was cut short."""
    async with opened(directory / "whole", World()) as loom:
        await loom.actor(Interpreter, "one").ask(Carry(program=list(STEPS)), id="the-command", by="somebody")
        history = (await entries(loom))[:-1]
    await lay_down(directory / "cut", history)
    return history


@pytest.fixture
async def history(tmp_path: Path) -> list[Recorded]:
    return await cut_before_the_end(tmp_path)


def divergence(loom: Loom) -> DivergenceError:
    error = loom.actors.stuck("interpreter/one", "the-command")
    assert isinstance(error, DivergenceError)
    return error


@pytest.mark.parametrize(
    ("code", "expected", "found"),
    [
        (RepliesAtOnce, ["gather_context test/thing/two", "record three"], []),
        (
            Raises,
            ["gather_context test/thing/one", "gather_context test/thing/two", "record three"],
            [],
        ),
        (
            AsksForMore,
            ["gather_context test/thing/one", "gather_context test/thing/two", "record three"],
            ["gather_context test/thing/zero"],
        ),
        (
            AsksInAnotherOrder,
            ["gather_context test/thing/one", "gather_context test/thing/two", "record three"],
            ["record three"],
        ),
    ],
)
async def test_changed_code_is_told_what_was_expected_and_found_and_nothing_is_done(
    tmp_path: Path, history: list[Recorded], code: type[Actor[Any]], expected: list[str], found: list[str]
) -> None:
    world = World()
    async with opened(tmp_path / "cut", world, agents=[code, Lender], divergence_timeout_s=0.2) as loom:
        await until(lambda: loom.actors.stuck("interpreter/one", "the-command"))
        error = divergence(loom)
        assert (list(error.expected), list(error.found)) == (expected, found)
        assert all(step in str(error) for step in [*expected, *found])
        assert world.calls == {}
        after = await entries(loom)
        assert [each.body for each in after if each.journal == "interpreter/one"] == [
            each.body for each in history if each.journal == "interpreter/one"
        ]


async def test_a_diverged_turn_cannot_be_ended_by_code_that_swallows_everything(
    tmp_path: Path, history: list[Recorded]
) -> None:
    async with opened(tmp_path / "cut", agents=[SwallowsEverything, Lender], divergence_timeout_s=0.2) as loom:
        await until(lambda: loom.actors.stuck("interpreter/one", "the-command"))
        assert [each.kind for each in await entries(loom, "interpreter/one")] == [
            each.kind for each in history if each.journal == "interpreter/one"
        ]


async def test_whoever_asks_for_a_diverged_turn_is_told_so(tmp_path: Path, history: list[Recorded]) -> None:
    async with opened(tmp_path / "cut", agents=[RepliesAtOnce, Lender]) as loom:
        with pytest.raises(DivergenceError, match="nothing was done"):
            await loom.actor(RepliesAtOnce, "one").ask(Carry(program=list(STEPS)), id="the-command")
        (listed,) = await loom.turns.unfinished()
        assert listed.status == "stuck"
        assert "does not do what its journal says" in str(listed.why)


async def test_other_turns_go_on_beside_a_diverged_one(tmp_path: Path, history: list[Recorded]) -> None:
    async with opened(tmp_path / "cut", agents=[AsksForMore, Lender], divergence_timeout_s=0.1) as loom:
        reply = await loom.actor(AsksForMore, "one").ask(Carry(program=[Do(verb="fetch", key="x")]))
        assert reply == {"x": {"key": "x"}}


async def test_with_the_old_code_back_a_retry_brings_it_to_its_end(tmp_path: Path, history: list[Recorded]) -> None:
    async with opened(tmp_path / "cut", agents=[RepliesAtOnce, Lender]) as loom:
        await until(lambda: loom.actors.stuck("interpreter/one", "the-command"))
    world = World()
    async with opened(tmp_path / "cut", world) as loom:
        async with asyncio.timeout(20):
            reply = await loom.actor(Interpreter, "one").ask(Carry(program=list(STEPS)), id="the-command")
        assert reply == {"one": {"key": "one"}, "two": {"key": "two"}, "three": None}
        assert world.calls == {}


class Forgetful(Interpreter):
    """Does its steps as they were recorded, and one more before the last of them."""

    actor_type = "interpreter"

    async def execute(self, command: Carry) -> dict[str, Any]:
        await self._carry(command.program[:-1], {}, states=False)
        await self.record(NotedEntry(text="new"), key="new")
        return {}


async def test_a_step_that_was_not_recorded_waits_for_the_recorded_ones(
    tmp_path: Path, history: list[Recorded]
) -> None:
    async with opened(tmp_path / "cut", agents=[Forgetful, Lender], divergence_timeout_s=0.2) as loom:
        await until(lambda: loom.actors.stuck("interpreter/one", "the-command"))
        error = divergence(loom)
        assert (error.expected, error.found) == (("record three",), ("record new",))
        assert [each.kind for each in await entries(loom, "interpreter/one")][-1] == "test.actors.noted"
