"""The policy `oversight`: what stands out in the answers of one person.

It is a policy like any other: to use other numbers, register and adopt `oversight.with_params(OversightParams(…))`;
each report names the version. It says that another person should look, and nothing else follows from it.
"""

from __future__ import annotations

from pydantic import Field

from loom.policies.cases import allow, case, first_match, otherwise, require_approval
from loom.policies.evaluation import Evaluation, Facts, Params
from loom.policies.policy import policy

__all__ = ["OversightFacts", "OversightParams", "oversight"]


class OversightParams(Params):
    """What may be changed without changing the rule. Shares are 0..1."""

    quick_s: float = Field(5.0, gt=0)
    """A grant is quick where the person had less time for it than this."""
    horizon: int = Field(200, ge=30, le=1_000)
    """The number of last answers that are judged, and to which `alpha` refers."""
    alpha: float = Field(0.02, gt=0, lt=1)
    """The chance of a false alarm within that many answers; for quick grants, and for second looks."""
    tolerated_quick: float = Field(0.1, gt=0, lt=1)
    suspected_quick: float = Field(0.5, gt=0, lt=1)
    tolerated_disagreement: float = Field(0.15, gt=0, lt=1)
    suspected_disagreement: float = Field(0.5, gt=0, lt=1)
    missing_denials: float = Field(7.0, gt=0)
    """How many denials there would be at the rate of others, where there is none. Chance gives none in e⁻⁷."""


class OversightFacts(Facts):
    """The facts of the rule: the last answers of a person, at most `horizon` of them.

    Evidence is that of `oversight_evidence`. `expected_denials` is a cautious estimate from other people's answers.
    """

    answers: int = Field(ge=0)
    quick: int = Field(ge=0)
    quick_evidence: float = Field(ge=0)
    denied: int = Field(ge=0)
    expected_denials: float = Field(ge=0)
    looked_again: int = Field(ge=0)
    disagreed: int = Field(ge=0)
    disagreement_evidence: float = Field(ge=0)


def _facts(**given: float) -> OversightFacts:
    nothing = OversightFacts(
        answers=100,
        quick=0,
        quick_evidence=0.0,
        denied=10,
        expected_denials=0.0,
        looked_again=0,
        disagreed=0,
        disagreement_evidence=0.0,
    )
    return nothing.model_copy(update=given)


@policy(
    "oversight",
    OversightParams(),
    examples=[
        _facts(),
        _facts(quick=7, quick_evidence=9_999.0),
        _facts(quick=7, quick_evidence=10_000.0),
        _facts(denied=0, expected_denials=6.9),
        _facts(denied=0, expected_denials=7.0),
        _facts(denied=1, expected_denials=7.0),
        _facts(looked_again=9, disagreed=8, disagreement_evidence=9_999.0),
        _facts(looked_again=9, disagreed=8, disagreement_evidence=10_000.0),
    ],
    description="what stands out in the answers of one person",
)
def oversight(params: OversightParams, facts: OversightFacts) -> Evaluation:
    """Ask for another person's look where chance hardly gives what is seen."""
    line = params.horizon / params.alpha
    return first_match(
        case(
            "quick_grants",
            facts.quick_evidence >= line,
            require_approval("oversight"),
            why=f"{facts.quick} of the last {facts.answers} answers are grants in less than {params.quick_s} s; "
            f"the evidence that these are more than {params.tolerated_quick} of all is {facts.quick_evidence}, "
            f"at least {line}",
            why_not=f"the evidence of quick grants is {facts.quick_evidence}, below {line}",
        ),
        case(
            "second_looks_disagree",
            facts.disagreement_evidence >= line,
            require_approval("oversight"),
            why=f"{facts.disagreed} of {facts.looked_again} blind second looks disagree; the evidence that these are "
            f"more than {params.tolerated_disagreement} of all is {facts.disagreement_evidence}, at least {line}",
            why_not=f"the evidence of disagreement is {facts.disagreement_evidence}, below {line}",
        ),
        case(
            "never_denies",
            facts.denied == 0 and facts.expected_denials >= params.missing_denials,
            require_approval("oversight"),
            why=f"none of the last {facts.answers} answers is a denial; at the rate of others there would be at least "
            f"{facts.expected_denials}",
            why_not=f"{facts.denied} denials; {facts.expected_denials} are expected at least, at the rate of others",
        ),
        otherwise("nothing_stands_out", allow(), why=f"nothing stands out in the last {facts.answers} answers"),
    )
