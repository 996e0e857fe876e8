"""A decision takes results as they are, and precedents by their ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from loom import Actor, Command, Loom
from loom.decisions import DecisionInput
from loom.errors import ActorFailedError
from loom.testing import Scenario


class Account(BaseModel):
    arr_usd: int
    industry: str


class Decide(Command[str]):
    granted: bool = True
    precedents: tuple[str, ...] | None = None
    looks: bool = True
    handed: Any = None


class Desk(Actor[None]):
    actor_type = "handing-desk"

    async def execute(self, command: Decide) -> str:
        inputs: list[Any] = [command.handed] if command.handed is not None else []
        if command.looks:
            inputs += [
                await self.gather_context(
                    system="salesforce",
                    entity="account",
                    query="ARR, Industry",
                    returns=Account,
                    fetcher=lambda: {"arr_usd": 500_000, "industry": "healthcare"},
                ),
                await self.gather_context(system="zendesk", entity="tickets", query="SEV-1", fetcher=lambda: [1, 2, 3]),
            ]
        return await self.record_decision(
            rationale="they suffer",
            outcome={"approved": command.granted, "discount": 0.15},
            inputs=inputs,
            precedents=command.precedents,
        )


def opened(path: Path) -> Loom:
    return Loom.open(f"sqlite:///{path}/journal.db", actors=[Desk], by="robin")


async def test_results_of_look_ups_are_those_look_ups_and_others_are_marked_as_handed_in(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        decision_id = await loom.actor(Desk, "one").ask(Decide(handed={"note": "by phone", "at": [1.5, None]}))
        trace = await loom.traces.get(decision_id)
        text = (await loom.traces.explain(decision_id)).text()
        assert [each.verdict async for each in loom.replay.verify("handing-desk/one")] == ["same"]
    handed, account, tickets = trace.context
    assert (handed.source, handed.system, handed.result) == (
        "handed_in",
        "handed in",
        {"note": "by phone", "at": [1.5, None]},
    )
    assert (handed.retrieved_at, handed.duration_ms) == (None, None)
    assert (account.source, account.system, account.entity) == ("look_up", "salesforce", "account")
    assert (tickets.source, tickets.system, tickets.result) == ("look_up", "zendesk", [1, 2, 3])
    assert 'handed in  {"note": "by phone", "at": [1.5, null]}' in text
    assert "ARR, Industry in salesforce" in text


async def test_a_value_that_json_cannot_say_is_refused(tmp_path: Path) -> None:
    class Wrong(Desk):
        actor_type = "wrong-desk"

        async def execute(self, command: Decide) -> str:
            return await self.record_decision(rationale="so", inputs=[object()])

    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Wrong], by="robin") as loom:
        with pytest.raises(ActorFailedError, match="object"):
            await loom.actor(Wrong, "one").ask(Decide())


async def test_precedents_are_looked_up_by_id_and_related_by_their_outcome(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        yes = await loom.actor(Desk, "one").ask(Decide())
        no = await loom.actor(Desk, "two").ask(Decide(granted=False))
        named = Decide(precedents=(f"decision_{yes[:12]}", no))
        decision_id = await loom.actor(Desk, "three").ask(named)
        seen = (await loom.traces.get(decision_id)).precedents
        assert [(each.decision_id, each.relation) for each in seen] == [(yes, "followed"), (no, "distinguished")]
        assert all(each.decision is not None for each in seen)
        assert [each.verdict async for each in loom.replay.verify("handing-desk/three")] == ["same"]
        for unknown in ("decision_abcdef", "", "decision_"):
            with pytest.raises(ActorFailedError, match="is not known; expected the id of an earlier decision"):
                await loom.actor(Desk, "four").ask(Decide(precedents=(unknown,)))


async def test_what_was_meant_by_a_beginning_stays_what_it_was_when_it_is_no_longer_the_only_one(
    tmp_path: Path,
) -> None:
    """A turn that is driven again looks nothing up: the decision that was recorded says which ones were meant."""
    async with opened(tmp_path) as loom:
        first = await loom.actor(Desk, "one").ask(Decide())
        decision_id = await loom.actor(Desk, "two").ask(Decide(precedents=(first[:1],)))
        while len([each for each in await loom.traces.find(limit=100) if each.decision_id[0] == first[0]]) < 2:
            await loom.actor(Desk, "many").ask(Decide())
        with pytest.raises(ActorFailedError):
            await loom.actor(Desk, "three").ask(Decide(precedents=(first[:1],)))
        assert [each.verdict async for each in loom.replay.verify("handing-desk/two")] == ["same"]
        [seen] = (await loom.traces.get(decision_id)).precedents
    assert seen.decision_id == first


async def test_a_turn_that_is_resumed_after_every_step_decides_the_same() -> None:
    happened = await Scenario(Desk, always_resume=True).when(Decide(handed="by phone"))
    [decision] = happened.decisions
    assert [each.source for each in decision.inputs] == ["handed_in", "look_up", "look_up"]


async def test_inputs_that_are_whole_are_taken_as_they_are(tmp_path: Path) -> None:
    whole = DecisionInput(system="crm", entity="account", query="acme", result=1)

    class Whole(Desk):
        actor_type = "whole-desk"

        async def execute(self, command: Decide) -> str:
            return await self.record_decision(rationale="so", inputs=[whole, whole.model_dump()])

    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Whole], by="robin") as loom:
        trace = await loom.traces.get(await loom.actor(Whole, "one").ask(Decide()))
    assert trace.context == (whole, whole)
