"""The optimiser: enough history, a clear lead, enough confidence, and formulas that are what they say they are."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from loom.routing import OptimizerFacts, OptimizerParams, care_optimizer
from loom.routing.optimizer import Measured, scores_in, signals_in

rates = st.floats(0, 1)
measures = st.one_of(st.none(), st.floats(0, 1e6))
measured = st.builds(
    Measured,
    agent=st.sampled_from("abcdef"),
    baseline_score=rates,
    samples=st.integers(0, 200),
    latency_p50=measures,
    latency_p95=measures,
    cost_per_run=measures,
    success_rate=st.one_of(st.none(), rates),
    recovery_occurred=st.one_of(st.none(), st.booleans()),
    agent_availability=st.sampled_from([None, "available", "degraded"]),
    context_size_bucket=st.sampled_from([None, "small", "large"]),
)
facts = st.builds(
    OptimizerFacts,
    baseline_agent=st.sampled_from("abcdef"),
    context_size=st.sampled_from([None, "small", "large"]),
    candidates=st.lists(measured, unique_by=lambda each: each.agent, max_size=6).map(tuple),
)


def agent(name: str, **more: Any) -> Measured:
    return Measured.model_validate({"agent": name, "baseline_score": 0.5, "samples": 50, **more})


def said(*candidates: Measured, **params: Any) -> Any:
    policy = care_optimizer.with_params(OptimizerParams.model_validate(params))
    return policy.evaluate(OptimizerFacts(baseline_agent=candidates[0].agent, candidates=candidates))


@given(facts)
def test_a_switch_always_has_enough_history_a_lead_and_confidence(case: OptimizerFacts) -> None:
    evaluation = care_optimizer.evaluate(case)
    assert evaluation.effect in ("allow", "deny"), "a rule of ours never fails"
    details: Any = evaluation.details
    if not evaluation.allowed:
        return
    by_agent = {each.agent: each for each in case.candidates}
    chosen, baseline = by_agent[details["chosen"]], by_agent[case.baseline_agent]
    assert chosen.agent != baseline.agent
    n = min(chosen.samples, baseline.samples)
    assert n >= 3
    assert details["gap"] >= 0.15
    assert details["confidence"] >= 0.5
    assert math.isclose(details["confidence"], n / (n + 10) * (0.5 + min(details["gap"], 0.5)), abs_tol=1e-6)
    scores = scores_in(evaluation)
    assert scores[chosen.agent] == max(scores.values())
    assert math.isclose(scores[chosen.agent] - scores[baseline.agent], details["gap"], abs_tol=1e-5)


def test_confidence_at_the_threshold_passes() -> None:
    # A gap of one half and ten executions: 10 / 20 * (0.5 + 0.5) is exactly one half.
    base, other = agent("a", samples=10, success_rate=0.5), agent("b", samples=10, success_rate=1.0)
    only = {"success_rate": 1, "latency_p50": 0, "cost_per_run": 0}
    evaluation = said(base, other, **only)
    assert (evaluation.rule, evaluation.details["confidence"]) == ("optimized", 0.5)
    assert said(base, agent("b", samples=9, success_rate=1.0), **only).rule == "low-confidence"


@pytest.mark.parametrize(
    ("other", "rule"),
    [
        (agent("b", samples=2, success_rate=1.0), "cold-start"),
        (agent("b", success_rate=0.4), "agreement"),
        (agent("b", success_rate=0.5), "agreement"),
        (agent("b", success_rate=0.64), "hysteresis"),
        (agent("b", success_rate=0.65, samples=20), "low-confidence"),
    ],
)
def test_each_rail_holds_alone(other: Measured, rule: str) -> None:
    only = {"success_rate": 1, "latency_p50": 0, "cost_per_run": 0}
    evaluation = said(agent("a", success_rate=0.5), other, **only)
    assert (evaluation.rule, evaluation.allowed) == (rule, False)


def test_every_signal_can_count_and_those_that_do_are_named() -> None:
    base = agent("a", latency_p95=100.0, recovery_occurred=True, agent_availability="degraded")
    other = agent("b", latency_p95=100.0, recovery_occurred=False, agent_availability="available")
    none = {"success_rate": 0, "latency_p50": 0, "cost_per_run": 0}
    evaluation = said(base, other, **none, recovery_occurred=0.5, agent_availability=0.25, latency_p95=0.25)
    assert signals_in(evaluation) == ("agent_availability", "latency_p95", "recovery_occurred")
    assert scores_in(evaluation) == {"a": 0.25, "b": 1.0}


def test_the_context_size_of_the_request_is_met_or_not() -> None:
    none = {"success_rate": 0, "latency_p50": 0, "cost_per_run": 0, "context_size_bucket": 1}
    policy = care_optimizer.with_params(OptimizerParams.model_validate(none))
    case = OptimizerFacts(
        baseline_agent="a",
        context_size="large",
        candidates=(agent("a", context_size_bucket="small"), agent("b", context_size_bucket="large"), agent("c")),
    )
    assert scores_in(policy.evaluate(case)) == {"a": 0.0, "b": 1.0, "c": 0.5}


def test_with_no_weight_at_all_nothing_speaks_for_a_switch() -> None:
    assert said(agent("a"), agent("b"), success_rate=0, latency_p50=0, cost_per_run=0).rule == "agreement"


def test_the_rails_cannot_be_tuned_away() -> None:
    for loose in ({"minimum_samples": 2}, {"minimum_gap": 0.1}):
        with pytest.raises(ValidationError):
            OptimizerParams.model_validate(loose)


def test_numbers_that_are_none_are_no_facts() -> None:
    case = {"baseline_agent": "a", "candidates": [{"agent": "a", "baseline_score": 1.0, "samples": 5}]}
    assert care_optimizer.evaluate_json(case).rule == "cold-start"
    bad = '{"baseline_agent": "a", "candidates": [{"agent": "a", "baseline_score": NaN, "samples": 5}]}'
    assert care_optimizer.evaluate_json(bad).effect == "indeterminate"


def test_the_rule_is_the_version_that_was_registered_from_the_first() -> None:
    """Ranges, modes and stops came without a change of the rule, so what it has decided is judged again by itself."""
    assert care_optimizer.version_hash == "ea12d6594b510763b8794e35d632f35be4be8c7117444aa86b319a943123e4da"
