"""Rules of circuits as they were: what was decided under them is judged under them, and a version adopted then runs.

Nothing here is changed any more: the versions' hashes are held in a test.
"""

from __future__ import annotations

from pydantic import Field

from loom.policies import AnyPolicy, Evaluation, Facts, Params, allow, case, deny, first_match, otherwise, policy

__all__ = ["EARLIER"]

_KEPT = 100


class DeclineParams(Params):
    """What a decline is, and how many in a row are too many."""

    baseline_cycles: int = Field(10, ge=1, le=_KEPT)
    ratio: float = Field(0.8, gt=0, le=1)
    cycles: int = Field(3, ge=1, le=_KEPT)


class DeclineFacts(Facts):
    """A cycle next to the ones before it under the same strategy."""

    engagement: float
    baseline: float | None = None
    declines_before: int = 0


@policy(
    "strategy-decline",
    DeclineParams(),
    examples=[
        DeclineFacts(engagement=0.4, baseline=0.68, declines_before=2),
        DeclineFacts(engagement=0.4, baseline=0.68, declines_before=1),
        DeclineFacts(engagement=0.4),
    ],
    description="whether engagement has declined for too many cycles in a row",
)
def strategy_decline(params: DeclineParams, facts: DeclineFacts) -> Evaluation:
    """Deny a strategy that declines too long."""
    baseline = 0.0 if facts.baseline is None else facts.baseline
    declining = facts.baseline is not None and facts.engagement < params.ratio * baseline
    said = first_match(
        case(
            "declined",
            declining and facts.declines_before + 1 >= params.cycles,
            deny(),
            why=f"Engagement declined for {facts.declines_before + 1} cycles "
            f"(current: {round(facts.engagement, 4)}, baseline: {round(baseline, 4)})",
            why_not="it has not declined for long enough",
        ),
        case(
            "declining",
            declining,
            allow(),
            why=f"Engagement declines (current: {round(facts.engagement, 4)}, baseline: {round(baseline, 4)})",
            why_not=f"engagement is at least {params.ratio} of its baseline, or there is none yet",
        ),
        otherwise("within", allow(), why="Strategy performing within baseline"),
    )
    return Evaluation(
        effect=said.effect, rule=said.rule, why=said.why, why_not=said.why_not, details={"declining": declining}
    )


EARLIER: tuple[AnyPolicy, ...] = (strategy_decline,)
"""Earlier code of registered rules, oldest first."""
