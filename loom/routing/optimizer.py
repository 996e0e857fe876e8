"""The optimiser: a registered policy over the seven signals. Weights are parameters, formulas are code, none is learnt.

Every measure becomes a number from 0 to 1, where 1 is best: a rate as it is, a latency or a cost as the lowest among
the measured agents divided by it, a flag as 0 or 1, what is not known as one half. The score of an agent is the mean of
these, weighted. Its lead over the baseline is `gap`; confidence is `n / (n + 10) * (0.5 + min(gap, 0.5))`, where n is
the number of executions of that one of the two that was seen less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from loom.policies import Evaluation, Facts, Params, allow, case, deny, first_match, otherwise, policy
from loom.routing.baseline import Baseline
from loom.routing.request import ContextSize, RoutingRequest
from loom.routing.signals import AgentSignals

__all__ = ["Measured", "OptimizerFacts", "OptimizerParams", "care_optimizer", "facts_of", "scores_in", "signals_in"]


class OptimizerParams(Params):
    """What each signal counts, and what a switch needs."""

    success_rate: float = Field(0.5, ge=0, le=1)
    latency_p50: float = Field(0.3, ge=0, le=1)
    latency_p95: float = Field(0.0, ge=0, le=1)
    cost_per_run: float = Field(0.2, ge=0, le=1)
    recovery_occurred: float = Field(0.0, ge=0, le=1)
    agent_availability: float = Field(0.0, ge=0, le=1)
    context_size_bucket: float = Field(0.0, ge=0, le=1)
    minimum_samples: int = Field(3, ge=3, le=10_000)
    minimum_gap: float = Field(0.15, ge=0.15, le=1)
    confidence_threshold: float = Field(0.5, ge=0, le=1)


class Measured(Facts):
    """One agent that the baseline could have chosen, with what history says about it."""

    agent: str
    baseline_score: float
    samples: int
    latency_p50: float | None = None
    latency_p95: float | None = None
    cost_per_run: float | None = None
    success_rate: float | None = None
    recovery_occurred: bool | None = None
    agent_availability: str | None = None
    context_size_bucket: str | None = None


class OptimizerFacts(Facts):
    """The snapshot that a choice is made on: the baseline's choice, and every agent that passed its stages."""

    baseline_agent: str
    context_size: ContextSize | None = None
    candidates: tuple[Measured, ...]


def lowest(values: list[float | None]) -> float | None:
    """Return the lowest of what is known."""
    known = [value for value in values if value is not None]
    return min(known) if known else None


def share(best: float | None, value: float | None) -> float:
    """Return how near a latency or a cost comes to the lowest one."""
    if best is None or value is None:
        return 0.5
    return best / value if value > 0 else 1.0


def flag(value: bool | None) -> float:  # noqa: FBT001 - what a rule calls takes what the facts hold
    """Return 1 for yes, 0 for no, one half where it is not known."""
    if value is None:
        return 0.5
    return 1.0 if value else 0.0


