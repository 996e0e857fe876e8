"""The eight core circuits. What they do is simple and the same every time; bring better code under the same ids."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from loom.circuits.choosing import retrieve_strategy, select_strategy, with_strategies
from loom.circuits.definition import Circuit, Result, circuit
from loom.circuits.strategies import Strategies

__all__ = ["CLIENT_DATA", "CORE", "core"]

_INTENTS = {
    "lead_generation": ("lead", "prospect", "sign-up", "signup", "demo", "pipeline"),
    "retention": ("retain", "retention", "churn", "renew", "loyal"),
    "brand_awareness": ("brand", "aware", "reach", "launch"),
    "conversion": ("sell", "sale", "convert", "purchase", "checkout"),
}
_USUAL = {"lead_generation": ("b2b", "saas")}
"""What a business is usually after, by marks of its profile, where no goal was named."""
_LONGEST_DRAFT = 100_000
_MOST_BANNED = 100
_BANNED = ("guaranteed", "risk-free", "best in the world", "miracle")


def _text(value: object) -> str:
    return " ".join(map(str, value.values())) if isinstance(value, Mapping) else str(value)


@circuit(
    "CX01_INTENT_DETECTION",
    category="detection",
    purpose="Detect marketing intent",
    inputs=("business_profile",),
    optional=("campaign_goal", "historical_context"),
    outputs=("detected_intent",),
    aliases={"detected_intent": ("intent",)},
    failure_mode="fallback_to_last_successful",
    success_metric="intent_accuracy",
)
async def detect_intent(inputs: Mapping[str, Any]) -> Result:
    """Return the intent whose words are met in the goal, in the profile, or that is usual for such a profile."""
    goal, profile = _text(inputs.get("campaign_goal") or "").lower(), _text(inputs["business_profile"]).lower()
    if not f"{goal}{profile}".strip():
        raise ValueError("there is nothing to detect an intent in")
    for words, intents, confidence in ((goal, _INTENTS, 0.95), (profile, _INTENTS, 0.95), (profile, _USUAL, 0.9)):
        for intent, marks in intents.items():
            if any(mark in words for mark in marks):
                return Result(outputs={"detected_intent": intent}, confidence=confidence)
    return Result(outputs={"detected_intent": "general"}, confidence=0.6)


@circuit(
    "CX02_AUDIENCE_CLASSIFICATION",
    category="classification",
    purpose="Select audience segment",
    inputs=("detected_intent", "location", "industry"),
    optional=("client_history",),
    outputs=("audience_segment",),
    aliases={"audience_segment": ("segment",)},
    failure_mode="default_to_primary",
    success_metric="segment_match",
    defaults={"audience_segment": "primary"},
)
async def classify_audience(inputs: Mapping[str, Any]) -> Result:
    """Return the segment of an industry."""
    industry = _text(inputs["industry"]).lower()
    if not industry.strip():
        raise ValueError("the industry is not known")
    large = any(mark in industry for mark in ("tech", "finance", "bank", "health", "saas"))
    return Result(outputs={"audience_segment": "enterprise" if large else "small_business"}, confidence=0.9)


async def _without_banned(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs with what the rules forbid taken out of the draft."""
    _check_draft(inputs)
    text = _text(inputs["draft_content"])
    lowered = _lowered(text)
    for word in sorted({*_BANNED, *_banned_by(inputs)}, key=len, reverse=True):
        text, lowered = _cut(text, lowered, _lowered(word))
    return {**inputs, "draft_content": " ".join(text.split())}


def _lowered(text: str) -> str:
    """Return a text in lower case, letter by letter: what has no lower form of one letter stays, so places agree."""
    return "".join(low if len(low := each.lower()) == 1 else each for each in text)


def _cut(text: str, lowered: str, word: str) -> tuple[str, str]:
    """Return a text, and it in lower case, without a word."""
    kept: list[slice] = []
    at = 0
    while (found := lowered.find(word, at)) >= 0:
        kept.append(slice(at, found))
        at = found + len(word)
    kept.append(slice(at, None))
    return "".join(text[each] for each in kept), "".join(lowered[each] for each in kept)


def _check_draft(inputs: Mapping[str, Any]) -> None:
    """Refuse what would take the guard longer than anyone should have to wait."""
    if len(_text(inputs["draft_content"])) > _LONGEST_DRAFT or len(_banned_by(inputs)) > _MOST_BANNED:
        raise ValueError(f"expected at most {_LONGEST_DRAFT:,} characters and {_MOST_BANNED} banned words")


def _banned_by(inputs: Mapping[str, Any]) -> list[str]:
    rules = inputs.get("brand_rules")
    banned = rules.get("banned", []) if isinstance(rules, Mapping) else rules
    return [str(each) for each in banned if str(each).strip()] if isinstance(banned, list) else []


