"""Earlier rules of the policy `loom.drift`, unchanged: versions that judged, or were adopted by a person, stay
runnable.

Do not change them: the hash of a version covers its rule. The first one judged the raw divergence.
"""

from __future__ import annotations

from pydantic import Field

from loom.policies.cases import allow, case, deny, first_match, indeterminate, otherwise, require_approval
from loom.policies.evaluation import Evaluation, Facts, Params
from loom.policies.policy import policy

__all__ = ["RawDriftFacts", "RawDriftParams", "drift_by_raw_divergence"]


class RawDriftParams(Params):
    """What may be changed without changing the rule. Divergences are in bits, 0..1."""

    alpha: float = Field(0.05, gt=0, lt=1)
    warning_at: float = Field(0.1, ge=0, le=1)
    critical_at: float = Field(0.3, ge=0, le=1)
    minimum_decisions: int = Field(30, ge=1)
    """In the smaller window."""
    pool_below: int = Field(5, ge=1)
    """The expected count in the smaller window from which the chi-square test treats a class by itself."""
    permutations: int = Field(4_999, ge=99, le=99_999)
    minimum_coverage: float = Field(0.5, ge=0, le=1)
    """The share of the current decisions that must be judged again to separate population from policy."""


class RawDriftFacts(Facts):
    """The facts of the rule. `smaller_window` counts decisions with a class."""

    smaller_window: int = Field(ge=0)
    p_value: float = Field(ge=0, le=1)
    js_divergence: float = Field(ge=0, le=1)


@policy(
    "loom.drift",
    RawDriftParams(),
    examples=[
        RawDriftFacts(smaller_window=29, p_value=1.0, js_divergence=0.0),
        RawDriftFacts(smaller_window=200, p_value=0.05, js_divergence=0.5),
        RawDriftFacts(smaller_window=200, p_value=0.01, js_divergence=0.05),
        RawDriftFacts(smaller_window=200, p_value=0.01, js_divergence=0.1),
        RawDriftFacts(smaller_window=200, p_value=0.01, js_divergence=0.3),
    ],
    description="When the pattern of decisions has changed, and how gravely.",
)
def drift_by_raw_divergence(params: RawDriftParams, facts: RawDriftFacts) -> Evaluation:
    """A change is one when chance alone hardly gives it; only then is it asked how large it is."""
    return first_match(
        case(
            "insufficient_data",
            facts.smaller_window < params.minimum_decisions,
            indeterminate(),
            why=f"a window holds {facts.smaller_window} decisions, fewer than {params.minimum_decisions}",
            why_not=f"each window holds at least {params.minimum_decisions} decisions",
        ),
        case(
            "not_detected",
            facts.p_value >= params.alpha,
            allow(),
            why=f"p is {facts.p_value}, not below {params.alpha}: chance alone gives as much",
            why_not=f"p is {facts.p_value}, below {params.alpha}",
        ),
        case(
            "critical",
            facts.js_divergence >= params.critical_at,
            deny(),
            why=f"the divergence is at least {params.critical_at}",
            why_not=f"the divergence is below {params.critical_at}",
        ),
        case(
            "warning",
            facts.js_divergence >= params.warning_at,
            require_approval("policy-owner"),
            why=f"the divergence is at least {params.warning_at}",
            why_not=f"the divergence is below {params.warning_at}",
        ),
        otherwise("stable", allow(), why=f"there is a change, and the divergence is below {params.warning_at}"),
    )
