"""What a version says about recorded facts, or the reason, as one word, why it says nothing.

With `gaps` a table also says what holds for every value of the missing facts. That is only for reading: in a live turn,
a missing fact is indeterminate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, TypeAlias

from pydantic import JsonValue

from loom.policies.contract import AnyPolicy
from loom.policies.evaluation import BAD_FACTS
from loom.policies.registry import PolicyVersion
from loom.policies.tables.gaps import Partial
from loom.policies.tables.table import Table
from loom.replay.selection import Recalled

__all__ = ["Reason", "Said", "UnderWhich", "label", "not_judgeable", "open_words", "said_of"]

UnderWhich: TypeAlias = Callable[[str | None], tuple[PolicyVersion | None, AnyPolicy | None]]
"""Returns, by the hash of the version that decided, the version to judge under and its code; None for each missing."""

Reason: TypeAlias = Literal[
    "no_facts",
    "no_evaluation",
    "no_rule",
    "other_policy",
    "missing_facts",
    "unusable_facts",
    "code_changed",
    "not_registered",
    "scenario_failed",
    "open",
    "not_looked_at",
    "sealed",
    "erased",
]
"""Why a case cannot be judged again. These words are stable."""


class Said(NamedTuple):
    """What a version says, as effect or effect and tier, and by which rule; or the reason why it says nothing.

    With gaps, `missing` are the facts that were not recorded, and `depends_on` those that decide an open case.
    """

    label: str | None
    rule: str | None = None
    reason: Reason | None = None
    missing: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()


def not_judgeable(recalled: Recalled, under: PolicyVersion | None, policy: AnyPolicy | None) -> Reason | None:
    """Return why a decision cannot be judged under a version, for a reason other than its facts; None if it can."""
    if under is None:
        return "no_rule" if recalled.policy_name is None else "not_registered"
    if recalled.policy_name not in (None, under.name):
        return "other_policy"
    if not under.has_rule:
        return "no_rule"
    if policy is None:
        return "code_changed"
    return "no_facts" if recalled.facts is None else recalled.closed


def said_of(policy: AnyPolicy, facts: Mapping[str, JsonValue], *, recorded_rule: str | None, gaps: bool) -> Said:
    """Return what a version says about facts that some version, or a person, has judged before."""
    if gaps and isinstance(policy, Table):
        return _over_gaps(policy, facts, recorded_rule)
    said = policy.verdict_again(facts, recorded_rule=recorded_rule)
    if said.rule == BAD_FACTS and recorded_rule != BAD_FACTS:
        missing = "missing" in policy.evaluate_json(facts, ignore_unknown=True).details
        return Said(None, reason="missing_facts" if missing else "unusable_facts")
    return Said(label(said.effect, said.tier), said.rule)


def open_words(reason: Reason, depends_on: tuple[str, ...]) -> str:
    """Return as text why a case is open: it depends on some facts, or there were too many combinations."""
    return f"depends on [{', '.join(depends_on)}]" if reason == "open" else "not looked at"


def label(effect: str | None, tier: str | None) -> str:
    """Return an effect with its tier as one word: `require_approval:vp`."""
    return str(effect) if tier is None else f"{effect}:{tier}"


def _over_gaps(table: Table, facts: Mapping[str, JsonValue], recorded_rule: str | None) -> Said:
    was_bad = recorded_rule == BAD_FACTS
    unknown = was_bad and any(name not in table.layout.facts for name in facts)
    partial = Partial("unusable") if unknown else table.partial(facts)
    if partial.state == "decided":
        return Said(label(partial.effect, partial.tier), partial.rule, missing=partial.missing)
    if partial.state == "unusable":
        return Said("indeterminate", BAD_FACTS) if was_bad else Said(None, reason="unusable_facts")
    reason: Reason = "open" if partial.state == "open" else "not_looked_at"
    return Said(None, reason=reason, missing=partial.missing, depends_on=partial.depends_on)
