"""The rule of autonomy: when a strategy has declined for too long, how sure that is, and what is done about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from pydantic import Field

from loom.policies import Evaluation, Facts, Params, allow, case, deny, first_match, otherwise, policy

__all__ = ["KEPT_CYCLES", "Action", "DeclineFacts", "DeclineParams", "facts_for", "strategy_decline"]

KEPT_CYCLES = 100
"""So many cycles of a strategy are remembered: no baseline is a mean of more."""

Action: TypeAlias = Literal["rotate_strategy", "log_and_monitor", "escalate_to_admin"]
"""What is done about a decline, by how sure it is: see the bands in `DeclineParams`."""


class DeclineParams(Params):
    """What a decline is, how many in a row are too many, and the bands of confidence that a correction falls into."""

    baseline_cycles: int = Field(10, ge=1, le=KEPT_CYCLES)
    ratio: float = Field(0.8, gt=0, le=1)
    cycles: int = Field(3, ge=1, le=KEPT_CYCLES)
    confidence: float = Field(0.95, ge=0, le=1)
    confidence_without_other: float = Field(0.5, ge=0, le=1)
    act_above: float = Field(0.85, ge=0, le=1)
    escalate_below: float = Field(0.5, ge=0, le=1)


class DeclineFacts(Facts):
    """A cycle next to the baseline: the mean of the cycles before the decline under the same strategy."""

    engagement: float
    baseline: float | None = None
    declines_before: int = 0
    measured: float = 1.0
    has_other: bool = True


@policy(
    "strategy-decline",
    DeclineParams(),
    examples=[
        DeclineFacts(engagement=0.4, baseline=0.68, declines_before=2),
        DeclineFacts(engagement=0.4, baseline=0.68, declines_before=2, measured=0.7),
        DeclineFacts(engagement=0.4, baseline=0.68, declines_before=2, measured=0.3),
        DeclineFacts(engagement=0.4, baseline=0.68, declines_before=2, has_other=False),
        DeclineFacts(engagement=0.4, baseline=0.68, declines_before=1),
        DeclineFacts(engagement=0.6, baseline=0.68, declines_before=2),
        DeclineFacts(engagement=0.4),
    ],
    description="whether engagement has declined for too many cycles in a row, and what is done about it",
)
def strategy_decline(params: DeclineParams, facts: DeclineFacts) -> Evaluation:
    """Deny a strategy that declines too long, unless it is only to be watched."""
    baseline = 0.0 if facts.baseline is None else facts.baseline
    declining = facts.baseline is not None and facts.engagement < params.ratio * baseline
    declined = declining and facts.declines_before + 1 >= params.cycles
    most = params.confidence if facts.has_other else params.confidence_without_other
    confidence = min(most, facts.measured)
    figures = f"(current: {round(facts.engagement, 4)}, baseline: {round(baseline, 4)})"
    words = f"Engagement declined for {facts.declines_before + 1} cycles {figures}"
    said = first_match(
        case(
            "no_other",
            declined and not facts.has_other,
            deny(),
            why=f"{words}; there is no other strategy",
            why_not="there is another strategy, or it has not declined for long enough",
        ),
        case(
            "unsure",
            declined and confidence < params.escalate_below,
            deny(),
            why=f"{words}; confidence is {round(confidence, 4)}: a person is to look",
            why_not=f"confidence is at least {params.escalate_below}, or it has not declined for long enough",
        ),
        case(
            "monitored",
            declined and confidence <= params.act_above,
            allow(),
            why=f"{words}; confidence is {round(confidence, 4)}: log and monitor",
            why_not=f"confidence is above {params.act_above}, or it has not declined for long enough",
        ),
        case("declined", declined, deny(), why=words, why_not="it has not declined for long enough"),
        case(
            "declining",
            declining,
            allow(),
            why=f"Engagement declines {figures}",
            why_not=f"engagement is at least {params.ratio} of its baseline, or there is none yet",
        ),
        otherwise("within", allow(), why="Strategy performing within baseline"),
    )
    action = "rotate_strategy" if said.rule == "declined" else "escalate_to_admin"
    return Evaluation(
        effect=said.effect,
        rule=said.rule,
        why=said.why,
        why_not=said.why_not,
        details={
            "declining": declining,
            "action": ("log_and_monitor" if said.rule == "monitored" else action) if declined else None,
            "confidence": confidence if declined else None,
        },
    )


def facts_for(parameters: Mapping[str, object], facts: DeclineFacts) -> dict[str, object]:
    """Return the facts that a version asks for: one of the earlier rule knows nothing of confidence."""
    plain = facts.model_dump(mode="json")
    return plain if "act_above" in parameters else {name: plain[name] for name in _EARLIER_FACTS}


_EARLIER_FACTS = ("engagement", "baseline", "declines_before")