@circuit(
    "CX05_BRAND_GUARD",
    category="constraint",
    purpose="Brand and compliance guard",
    inputs=("draft_content", "brand_rules"),
    outputs=("approved_content",),
    failure_mode="auto_rewrite_with_penalty",
    success_metric="compliance_rate",
    rewrite=_without_banned,
)
async def guard_brand(inputs: Mapping[str, Any]) -> Result:
    """Return the draft if it has nothing in it that the rules forbid."""
    _check_draft(inputs)
    draft = _text(inputs["draft_content"])
    lowered = _lowered(draft)
    found = [word for word in (*_BANNED, *_banned_by(inputs)) if _lowered(word) in lowered]
    if found or not draft.strip():
        raise ValueError(f"the draft says [{', '.join(found)}]" if found else "the draft is empty")
    return Result(outputs={"approved_content": draft})


@circuit(
    "CX06_GENERATION_EXECUTION",
    category="generation",
    purpose="Generate marketing asset",
    inputs=("strategy_id", "approved_content"),
    optional=("creativity",),
    input_aliases={"strategy_id": ("content_strategy_id",)},
    outputs=("final_asset",),
    model_usage="generation",
    failure_mode="regenerate_with_lower_creativity",
    success_metric="asset_quality",
)
async def generate_asset(inputs: Mapping[str, Any]) -> Result:
    """Return the content set in the voice of its strategy; too much creativity comes to nothing."""
    strategy = inputs["strategy_id"]
    if not isinstance(strategy, str) or not strategy.strip():
        raise ValueError("there is no strategy to follow")
    creativity = inputs.get("creativity", 0.5)
    if not isinstance(creativity, int | float) or creativity > 0.9:
        raise RuntimeError("the asset is off the strategy")
    content = _text(inputs["approved_content"])
    return Result(outputs={"final_asset": f"[{strategy}] {content}"}, confidence=0.9)


@circuit(
    "CX07_PERFORMANCE_FEEDBACK",
    category="feedback",
    purpose="Measure performance",
    inputs=("final_asset", "platform_metrics"),
    outputs=("engagement_score",),
    failure_mode="mark_as_neutral",
    success_metric="feedback_coverage",
    defaults={"engagement_score": 0.5},
)
async def measure(inputs: Mapping[str, Any]) -> Result:
    """Return clicks by impressions."""
    metrics = inputs["platform_metrics"]
    score = metrics["clicks"] / metrics["impressions"]
    return Result(outputs={"engagement_score": round(min(max(float(score), 0.0), 1.0), 4)}, confidence=0.9)


@circuit(
    "CX08_SELF_CORRECTION",
    category="autonomy",
    purpose="Self-correct if declining",
    inputs=("engagement_score", "baseline"),
    outputs=("correction_needed",),
    failure_mode="escalate_to_admin",
    success_metric="correction_success",
)
async def self_correct(inputs: Mapping[str, Any]) -> Result:
    """Tell whether a score is under four fifths of its baseline."""
    return Result(outputs={"correction_needed": float(inputs["engagement_score"]) < 0.8 * float(inputs["baseline"])})


CORE: tuple[Circuit, ...] = (
    detect_intent,
    classify_audience,
    retrieve_strategy,
    select_strategy,
    guard_brand,
    generate_asset,
    measure,
    self_correct,
)
"""CX01 to CX08, in order. `core` has them read the strategies of a workspace; by themselves they know of none."""


def core(strategies: Strategies, *, seals: bool = False) -> tuple[Circuit, ...]:
    """Return the eight; those that retrieve and select a strategy read which one is in use.

    With `seals`, what they are given of a client and make of it is encrypted for the client: see `CLIENT_DATA`.
    """
    bound = with_strategies(strategies)
    eight = (bound.get(each.definition.circuit_id, each) for each in CORE)
    return tuple(_sealing(each) if seals else each for each in eight)


CLIENT_DATA: Mapping[str, tuple[str, ...]] = {
    "CX01_INTENT_DETECTION": ("business_profile", "campaign_goal", "historical_context"),
    "CX02_AUDIENCE_CLASSIFICATION": ("location", "industry", "client_history"),
    "CX05_BRAND_GUARD": ("draft_content", "brand_rules", "approved_content"),
    "CX06_GENERATION_EXECUTION": ("approved_content", "final_asset"),
    "CX07_PERFORMANCE_FEEDBACK": ("final_asset", "platform_metrics"),
}
"""Which inputs and outputs of the core hold what a client has said. What is left are classes, scores and ids."""


def _sealing(each: Circuit) -> Circuit:
    fields = dict.fromkeys(CLIENT_DATA.get(each.definition.circuit_id, ()), "seal")
    return dataclasses.replace(each, definition=each.definition.model_copy(update={"fields": fields}))
