"""Verifying turns: the code is driven again over its journal, and says where it would do something else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from loom.actors import Actor
from loom.config import LoomConfig
from loom.errors import ActorFailedError
from loom.journal import Recorded
from loom.replay import TurnVerification
from loom.runtime import Loom
from tests.actors.agents import Carry, Do, Interpreter, Lend, Lender, NotedEntry, Program, Together, World
from tests.actors.support import Granting, entries, opened
from tests.actors.test_messages import Order, Paid, Shop
from tests.actors.test_resume import AT_ONCE, EVERY_VERB, PARKED
from tests.golden.reading import ACTORS, GOLDEN, copied

STEPS: Program = [
    Do(verb="fetch", key="f"),
    Do(verb="evaluate", key="e"),
    Do(verb="note", key="n"),
    Do(verb="approve", key="vp"),
    Do(verb="perform", key="p"),
    Do(verb="ask", key="a"),
    Do(verb="tell", key="t"),
    Do(verb="draw", key="dr"),
    Do(verb="decide", key="d"),
]


async def verified(loom: Loom, journal: str) -> list[TurnVerification]:
    return [each async for each in loom.replay.verify(journal)]


async def recorded_turn(directory: Path, program: Program, world: World | None = None) -> None:
    async with opened(directory, world, approver=Granting()) as loom:
        await loom.actor(Interpreter, "one").ask(Carry(program=program), id="c", by="bob")


@pytest.mark.parametrize(
    "program", [EVERY_VERB, AT_ONCE, PARKED, STEPS], ids=["every verb", "at once", "parked", "steps"]
)
async def test_code_that_has_not_changed_does_the_same_and_nothing_is_done(tmp_path: Path, program: Program) -> None:
    await recorded_turn(tmp_path, program)
    world = World()
    async with opened(tmp_path, world, resume=False) as loom:
        before = [_bytes(each) for each in await entries(loom)]
        verdicts = await verified(loom, "interpreter/one")
        assert [(each.command_id, each.verdict, each.reason) for each in verdicts] == [("c", "same", None)]
        assert [_bytes(each) for each in await entries(loom)] == before
        assert world.calls == {}


class Changed(Interpreter):
    """An interpreter whose steps a test can change."""

    actor_type = "interpreter"
    change: Callable[[Any, Do], Any] | None = None

    async def _do(self, step: Do) -> Any:
        assert Changed.change is not None
        return await Changed.change(self, step)


async def _leaves_a_step_out(self: Changed, step: Do) -> Any:
    return None if step.key == "n" else await Interpreter._do(self, step)


async def _adds_a_step(self: Changed, step: Do) -> Any:
    if step.key == "p":
        await self._fetch("more", fails=False)
    return await Interpreter._do(self, step)


async def _adds_a_step_at_the_end(self: Changed, step: Do) -> Any:
    said = await Interpreter._do(self, step)
    if step.key == "d":
        await self._fetch("more", fails=False)
    return said


async def _notes_something_else(self: Changed, step: Do) -> Any:
    if step.key == "n":
        return await self.record(NotedEntry(text="something else"), key="n")
    return await Interpreter._do(self, step)


async def _decides_otherwise(self: Changed, step: Do) -> Any:
    if step.key == "d":
        return await self.record_decision(rationale="another reason", decision_type="type-d", outcome={"key": "d"})
    return await Interpreter._do(self, step)


async def _asks_for_another_reason(self: Changed, step: Do) -> Any:
    if step.verb == "approve":
        return (await self.request_approval(approver=step.key, reason="because", key=step.key)).granted
    return await Interpreter._do(self, step)


async def _does_another_action(self: Changed, step: Do) -> Any:
    if step.verb == "perform":
        return await self.perform(action="another", effect=lambda key: f"did {key}", key=step.key)
    return await Interpreter._do(self, step)


async def _raises(self: Changed, step: Do) -> Any:
    if step.key == "d":
        raise ValueError("new fault")
    return await Interpreter._do(self, step)


async def _replies_something_else(self: Changed, step: Do) -> Any:
    return "else" if await Interpreter._do(self, step) is None else "other"


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        (_leaves_a_step_out, "diverged", "it asked for [request_approval vp] where [record n] comes next"),
        (_adds_a_step, "diverged", "it asked for [gather_context test/thing/more] where [perform p] comes next"),
        (_adds_a_step_at_the_end, "not_replayable", "gather_context_never_recorded"),
        (_notes_something_else, "diverged", "(test.actors.noted) is different"),
        (_decides_otherwise, "diverged", "(decision) is different"),
        (_asks_for_another_reason, "diverged", "(approval_requested) is different"),
        (_does_another_action, "diverged", "(effect_intended) is different"),
        (_raises, "diverged", "it ended with [('failed', 'ValueError')]"),
        (_replies_something_else, "diverged", "it ended with [('replied',"),
    ],
)
async def test_code_that_has_changed_is_found_out_and_nothing_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, verdict: str, reason: str
) -> None:
    await recorded_turn(tmp_path, STEPS)
    monkeypatch.setattr(Changed, "change", staticmethod(change))
    world = World()
    async with opened(tmp_path, world, agents=[Changed, Lender], resume=False, divergence_timeout_s=600.0) as loom:
        before = [_bytes(each) for each in await entries(loom)]
        async with asyncio.timeout(60):  # it is said at the first such step, and not after a patience
            (found,) = await verified(loom, "interpreter/one")
        assert found.verdict == verdict
        assert reason in str(found.reason)
        assert [_bytes(each) for each in await entries(loom)] == before
        assert world.calls == {}


async def test_a_turn_that_failed_is_the_same_if_it_fails_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        with pytest.raises(ActorFailedError):
            await loom.actor(Lender, "one").ask(Lend(key="k", fails=True))
        assert [each.verdict for each in await verified(loom, "lender/one")] == ["same"]


async def test_every_finished_turn_is_verified_and_no_other(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        ref = loom.actor(Interpreter, "one")
        for number in range(3):
            await ref.ask(Carry(program=[Do(verb="fetch", key="x")]), id=f"{number}")
        await ref.tell(Carry(program=[Do(verb="approve", key="vp")]), id="parked", by="bob")
        assert [each.command_id for each in await verified(loom, "interpreter/one")] == ["0", "1", "2"]
        await loom.turns.abandon("parked", by="alice", reason="enough")
        (*_, last) = await verified(loom, "interpreter/one")
        assert (last.command_id, last.verdict, last.reason) == ("parked", "not_replayable", "abandoned")


async def test_a_message_that_a_turn_took_is_not_driven_as_a_turn(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Shop]) as loom:
        shop = loom.actor(Shop, "one")
        await shop.send(Paid(amount=2), id="paid")
        assert await shop.ask(Order(), id="order") == ["2"]
        assert [(each.command_id, each.verdict) for each in await verified(loom, "shop/one")] == [("order", "same")]
        assert [each.command_id async for each in loom.replay.sample(5, seed=1)] == ["order"]


async def test_turns_that_were_resumed_verify_like_any_other(tmp_path: Path) -> None:
    world = World()
    world.hold("fetch second")
    program: Program = [Do(verb="fetch", key="first"), Do(verb="fetch", key="second"), Do(verb="decide", key="d")]
    async with opened(tmp_path, world, shutdown_grace_s=0) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(Carry(program=program, states=True), id="c"))
        await world.arrived("fetch second")
    await asyncio.gather(asking, return_exceptions=True)
    async with opened(tmp_path) as loom:
        await loom.actor(Interpreter, "one").ask(Carry(program=program, states=True), id="c")
        assert [each.verdict for each in await verified(loom, "interpreter/one")] == ["same"]


class Caught(Interpreter):
    actor_type = "interpreter"

    async def execute(self, command: Carry) -> dict[str, Any]:
        with suppress(BaseException):  # what a careless agent does
            await self._fetch("another", fails=False)
        return await super().execute(command)


async def test_a_replay_cannot_be_talked_out_of_what_it_may_not_do(tmp_path: Path) -> None:
    program: Program = [Together(branches=[[Do(verb="fetch", key="a")], [Do(verb="fetch", key="b")]])]
    await recorded_turn(tmp_path, program)
    world = World()
    agents: list[type[Actor[Any]]] = [Caught, Lender]
    async with opened(tmp_path, world, agents=agents, resume=False, divergence_timeout_s=0.1) as loom:
        (found,) = await verified(loom, "interpreter/one")
        assert found.verdict == "diverged"
        assert world.calls == {}


async def test_turns_that_were_recorded_before_sources_were_kept_do_what_they_did(tmp_path: Path) -> None:
    journal = copied(next(each for each in GOLDEN if each.name == "evolution"), tmp_path)
    config = LoomConfig(data=journal.parent.parent)
    async with Loom.open(config, workspace=journal.parent.name, actors=ACTORS, by="robin", resume=False) as loom:
        asked = (await loom.approvals.list(limit=1))[0]
        assert (asked.requested_by, asked.requested_identity_source) == ("sales", None)
        assert [each.verdict for each in await verified(loom, asked.journal)].count("same") > 20


def _bytes(recorded: Recorded) -> tuple[Any, ...]:
    return recorded.position, recorded.body, recorded.salt, recorded.entry_hash
