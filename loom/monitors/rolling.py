"""The rolling mean: the mean of the last so many values of a subject, and whether it is over a threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from pydantic import Field

from loom.monitors.monitor import MAX_WINDOW
from loom.policies import Evaluation, Facts, Params, Policy, allow, case, deny, first_match, otherwise, policy

__all__ = [
    "RollingMeanFacts",
    "RollingMeanParams",
    "full_window",
    "full_window_without_credit",
    "rolling_mean",
    "rolling_mean_of",
]


class RollingMeanParams(Params):
    """How many values the mean is of, and what it may not be over."""

    window: int = Field(20, ge=1, le=MAX_WINDOW)
    threshold: float = 10.0


class RollingMeanFacts(Facts):
    """A full window: how many values it has, and their mean."""

    observed: int
    mean: float


@policy(
    "rolling-mean",
    RollingMeanParams(),
    examples=[RollingMeanFacts(observed=20, mean=10.0), RollingMeanFacts(observed=20, mean=10.1)],
    description="whether the mean of the last values is over a threshold",
)
def rolling_mean(params: RollingMeanParams, facts: RollingMeanFacts) -> Evaluation:
    """Deny a mean that is over the threshold; one that is at it is not."""
    return first_match(
        case(
            "drift",
            facts.mean > params.threshold,
            deny(),
            why=f"the mean of the last {facts.observed} is {round(facts.mean, 4)}, over {params.threshold}",
            why_not=f"the mean of the last {facts.observed} is {round(facts.mean, 4)}, not over {params.threshold}",
        ),
        otherwise("within", allow(), why=f"the mean of the last {facts.observed} is {round(facts.mean, 4)}"),
    )


def rolling_mean_of(name: str, params: RollingMeanParams) -> Policy[Any, Any]:
    """Return the same rule under a name of its own, so that several monitors have versions of their own."""
    return Policy(
        name=name,
        params=params,
        facts_model=RollingMeanFacts,
        rule=rolling_mean.rule,
        examples=[RollingMeanFacts(observed=params.window, mean=params.threshold)],
        description=rolling_mean.description,
    )


def full_window(values: Sequence[float], parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the facts of a window; None where it is not full. The sum is exact, so the same on every machine."""
    window = int(parameters["window"])
    if len(values) < window:
        return None
    return {"observed": window, "mean": _mean(values[-window:])}


def full_window_without_credit(values: Sequence[float], parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the facts of a window of what was given away: a value below zero counts as 0, and makes up for nothing."""
    return full_window([max(value, 0.0) for value in values], parameters)


def _mean(values: Sequence[float]) -> float:
    """Return the mean of finite numbers, also of those whose sum is beyond the largest float."""
    try:
        return math.fsum(values) / len(values)
    except OverflowError:
        return float(sum(map(Fraction, values)) / len(values))
