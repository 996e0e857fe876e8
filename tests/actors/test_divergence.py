"""A resumed turn that does not do what its journal says is an error that names both sides, and has done nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from loom.actors import Actor
from loom.errors import DivergenceError
from loom.journal import Recorded, TurnDivergedEntry
from loom.replay.turn_verification import verify_turns
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


async def diverged(loom: Loom) -> list[Recorded]:
    """Wait until the journal of the actor says that its turn diverged, and return it."""

    async def said() -> list[Recorded]:
        found = await entries(loom, "interpreter/one")
        return found if found[-1].kind == "turn_diverged" else []

    found: list[Recorded] = await until(said)
    return found


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
    async with opened(tmp_path / "cut", world, agents=[code, Lender], divergence_timeout_s=600) as loom:
        await until(lambda: loom.actors.stuck("interpreter/one", "the-command"))
        error = divergence(loom)
        assert (list(error.expected), list(error.found)) == (expected, found)
        assert all(step in str(error) for step in [*expected, *found])
        assert world.calls == {}
        *before, last = await diverged(loom)
        assert [each.body for each in before] == [each.body for each in history if each.journal == "interpreter/one"], (
            "nothing was done"
        )
        entry = last.entry
        assert isinstance(entry, TurnDivergedEntry)
        assert (list(entry.expected), list(entry.found)) == (expected, found)
        assert last.command_id == "the-command"


async def test_a_diverged_turn_cannot_be_ended_by_code_that_swallows_everything(
    tmp_path: Path, history: list[Recorded]
) -> None:
    async with opened(tmp_path / "cut", agents=[SwallowsEverything, Lender], divergence_timeout_s=600) as loom:
        await until(lambda: loom.actors.stuck("interpreter/one", "the-command"))
        assert [each.kind for each in await diverged(loom)][:-1] == [
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
    async with opened(tmp_path / "cut", agents=[AsksForMore, Lender], divergence_timeout_s=600) as loom:
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
    async with opened(tmp_path / "cut", agents=[Forgetful, Lender], divergence_timeout_s=600) as loom:
        await until(lambda: loom.actors.stuck("interpreter/one", "the-command"))
        error = divergence(loom)
        assert (error.expected, error.found) == (("record three",), ("record new",))
        assert [each.kind for each in await diverged(loom)][-2:] == ["test.actors.noted", "turn_diverged"]


# --- what is kept of it, and how it is shown ---------------------------------------------------------


async def test_a_divergence_is_journaled_once_however_often_the_turn_is_driven_again(
    tmp_path: Path, history: list[Recorded]
) -> None:
    for _ in range(3):
        async with opened(tmp_path / "cut", agents=[AsksForMore, Lender], divergence_timeout_s=600) as loom:
            await until(lambda: loom.actors.stuck("interpreter/one", "the-command"))
            assert [each.kind for each in await diverged(loom)].count("turn_diverged") == 1
    async with opened(tmp_path / "cut", agents=[AsksInAnotherOrder, Lender], divergence_timeout_s=600) as loom:
        await until(lambda: loom.actors.stuck("interpreter/one", "the-command"))
        await until(lambda: _count(loom, 2))
    async with opened(tmp_path / "cut", World()) as loom:
        reply = await loom.actor(Interpreter, "one").ask(Carry(program=list(STEPS)), id="the-command")
        assert reply == {"one": {"key": "one"}, "two": {"key": "two"}, "three": None}
        kinds_ = [each.kind for each in await entries(loom, "interpreter/one")]
        assert kinds_[-4:] == ["turn_diverged", "turn_diverged", "turn_resumed", "turn_completed"]
        assert [each.verdict async for each in verify_turns(loom.store, loom.actors, "interpreter/one")] == ["same"]


async def _count(loom: Loom, wanted: int) -> bool:
    return [each.kind for each in await entries(loom, "interpreter/one")].count("turn_diverged") == wanted


async def test_what_diverged_is_told_by_the_journal_also_where_no_loom_runs(
    tmp_path: Path, history: list[Recorded]
) -> None:
    async with opened(tmp_path / "cut", agents=[AsksForMore, Lender], divergence_timeout_s=600) as loom:
        await until(lambda: loom.actors.stuck("interpreter/one", "the-command"))
        await diverged(loom)
    async with opened(tmp_path / "cut", agents=[], resume=False) as loom:
        (listed,) = await loom.turns.list()
        summary = listed.summary
        assert (summary.status, summary.error_type) == ("stuck", "DivergenceError")
        assert "gather_context test/thing/zero" in str(summary.error_message)
        assert "[gather_context test/thing/one, " in str(summary.error_message)
        await loom.turns.retry("the-command", by="mira", reason="the old code is back")
        (listed,) = await loom.turns.list()
        assert (listed.summary.status, listed.summary.error_message) == ("running", None)


async def test_attempts_are_not_used_up_by_divergences(tmp_path: Path, history: list[Recorded]) -> None:
    for _ in range(5):
        async with opened(tmp_path / "cut", agents=[AsksForMore, Lender], divergence_timeout_s=600) as loom:
            await until(lambda: loom.actors.stuck("interpreter/one", "the-command"))
            assert isinstance(divergence(loom), DivergenceError), "never a turn that was resumed too often"
    async with opened(tmp_path / "cut", World()) as loom:
        reply = await loom.actor(Interpreter, "one").ask(Carry(program=list(STEPS)), id="the-command")
        assert reply["one"] == {"key": "one"}


async def test_why_tells_that_the_turn_of_a_decision_diverged_until_it_goes_on(tmp_path: Path) -> None:
    steps = [Do(verb="decide", key="done"), *STEPS]
    async with opened(tmp_path / "whole", World()) as loom:
        await loom.actor(Interpreter, "one").ask(Carry(program=list(steps)), id="the-command")
        whole = await entries(loom)
    await lay_down(tmp_path / "cut", whole[:-1])

    class Decides(Interpreter):
        actor_type = "interpreter"

        async def execute(self, command: Carry) -> dict[str, Any]:
            return await super().execute(command.model_copy(update={"program": [*command.program[:1], STEPS[2]]}))

    async with opened(tmp_path / "cut", agents=[Decides, Lender], divergence_timeout_s=600) as loom:
        await diverged(loom)
        [decided] = await loom.traces.find()
        trace = await loom.traces.get(decided.decision_id)
        assert "gather_context test/thing/one" in str(trace.divergence)
        told = (await loom.traces.explain(decided.decision_id)).text()
        assert "Its turn is stuck" in told
        assert "gather_context test/thing/one" in " ".join(told.split())
    async with opened(tmp_path / "cut", World()) as loom:
        await loom.actor(Interpreter, "one").ask(Carry(program=list(steps)), id="the-command")
        assert (await loom.traces.get(decided.decision_id)).divergence is None
