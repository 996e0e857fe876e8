"""The functions that a rule in Python is written with, so that it reads like a table and collects its own why-not.

Their meaning is part of every version hash: if it changes, the number in `loom.policies.purity` must rise,
and the meaning that old versions were registered with stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loom.policies.evaluation import (
    BAD_FACTS,
    NO_MATCH,
    RULE_FAILED,
    EffectName,
    Evaluation,
    RuleMiss,
    Scalar,
)

__all__ = [
    "Case",
    "Effect",
    "allow",
    "case",
    "deny",
    "first_match",
    "indeterminate",
    "otherwise",
    "require_approval",
]


@dataclass(frozen=True, slots=True)
class Effect:
    """What follows if a case holds; made by `allow`, `require_approval`, `deny` and `indeterminate`."""

    name: EffectName
    tier: str | None = None
    exception: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One row of a rule; made by `case` and `otherwise`."""

    rule: str
    holds: bool
    effect: Effect
    why: str
    why_not: str
    details: Mapping[str, Scalar] | None = None


def allow(*, exception: str | None = None) -> Effect:
    """It may be done; `exception` says why it is nevertheless an exception."""
    return Effect("allow", exception=exception)


def require_approval(tier: str | None = None, *, exception: str | None = None) -> Effect:
    """It may be done after an approval by this tier; `exception` says why it is an exception."""
    return Effect("require_approval", tier=tier, exception=exception)


def deny() -> Effect:
    """It may not be done."""
    return Effect("deny")


def indeterminate() -> Effect:
    """There is no answer; it is not done."""
    return Effect("indeterminate")


def case(
    rule: str,
    holds: bool,  # noqa: FBT001 — the condition reads best in second place, where a table has it
    effect: Effect,
    *,
    why: str,
    why_not: str,
    details: Mapping[str, Scalar] | None = None,
) -> Case:
    """Return one row: if the condition holds, the effect with `why`; if it fails, a miss with `why_not`."""
    if rule in (NO_MATCH, BAD_FACTS, RULE_FAILED) or not rule.strip():
        raise ValueError(f"rule name [{rule}] is blank or taken by loom: choose another")
    if type(holds) is not bool:
        raise TypeError(f"condition of rule [{rule}] is of type [{type(holds).__name__}]; expected [bool]: compare it")
    return Case(rule, holds, effect, why, why_not, details)


def otherwise(rule: str, effect: Effect, *, why: str, details: Mapping[str, Scalar] | None = None) -> Case:
    """Return the last row, which holds whenever none before it does."""
    return case(rule, True, effect, why=why, why_not="it always holds", details=details)


def first_match(*cases: Case) -> Evaluation:
    """Return the evaluation of the first case that holds, with a miss for every other one.

    If none holds, the evaluation is indeterminate and its rule is `none`.
    """
    names = [row.rule for row in cases]
    if len(set(names)) != len(names):
        raise ValueError(f"rules [{', '.join(names)}] are not all different: a why-not could not tell them apart")
    hit = next((row for row in cases if row.holds), None)
    if hit is None:
        misses = tuple(RuleMiss(rule=row.rule, why=row.why_not) for row in cases)
        return Evaluation(effect="indeterminate", rule=NO_MATCH, why="no rule matches these facts", why_not=misses)
    later = f"[{hit.rule}] holds and comes first"
    return Evaluation(
        effect=hit.effect.name,
        rule=hit.rule,
        why=hit.why,
        why_not=tuple(
            RuleMiss(rule=row.rule, why=later if row.holds else row.why_not) for row in cases if row is not hit
        ),
        tier=hit.effect.tier,
        is_exception=hit.effect.exception is not None,
        exception_reason=hit.effect.exception,
        details=dict(hit.details or {}),
    )
