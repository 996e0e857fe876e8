"""Conduct: what was done in a decision, compared with its own rule.

An outcome is free data. It says whether something was granted by a boolean under one of the names in `GRANTED` or
`REFUSED`, or by one of these words (or `grant`, `accept`, `deny`, …) under one of the names in `SAYING`. An outcome
that says both says nothing. `executed` or `executes` takes precedence where it is true. Where it is false it says
nothing, because a repeated request is not executed a second time. If the outcome says nothing, the answers of people
count, and then the effect of the rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

from pydantic import JsonValue

from loom.decisions.decision import REDACTED, Decision

__all__ = [
    "DEPARTURES",
    "GRANTED",
    "REFUSED",
    "SAYING",
    "Departure",
    "Verdict",
    "departure_in",
    "departure_of",
    "granted",
    "verdict_in",
    "verdict_of",
]

Verdict: TypeAlias = Literal["granted", "denied"]
"""The result of a decision."""

Departure: TypeAlias = Literal[
    "granted_though_denied",
    "granted_though_indeterminate",
    "granted_without_consent",
    "granted_over_a_denial",
    "refused_though_allowed",
]
"""How a decision went against its own rule. These words are stable."""

DEPARTURES: Mapping[Departure, str] = {
    "granted_though_denied": "granted, and the rule denies it",
    "granted_though_indeterminate": "granted, and the rule could not say",
    "granted_without_consent": "granted, without the approval that the rule requires",
    "granted_over_a_denial": "granted, and a person had denied it",
    "refused_though_allowed": "refused, and the rule allows it",
}
"""Each departure in words."""

GRANTED = frozenset({"granted", "approved", "allowed", "permitted"})
REFUSED = frozenset({"denied", "refused", "rejected", "declined"})
SAYING = frozenset({"answer", "decision", "result", "status", "verdict"})
_DONE = frozenset({"executed", "executes"})
_SAID = GRANTED | REFUSED
_YES = GRANTED | {"accept", "accepted", "allow", "approve", "grant", "permit"}
_NO = REFUSED | {"decline", "deny", "refuse", "reject"}
_WORDS = _YES | _NO


def granted(outcome: Mapping[str, JsonValue]) -> bool | None:
    """Return whether an outcome says that something was granted, or not; None where it does not say."""
    answers = set[bool]()
    for name, value in outcome.items():
        if value is True and name in _DONE:
            return True
        if isinstance(value, bool) and name in _SAID:
            answers.add(value == (name in GRANTED))
        elif isinstance(value, str) and name in SAYING and value.lower() in _WORDS:
            answers.add(value.lower() in _YES)
    return answers.pop() if len(answers) == 1 else None


def verdict_of(decision: Decision) -> Verdict | None:
    """Return the result of a decision: by its outcome, else by people's answers, else by its rule; None if unknown."""
    return verdict_in(decision.model_dump(mode="json"))


def departure_of(decision: Decision) -> Departure | None:
    """Return how a decision went against its own rule, or against a person's denial; None where it did not.

    A decision without a rule, or with an outcome that does not say what was done, has no departure.
    """
    return departure_in(decision.model_dump(mode="json"))


def verdict_in(decision: Mapping[str, Any]) -> Verdict | None:
    """Return the same as `verdict_of`, for a decision in its written form."""
    was_granted, approvals, effect = granted(decision.get("outcome") or {}), _answers(decision), _effect(decision)
    if was_granted is not None:
        return "granted" if was_granted else "denied"
    if _denied(approvals):
        return "denied"
    if effect is None:
        return None
    if effect == "require_approval":
        return "granted" if _consent(approvals) else None
    return "granted" if effect == "allow" else "denied"


def departure_in(decision: Mapping[str, Any]) -> Departure | None:
    """Return the same as `departure_of`, for a decision in its written form."""
    was_granted, approvals, effect = granted(decision.get("outcome") or {}), _answers(decision), _effect(decision)
    if was_granted is None:
        return None
    if not was_granted:
        return "refused_though_allowed" if effect == "allow" and not _denied(approvals) else None
    if effect == "deny":
        return "granted_though_denied"
    if effect == "indeterminate":
        return "granted_though_indeterminate"
    if _denied(approvals):
        return "granted_over_a_denial"
    return "granted_without_consent" if effect == "require_approval" and not _consent(approvals) else None


def _answers(decision: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return who was asked, what was answered and whether a person did, in the order of the answers."""
    given = decision.get("approvals")
    if given:
        return sorted(given, key=lambda each: datetime.fromisoformat(each["answered_at"]))
    referred = (decision.get("refers") or {}).get("approvals") or ()
    return [
        {"approver": approver, "granted": granted, "by": REDACTED if named else None}
        for _, _, approver, granted, named in sorted(referred)
    ]


def _effect(decision: Mapping[str, Any]) -> str | None:
    evaluation = decision.get("evaluation")
    return None if evaluation is None else str(evaluation["effect"])


def _consent(approvals: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether a named person granted, and no approver's last answer is a denial."""
    return not _denied(approvals) and any(each["granted"] and each["by"] is not None for each in approvals)


def _denied(approvals: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether the last answer of any approver is a denial, by a person or by the deadline."""
    return not all({each["approver"]: each["granted"] for each in approvals}.values())
