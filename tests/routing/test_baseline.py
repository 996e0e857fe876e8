"""The baseline: stages in order, the score, and that nothing happens by accident."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.errors import AdmissionError
from loom.routing import Candidate, RoutingRequest, choose_baseline
from loom.routing.request import check_candidates
from tests.routing.support import candidate

METRICS = st.sampled_from(["cost", "latency", "accuracy", "risk_min", "balanced"])
LEVELS = st.sampled_from(["low", "medium", "high"])
RISKS = st.sampled_from(["strict", "balanced", "fast"])
WORDS = st.lists(st.sampled_from(["read", "write", "ask"]), unique=True).map(tuple)

requests = st.builds(
    RoutingRequest,
    description=st.sampled_from(["do it", " "]),
    metric=METRICS,
    domain=st.sampled_from(["a", "b"]),
    tools=WORDS,
    difficulty=LEVELS,
    risk=RISKS,
    tasks=WORDS,
    mode=st.sampled_from(["default", "batch"]),
)
candidates = st.lists(
    st.builds(
        Candidate,
        agent=st.sampled_from([f"agent-{letter}" for letter in "abcdefgh"]),
        metric=METRICS,
        domains=st.sampled_from([("a",), ("b",), ("a", "b")]),
        tools=WORDS,
        difficulty=LEVELS,
        risk=RISKS,
        tasks=WORDS,
        modes=st.sampled_from([("default",), ("batch", "default")]),
        availability=st.sampled_from(["available", "degraded", "unavailable"]),
    ),
    unique_by=lambda each: each.agent,
    max_size=8,
)


@given(requests, candidates, st.randoms(use_true_random=False))
def test_the_order_of_candidates_never_decides(
    request: RoutingRequest, given_candidates: list[Candidate], chance: random.Random
) -> None:
    shuffled = list(given_candidates)
    chance.shuffle(shuffled)
    assert choose_baseline(request, shuffled) == choose_baseline(request, given_candidates)


@given(requests, candidates)
def test_only_those_that_passed_every_stage_are_chosen_and_the_best_of_them(
    request: RoutingRequest, given_candidates: list[Candidate]
) -> None:
    baseline = choose_baseline(request, given_candidates)
    assert {each.agent for each in baseline.candidates} == {each.agent for each in given_candidates}
    for each in baseline.candidates:
        assert (each.rejected_at is None) == (each.passed == 5) == (each.reason is None)
        assert 0 <= each.score <= 1
        assert 0 <= each.confidence <= 1
    if baseline.eligible:
        best = max(each.score for each in baseline.eligible)
        assert baseline.agent == min(each.agent for each in baseline.eligible if each.score == best)
    else:
        assert baseline.agent is None


@pytest.mark.parametrize(
    ("request_more", "candidate_more", "stage", "reason"),
    [
        ({"description": " "}, {}, "aspiration", "the request is not described"),
        ({"metric": "cost"}, {"metric": "latency"}, "aspiration", "is for latency, wanted is cost"),
        ({}, {"domains": ("sales",)}, "domain", "does not know the domain support"),
        ({"tools": ("mail", "crm")}, {"tools": ("crm",)}, "domain", "has no mail"),
        ({"difficulty": "high"}, {"difficulty": "low"}, "strategy", "is for low difficulty at most, this is high"),
        ({"risk": "strict"}, {"risk": "fast"}, "strategy", "takes fast risks, tolerated is strict"),
        ({}, {"availability": "unavailable"}, "capability", "is not available"),
        ({"mode": "batch"}, {}, "orchestrator", "does not run in the mode batch"),
    ],
)
def test_the_first_stage_that_fails_rejects_and_says_why(
    request_more: dict[str, object], candidate_more: dict[str, object], stage: str, reason: str
) -> None:
    request = RoutingRequest.model_validate({"description": "do it", "domain": "support", **request_more})
    baseline = choose_baseline(request, [candidate("a", **candidate_more)])
    [scored] = baseline.candidates
    assert (baseline.agent, scored.rejected_at, scored.reason) == (None, stage, reason)


def test_the_score_is_fulfilment_stages_and_metric() -> None:
    request = RoutingRequest(description="do it", domain="support", metric="cost", tasks=("a", "b", "c", "d"))
    fits = candidate("fits", metric="cost", tasks=("a", "b", "c", "d"))
    half = candidate("half", metric="balanced", tasks=("a", "b"))
    none = candidate("none", metric="cost", tasks=("a",))
    scores = {each.agent: each.score for each in choose_baseline(request, [none, half, fits]).candidates}
    assert scores == {"fits": 0.9, "half": 0.6, "none": round((0.4 * 0.25 + 0.3 + 0.2) * 0.9, 6)}


def test_confidence_counts_low_fulfilment_and_a_degraded_agent_less() -> None:
    request = RoutingRequest(description="do it", domain="support", tasks=("a", "b", "c", "d"))
    assert choose_baseline(request, [candidate("a", tasks=("a", "b"))]).confidence == 1.0
    assert choose_baseline(request, [candidate("a", tasks=("a",))]).confidence == 0.94
    assert choose_baseline(request, [candidate("a", tasks=("a", "b"), availability="degraded")]).confidence == 0.95


def test_nobody_to_choose_from_is_nobody_chosen() -> None:
    baseline = choose_baseline(RoutingRequest(description="do it", domain="support"), [])
    assert (baseline.agent, baseline.confidence, baseline.candidates) == (None, 0.0, ())


def test_an_agent_that_is_there_twice_and_too_many_are_refused() -> None:
    with pytest.raises(AdmissionError, match=r"candidates name \[b\] more than once"):
        check_candidates([candidate("a"), candidate("b"), candidate("b", metric="cost")])
    with pytest.raises(AdmissionError, match=r"there are \[201\] candidates"):
        check_candidates([candidate(f"agent-{number}") for number in range(201)])
