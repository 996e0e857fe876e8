"""With `async: false` a reply waits for what the critic says, and for nothing else: it is no step of the turn."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import pytest

from loom import Loom, LoomConfig
from loom.enrichment import BudgetsConfig, Critic, DecisionTracesConfig, EnrichmentConfig
from loom.enrichment.critic import CriticAnswer, CriticRequest
from loom.errors import CriticError
from tests.enrichment.agents import Clerk, CountingCritic, Decide


def opened(path: Path, critic: Critic, *, waits: bool = True, timeout_s: float = 30.0, **budgets: Any) -> Loom:
    modes = {"mode": "hybrid", "timeout_s": timeout_s, "async": not waits}
    traces = DecisionTracesConfig(
        llm_enrichment=EnrichmentConfig.model_validate(modes), budgets=BudgetsConfig(**budgets)
    )
    config = LoomConfig(data=path, sections={"decision_traces": traces})
    return Loom.open(config, actors=[Clerk], by="robin", critic=critic)


async def ended(loom: Loom, count: int = 1) -> None:
    """Wait until so many turns have ended."""
    committed = asyncio.Event()
    loom.store.on_commit(lambda _: committed.set())
    while True:
        committed.clear()
        if len([each for each in await loom.turns.list(limit=1_000) if each.status == "completed"]) >= count:
            return
        await committed.wait()


@pytest.mark.parametrize("waits", [True, False])
async def test_a_reply_is_held_until_the_enrichment_is_there_only_where_the_config_says_so(
    tmp_path: Path, *, waits: bool
) -> None:
    critic = CountingCritic()
    critic.go.clear()
    async with opened(tmp_path, critic, waits=waits) as loom:
        asked = asyncio.ensure_future(loom.actor(Clerk, "a").ask(Decide()))
        await ended(loom)
        await critic.called.wait()
        assert asked.done() is not waits
        critic.go.set()
        decision_id = await asked
        if waits:
            [enrichment] = (await loom.traces.get(decision_id)).enrichments
            assert enrichment.status == "enriched"


async def test_the_actor_goes_on_while_a_reply_is_held(tmp_path: Path) -> None:
    critic = CountingCritic()
    critic.go.clear()
    async with opened(tmp_path, critic) as loom:
        actor = loom.actor(Clerk, "a")
        held = asyncio.ensure_future(actor.ask(Decide(), id="held"))
        await ended(loom)
        assert await actor.ask(Decide(kind="policy_application"), id="free")  # nobody enriches this one
        assert not held.done()
        critic.go.set()
        await held


async def test_a_failure_and_a_refusal_let_the_reply_out(tmp_path: Path) -> None:
    critic = CountingCritic()
    critic.error = CriticError("no luck", cost_micro_usd=0)
    async with opened(tmp_path, critic, max_enrichments_per_day=1) as loom:
        failed = await loom.actor(Clerk, "a").ask(Decide())
        refused = await loom.actor(Clerk, "a").ask(Decide())
        said = [(await loom.traces.get(each)).enrichments[0].status for each in (failed, refused)]
    assert said == ["failed", "refused"]


async def test_a_critic_that_does_not_answer_holds_a_reply_for_its_timeout_at_most(tmp_path: Path) -> None:
    critic = CountingCritic()
    critic.go.clear()
    async with opened(tmp_path, critic, timeout_s=0.3) as loom:
        began = time.monotonic()
        await loom.actor(Clerk, "a").ask(Decide())
        took_s = time.monotonic() - began
    assert took_s >= 0.29


class Stubborn(CountingCritic):
    """Goes on when it is cancelled, as code that catches everything does."""

    async def analyse(self, request: CriticRequest) -> CriticAnswer:
        while not self.go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.go.wait()
        return await super().analyse(request)


async def test_a_critic_that_ignores_its_timeout_holds_no_reply_for_ever(tmp_path: Path) -> None:
    critic = Stubborn()
    critic.go.clear()
    async with opened(tmp_path, critic, timeout_s=0.1) as loom:
        try:
            async with asyncio.timeout(60):
                decision_id = await loom.actor(Clerk, "a").ask(Decide())
            assert (await loom.traces.get(decision_id)).enrichments == ()
        finally:
            critic.go.set()


async def test_what_is_held_is_let_out_when_the_loom_closes_and_the_reply_is_the_recorded_one(tmp_path: Path) -> None:
    critic = CountingCritic()
    critic.go.clear()
    async with opened(tmp_path, critic) as loom:
        held = asyncio.ensure_future(loom.actor(Clerk, "a").ask(Decide(), id="one"))
        await ended(loom)
        entries = [each.kind async for each in loom.store.read("clerk/a")]
    decision_id = await held
    async with opened(tmp_path, CountingCritic()) as loom:
        assert await loom.actor(Clerk, "a").ask(Decide(), id="one") == decision_id
        assert [each.kind async for each in loom.store.read("clerk/a")] == entries
        assert [each.verdict async for each in loom.replay.verify("clerk/a")] == ["same"]
    assert entries == ["command_received", "decision", "turn_completed"]


async def test_more_waits_than_a_look_takes_and_each_reply_has_its_own(tmp_path: Path) -> None:
    critic = CountingCritic()
    async with opened(tmp_path, critic) as loom:
        asked = [loom.actor(Clerk, f"a{number}").ask(Decide()) for number in range(60)]
        for decision_id in await asyncio.gather(*asked):
            assert (await loom.traces.get(decision_id)).enrichments
    assert len(critic.asked) == len(set(critic.asked)) == 60
