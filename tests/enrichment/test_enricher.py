"""Decisions are enriched beside the turn that makes them, as the modes say, and within the budget."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from loom import Loom, LoomConfig
from loom.enrichment import BudgetsConfig, Critic, DecisionTracesConfig, EnrichmentConfig, ScriptedCritic
from loom.errors import CriticError
from tests.enrichment.agents import Clerk, CountingCritic, Decide, opinion


def config(path: Path, *, mode: str = "hybrid", timeout_s: float = 5.0, **budgets: Any) -> LoomConfig:
    traces = DecisionTracesConfig(
        llm_enrichment=EnrichmentConfig.model_validate({"mode": mode, "timeout_s": timeout_s}),
        budgets=BudgetsConfig(**budgets),
    )
    return LoomConfig(data=path, sections={"decision_traces": traces})


def opened(path: Path, critic: Critic, **given: Any) -> Loom:
    return Loom.open(config(path, **given), actors=[Clerk], by="robin", critic=critic)


async def idle(loom: Loom) -> None:
    assert loom.enricher is not None
    await loom.enricher.idle()


async def test_a_decision_is_enriched_and_stays_as_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path, ScriptedCritic(opinion, cost_micro_usd=1_500, worst_case_micro_usd=9_000)) as loom:
        decision_id = await loom.actor(Clerk, "a").ask(Decide(why="a good customer"))
        before = [recorded.entry_hash async for recorded in loom.store.read("clerk/a")]
        await idle(loom)
        trace = await loom.traces.get(decision_id)
        assert [each.entry_hash async for each in loom.store.read("clerk/a")] == before
    [enrichment] = trace.enrichments
    assert enrichment.analysis is not None
    assert enrichment.analysis.deeper_rationale == "about a good customer"
    assert enrichment.analysis.model == "scripted"
    assert enrichment.cost_usd == 0.0015


@pytest.mark.parametrize(
    ("mode", "kind", "override", "asked"),
    [
        ("never", "exception", None, False),
        ("never", "exception", "always", True),
        ("hybrid", "exception", None, True),
        ("hybrid", "approval", None, True),
        ("hybrid", "synthesis", None, True),
        ("hybrid", "policy_application", None, False),
        ("hybrid", "policy_application", "always", True),
        ("hybrid", "exception", "never", False),
        ("always", "policy_application", None, True),
        ("always", "exception", "never", False),
    ],
)
async def test_the_override_comes_before_the_mode_and_the_mode_before_the_type(
    tmp_path: Path,
    mode: str,
    kind: str,
    override: str | None,
    asked: bool,  # noqa: FBT001
) -> None:
    critic = CountingCritic()
    async with opened(tmp_path, critic, mode=mode) as loom:
        decision_id = await loom.actor(Clerk, "a").ask(
            Decide.model_validate({"kind": kind, "enrich": override}), id="one"
        )
        await idle(loom)
    assert critic.asked == ([decision_id] if asked else [])


@pytest.mark.parametrize("override", [None, "always"])
async def test_nothing_goes_round_the_budget(tmp_path: Path, override: str | None) -> None:
    critic = CountingCritic()
    async with opened(tmp_path, critic, mode="always", max_enrichments_per_day=0) as loom:
        decision_id = await loom.actor(Clerk, "a").ask(Decide.model_validate({"enrich": override}))
        await idle(loom)
        [enrichment] = (await loom.traces.get(decision_id)).enrichments
    assert critic.asked == []
    assert enrichment.status == "refused"
    assert enrichment.problem is not None
    assert enrichment.problem.startswith("budget_count: 0 of 0 calls")


async def test_recording_a_decision_does_not_wait_for_a_critic(tmp_path: Path) -> None:
    critic = CountingCritic()
    critic.go.clear()
    async with opened(tmp_path, critic, timeout_s=60) as loom:
        first = await asyncio.wait_for(loom.actor(Clerk, "a").ask(Decide()), 5)
        assert (await loom.traces.get(first)).enrichments == ()
        critic.go.set()
        await idle(loom)
        assert len((await loom.traces.get(first)).enrichments) == 1


async def test_a_critic_that_takes_too_long_is_noted_and_its_worst_case_counts(tmp_path: Path) -> None:
    critic = CountingCritic()
    critic.go.clear()
    async with opened(tmp_path, critic, timeout_s=0.05) as loom:
        decision_id = await loom.actor(Clerk, "a").ask(Decide())
        await idle(loom)
        [enrichment] = (await loom.traces.get(decision_id)).enrichments
        today = await loom.budget.today()
    assert enrichment.status == "failed"
    assert enrichment.problem == "TimeoutError: no analysis within 0.05 s"
    assert (today.spent_micro_usd, today.reserved_micro_usd) == (10_000, 0)


@pytest.mark.parametrize(
    ("error", "cost"), [(CriticError("no", cost_micro_usd=700), 700), (RuntimeError("broken \x00"), 10_000)]
)
async def test_a_failed_call_costs_what_it_says_or_else_the_worst_case(
    tmp_path: Path, error: Exception, cost: int
) -> None:
    critic = CountingCritic()
    critic.error = error
    async with opened(tmp_path, critic) as loom:
        decision_id = await loom.actor(Clerk, "a").ask(Decide())
        await idle(loom)
        [enrichment] = (await loom.traces.get(decision_id)).enrichments
        assert (await loom.budget.today()).spent_micro_usd == cost
        await loom.actor(Clerk, "a").ask(Decide())  # and life goes on
    assert enrichment.status == "failed"


async def test_a_price_nobody_knows_counts_as_the_worst_case(tmp_path: Path) -> None:
    async with opened(tmp_path, CountingCritic(cost_micro_usd=None)) as loom:
        await loom.actor(Clerk, "a").ask(Decide())
        await idle(loom)
        assert (await loom.budget.today()).spent_micro_usd == 10_000


async def test_decisions_made_while_nobody_was_there_are_enriched_afterwards(tmp_path: Path) -> None:
    critic = CountingCritic()
    async with opened(tmp_path, critic) as loom:
        await idle(loom)
    async with Loom.open(config(tmp_path), actors=[Clerk], by="robin") as loom:
        decision_id = await loom.actor(Clerk, "a").ask(Decide())
    async with opened(tmp_path, critic) as loom:
        await idle(loom)
    assert critic.asked == [decision_id]


async def test_what_was_decided_before_a_mode_was_chosen_is_left_alone(tmp_path: Path) -> None:
    critic = CountingCritic()
    async with opened(tmp_path, critic, mode="hybrid") as loom:
        await loom.actor(Clerk, "a").ask(Decide(kind="policy_application"))
        await idle(loom)
    async with opened(tmp_path, critic, mode="always") as loom:
        await idle(loom)
        assert critic.asked == []
        later = await loom.actor(Clerk, "a").ask(Decide(kind="policy_application"))
        await idle(loom)
    assert critic.asked == [later]


async def test_two_hundred_at_once_never_exceed_the_budget(tmp_path: Path) -> None:
    critic = CountingCritic(worst_case_micro_usd=10_000, cost_micro_usd=9_000)
    async with opened(tmp_path, critic, mode="always", max_cost_per_day=0.5) as loom:
        refs = [loom.actor(Clerk, f"a{number}") for number in range(200)]
        await asyncio.gather(*(ref.ask(Decide()) for ref in refs))
        await idle(loom)
        today = await loom.budget.today()
        traces = [await loom.traces.get(each.decision_id) for each in await loom.traces.find(limit=200)]
    spent = sum(enrichment.cost_usd for trace in traces for enrichment in trace.enrichments)
    assert spent <= 0.5
    assert today.spent_micro_usd == round(spent * 1e6)
    assert today.reserved_micro_usd == 0
    assert len(critic.asked) == today.calls
    assert all(len(trace.enrichments) == 1 for trace in traces)
    assert today.calls >= 50


async def test_calls_that_come_together_wait_for_each_other_where_their_real_costs_fit(tmp_path: Path) -> None:
    critic = CountingCritic(worst_case_micro_usd=400_000, cost_micro_usd=1_000)
    async with opened(tmp_path, critic, mode="always", max_cost_per_day=0.5) as loom:
        refs = [loom.actor(Clerk, f"a{number}") for number in range(40)]
        await asyncio.gather(*(ref.ask(Decide()) for ref in refs))
        await idle(loom)
        today = await loom.budget.today()
        traces = [await loom.traces.get(each.decision_id) for each in await loom.traces.find(limit=200)]
    assert [each.status for trace in traces for each in trace.enrichments] == ["enriched"] * 40
    assert (today.calls, today.spent_micro_usd, today.reserved_micro_usd) == (40, 40_000, 0)
