"""The policy `loom.metric-drift`: when the change of a metric is reported, by size alone.

It is separate from `loom.drift`, which judges patterns with statistical tests: here two figures are compared. The
limits of 5 and 15 percent come from the document that also defines pattern drift (the DropSim upgrades).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from loom.policies.cases import allow, case, deny, first_match, otherwise, require_approval
from loom.policies.evaluation import Evaluation, Facts, Params
from loom.policies.policy import policy

__all__ = ["MetricDriftFacts", "MetricDriftParams", "MetricSeverity", "metric_drift"]

MetricSeverity: TypeAlias = Literal["stable", "warning", "critical"]
"""How far a metric has moved."""


class MetricDriftParams(Params):
    """The parameters of the rule: shares of the baseline's figure."""

    warning_at: float = Field(0.05, ge=0)
    critical_at: float = Field(0.15, ge=0)


class MetricDriftFacts(Facts):
    """The change of a metric as a share of the baseline's figure, up or down; `from_nothing` where that was 0."""

    change: float = Field(ge=0)
    from_nothing: bool = False


@policy(
    "loom.metric-drift",
    MetricDriftParams(),
    examples=[
        MetricDriftFacts(change=0.0),
        MetricDriftFacts(change=0.05),
        MetricDriftFacts(change=0.15),
        MetricDriftFacts(change=0.0, from_nothing=True),
    ],
    description="When a metric has moved, by size alone.",
)
def metric_drift(params: MetricDriftParams, facts: MetricDriftFacts) -> Evaluation:
    """A figure that was 0 has no share to move by: that it is not 0 any more is as far as it can move."""
    return first_match(
        case(
            "critical",
            facts.from_nothing or facts.change >= params.critical_at,
            deny(),
            why="it moved far",
            why_not=f"it moved by less than {params.critical_at}",
        ),
        case(
            "warning",
            facts.change >= params.warning_at,
            require_approval("policy-owner"),
            why="it moved",
            why_not=f"it moved by less than {params.warning_at}",
        ),
        otherwise("stable", allow(), why="it hardly moved"),
    )
