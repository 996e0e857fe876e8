"""The baseline: five stages that every candidate has to pass, a score, and the choice. Pure, so it can be replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict

from loom.routing.request import DIFFICULTIES, RISKS, Candidate, RoutingRequest

__all__ = ["Baseline", "Scored", "Stage", "choose_baseline"]

Stage: TypeAlias = Literal["aspiration", "domain", "strategy", "capability", "orchestrator"]

_LOW_FULFILMENT = 0.3
_DIGITS = 6


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Scored(_Frozen):
    """One candidate after the stages: how many it passed, where and why it was rejected, its score."""

    agent: str
    passed: int
    rejected_at: Stage | None = None
    reason: str | None = None
    fulfilment: float
    score: float
    confidence: float
    degraded: bool = False


class Baseline(_Frozen):
    """What would be chosen without any history: the best of those that passed every stage, None where none did."""

    agent: str | None
    confidence: float
    candidates: tuple[Scored, ...]
    """All of them, best first."""

    @property
    def eligible(self) -> tuple[Scored, ...]:
        """Those that passed every stage."""
        return tuple(each for each in self.candidates if each.rejected_at is None)


def choose_baseline(request: RoutingRequest, candidates: Sequence[Candidate]) -> Baseline:
    """Return the baseline. The order of candidates does not count: score decides, then the agent's id."""
    scored = sorted((_scored(request, each) for each in candidates), key=_rank)
    first = scored[0] if scored and scored[0].rejected_at is None else None
    return Baseline(
        agent=None if first is None else first.agent,
        confidence=0.0 if first is None else first.confidence,
        candidates=tuple(scored),
    )


def _rank(scored: Scored) -> tuple[bool, float, str]:
    return scored.rejected_at is not None, -scored.score, scored.agent


def _scored(request: RoutingRequest, candidate: Candidate) -> Scored:
    fulfilment = _fulfilment(request, candidate)
    passed, confidence, rejected_at, reason = 0, 0.0, None, None
    for stage in _STAGES:
        reason = stage.problem(request, candidate)
        if reason is not None:
            rejected_at = stage.name
            break
        passed += 1
        confidence += stage.weight * _quality(stage.name, candidate, fulfilment)
    score = 0.4 * fulfilment + 0.3 * passed / len(_STAGES) + _metric_points(request, candidate)
    return Scored(
        agent=candidate.agent,
        passed=passed,
        rejected_at=rejected_at,
        reason=reason,
        fulfilment=round(fulfilment, _DIGITS),
        score=round(score * (0.9 if fulfilment < _LOW_FULFILMENT else 1.0), _DIGITS),
        confidence=round(confidence, _DIGITS),
        degraded=candidate.availability == "degraded",
    )


def _fulfilment(request: RoutingRequest, candidate: Candidate) -> float:
    wanted = set(request.tasks)
    return len(wanted.intersection(candidate.tasks)) / len(wanted) if wanted else 1.0


def _metric_points(request: RoutingRequest, candidate: Candidate) -> float:
    if candidate.metric == request.metric:
        return 0.2
    return 0.1 if candidate.metric == "balanced" else 0.0


def _quality(stage: Stage, candidate: Candidate, fulfilment: float) -> float:
    if stage == "strategy" and fulfilment < _LOW_FULFILMENT:
        return 0.7
    return 0.8 if stage == "capability" and candidate.availability == "degraded" else 1.0


# --- the stages ----------------------------------------------------------------------------------


def _aspiration(request: RoutingRequest, candidate: Candidate) -> str | None:
    if not request.description.strip():
        return "the request is not described"
    if candidate.metric not in (request.metric, "balanced"):
        return f"is for {candidate.metric}, wanted is {request.metric}"
    return None


def _domain(request: RoutingRequest, candidate: Candidate) -> str | None:
    if request.domain not in candidate.domains:
        return f"does not know the domain {request.domain}"
    missing = sorted(set(request.tools) - set(candidate.tools))
    return f"has no {', '.join(missing)}" if missing else None


def _strategy(request: RoutingRequest, candidate: Candidate) -> str | None:
    if DIFFICULTIES.index(request.difficulty) > DIFFICULTIES.index(candidate.difficulty):
        return f"is for {candidate.difficulty} difficulty at most, this is {request.difficulty}"
    if RISKS.index(candidate.risk) > RISKS.index(request.risk):
        return f"takes {candidate.risk} risks, tolerated is {request.risk}"
    return None


def _capability(_: RoutingRequest, candidate: Candidate) -> str | None:
    return "is not available" if candidate.availability == "unavailable" else None


def _orchestrator(request: RoutingRequest, candidate: Candidate) -> str | None:
    return None if request.mode in candidate.modes else f"does not run in the mode {request.mode}"


class _StageRule(NamedTuple):
    name: Stage
    weight: float
    problem: Callable[[RoutingRequest, Candidate], str | None]


_STAGES: tuple[_StageRule, ...] = (
    _StageRule("aspiration", 0.20, _aspiration),
    _StageRule("domain", 0.25, _domain),
    _StageRule("strategy", 0.20, _strategy),
    _StageRule("capability", 0.25, _capability),
    _StageRule("orchestrator", 0.10, _orchestrator),
)
"""The stages in their order; the weights are what each counts in the confidence, and sum to 1."""