@policy(
    "care-optimizer",
    OptimizerParams(),
    examples=[
        OptimizerFacts(
            baseline_agent="a",
            candidates=(
                Measured(agent="a", baseline_score=0.9, samples=40, success_rate=0.78, latency_p50=340.0),
                Measured(agent="b", baseline_score=0.8, samples=50, success_rate=0.92, latency_p50=120.0),
            ),
        ),
        OptimizerFacts(baseline_agent="a", candidates=(Measured(agent="a", baseline_score=0.9, samples=0),)),
    ],
    uses=[lowest, share, flag],
    description="which agent history speaks for, and whether it speaks loudly enough to be heard",
)
def care_optimizer(params: OptimizerParams, facts: OptimizerFacts) -> Evaluation:
    """Allow a switch away from the baseline only on enough history, a clear lead and enough confidence."""
    measured = [each for each in facts.candidates if each.samples >= params.minimum_samples]
    fastest = lowest([each.latency_p50 for each in measured])
    steadiest = lowest([each.latency_p95 for each in measured])
    cheapest = lowest([each.cost_per_run for each in measured])
    weights = [
        ("success_rate", params.success_rate),
        ("latency_p50", params.latency_p50),
        ("latency_p95", params.latency_p95),
        ("cost_per_run", params.cost_per_run),
        ("recovery_occurred", params.recovery_occurred),
        ("agent_availability", params.agent_availability),
        ("context_size_bucket", params.context_size_bucket),
    ]
    total = sum([weight for _, weight in weights])
    scores: list[tuple[float, str, int]] = []
    for each in measured:
        fits = None
        if facts.context_size is not None and each.context_size_bucket is not None:
            fits = each.context_size_bucket == facts.context_size
        recovered = None if each.recovery_occurred is None else not each.recovery_occurred
        points = [
            0.5 if each.success_rate is None else each.success_rate,
            share(fastest, each.latency_p50),
            share(steadiest, each.latency_p95),
            share(cheapest, each.cost_per_run),
            flag(recovered),
            flag(None if each.agent_availability is None else each.agent_availability == "available"),
            flag(fits),
        ]
        weighted = sum([weight * point for (_, weight), point in zip(weights, points, strict=True)])
        scores = [*scores, (round(weighted / total, 6) if total > 0 else 0.0, each.agent, each.samples)]
    ranked = sorted([(0.0 - score, agent, samples) for score, agent, samples in scores])
    of_baseline = [each for each in ranked if each[1] == facts.baseline_agent]
    chosen = ranked[0][1] if ranked and of_baseline else facts.baseline_agent
    gap = round(of_baseline[0][0] - ranked[0][0], 6) if of_baseline else 0.0
    seen = min(of_baseline[0][2], ranked[0][2]) if of_baseline else 0
    # A tie with the baseline is no reason to leave it.
    chosen = facts.baseline_agent if gap <= 0 else chosen
    confidence = round(seen / (seen + 10) * (0.5 + min(gap, 0.5)), 6)
    answer = first_match(
        case(
            "cold-start",
            not of_baseline or len(measured) < 2,
            deny(),
            why=f"fewer than {params.minimum_samples} executions of the baseline or of every other agent",
            why_not=f"{len(measured)} agents have at least {params.minimum_samples} executions",
        ),
        case(
            "agreement",
            chosen == facts.baseline_agent,
            deny(),
            why=f"history speaks for {facts.baseline_agent}, too",
            why_not=f"history speaks for {chosen}",
        ),
        case(
            "hysteresis",
            gap < params.minimum_gap,
            deny(),
            why=f"{chosen} leads by {gap}, a switch needs {params.minimum_gap}",
            why_not=f"{chosen} leads by {gap}",
        ),
        case(
            "low-confidence",
            confidence < params.confidence_threshold,
            deny(),
            why=f"confidence is {confidence}, a switch needs {params.confidence_threshold}",
            why_not=f"confidence is {confidence}",
        ),
        otherwise("optimized", allow(), why=f"{chosen} leads by {gap}, confidence is {confidence}"),
    )
    return Evaluation(
        effect=answer.effect,
        rule=answer.rule,
        why=answer.why,
        why_not=answer.why_not,
        details={
            "chosen": chosen,
            "gap": gap,
            "confidence": confidence,
            "baseline_score": 0.0 - of_baseline[0][0] if of_baseline else None,
            "optimized_score": 0.0 - ranked[0][0] if of_baseline else None,
            "scores": " ".join([f"{agent}={score}" for score, agent, _ in scores]),
            "signals_used": " ".join(sorted([name for name, weight in weights if weight > 0])),
        },
    )


def facts_of(request: RoutingRequest, baseline: Baseline, signals: Mapping[str, AgentSignals]) -> OptimizerFacts:
    """Return the snapshot: of those that passed the baseline's stages, its choice among them."""
    return OptimizerFacts(
        baseline_agent=str(baseline.agent),
        context_size=request.context_size,
        candidates=tuple(
            Measured.model_validate(
                {"agent": each.agent, "baseline_score": each.score, **_seen(signals.get(each.agent, AgentSignals()))}
            )
            for each in baseline.eligible
        ),
    )


def _seen(signals: AgentSignals) -> dict[str, object]:
    return {**signals.values, "samples": signals.samples}


def scores_in(evaluation: Evaluation) -> dict[str, float]:
    """Return the optimiser's scores by agent, of those with enough history."""
    pairs: Sequence[str] = str(evaluation.details.get("scores") or "").split()
    return {agent: float(score) for agent, _, score in (pair.rpartition("=") for pair in pairs)}


def signals_in(evaluation: Evaluation) -> tuple[str, ...]:
    """Return the names of the signals that counted."""
    return tuple(str(evaluation.details.get("signals_used") or "").split())
