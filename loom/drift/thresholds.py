"""The policy that judges a comparison: whether there is a change, its severity, and whether there is enough data.

It is a policy like any other: to use other numbers, register and adopt `drift.with_params(DriftParams(…))`; every
report names the version. If no version is adopted, it registers itself at the first use. Earlier rules are in
`earlier.py`: a version of theirs that a person adopted stays in force.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from loom.policies.cases import allow, case, deny, first_match, indeterminate, otherwise, require_approval
from loom.policies.evaluation import Evaluation, Facts, Params
from loom.policies.policy import policy

__all__ = ["DriftFacts", "DriftParams", "Severity", "drift", "severity_of"]

Severity: TypeAlias = Literal["minor", "warning", "critical", "stable"]
"""The severity of a detected change. The earlier rule calls a small one `stable`; this one calls it `minor`."""


class DriftParams(Params):
    """What may be changed without changing the rule. Divergences are in bits, 0..1."""

    alpha: float = Field(0.05, gt=0, lt=1)
    warning_at: float = Field(0.01, ge=0, le=1)
    """On the excess of the divergence over what chance gives. 15 points of a class of half give 0.016."""
    critical_at: float = Field(0.2, ge=0, le=1)
    answered_otherwise_at: float = Field(0.01, gt=0, le=1)
    """The share of all pairs, answered otherwise on the same facts, that is a change whatever p is."""
    minimum_decisions: int = Field(30, ge=1)
    """In the smaller window; and how many pairs there must be for windows to be tested in pairs."""
    minimum_subjects: int = Field(20, ge=2)
    """The number of subjects from which all decisions of one are exchanged together; below, each pair is by itself."""
    pool_below: int = Field(5, ge=1)
    """The expected count in the smaller window from which a class is treated by itself; rarer ones are pooled."""
    permutations: int = Field(4_999, ge=99, le=99_999)
    minimum_coverage: float = Field(0.5, ge=0, le=1)
    """The share of the current decisions that must be judged again to separate population from policy."""


class DriftFacts(Facts):
    """What the rule looks at. `smaller_window` counts decisions with a class.

    `excess` is how far the windows lie apart beyond what chance gives at these sizes, as a share of what is left to 1.
    `answered_otherwise` is which share of the pairs the policy answered otherwise although their facts were the same.
    """

    smaller_window: int = Field(ge=0)
    p_value: float = Field(ge=0, le=1)
    excess: float = Field(ge=0, le=1)
    answered_otherwise: float = Field(ge=0, le=1)
    js_divergence: float = Field(ge=0, le=1)


@policy(
    "loom.drift",
    DriftParams(),
    examples=[
        DriftFacts(smaller_window=29, p_value=1.0, excess=0.0, answered_otherwise=0.0, js_divergence=0.0),
        DriftFacts(smaller_window=200, p_value=0.05, excess=0.5, answered_otherwise=0.0, js_divergence=0.7),
        DriftFacts(smaller_window=200, p_value=0.05, excess=0.0, answered_otherwise=0.01, js_divergence=0.1),
        DriftFacts(smaller_window=200, p_value=0.01, excess=0.005, answered_otherwise=0.0, js_divergence=0.76),
        DriftFacts(smaller_window=200, p_value=0.01, excess=0.01, answered_otherwise=0.0, js_divergence=0.1),
        DriftFacts(smaller_window=200, p_value=0.01, excess=0.2, answered_otherwise=0.0, js_divergence=0.3),
    ],
    description="When the pattern of decisions has changed, and how gravely.",
)
def drift(params: DriftParams, facts: DriftFacts) -> Evaluation:
    """A change is one when chance hardly gives it, or when it is a fact; only then is it asked how large it is."""
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
            facts.p_value >= params.alpha and facts.answered_otherwise < params.answered_otherwise_at,
            allow(),
            why=f"p is {facts.p_value}, not below {params.alpha}: chance alone gives as much",
            why_not=(
                f"p is {facts.p_value} against {params.alpha}, and a share of {facts.answered_otherwise} of the pairs "
                f"was answered otherwise on the same facts, against {params.answered_otherwise_at}"
            ),
        ),
        case(
            "critical",
            facts.excess >= params.critical_at,
            deny(),
            why=f"what exceeds chance is {facts.excess} of what is possible, at least {params.critical_at}",
            why_not=f"what exceeds chance is {facts.excess} of what is possible, below {params.critical_at}",
        ),
        case(
            "warning",
            facts.excess >= params.warning_at,
            require_approval("policy-owner"),
            why=f"what exceeds chance is {facts.excess} of what is possible, at least {params.warning_at}",
            why_not=f"what exceeds chance is {facts.excess} of what is possible, below {params.warning_at}",
        ),
        otherwise(
            "minor",
            allow(),
            why=f"there is a change; what exceeds chance is {facts.excess} of what is possible, "
            f"below {params.warning_at}",
        ),
    )


def severity_of(evaluation: Evaluation) -> Severity | None:
    """Return the severity that an evaluation gives; None where there is no change."""
    named: dict[str, Severity] = {"minor": "minor", "stable": "stable", "warning": "warning", "critical": "critical"}
    return named.get(evaluation.rule)
