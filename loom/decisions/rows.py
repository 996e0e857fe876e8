"""The rows that views make of decisions, each out of one entry: a view is filled with them, and held against them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from loom.decisions.conduct import departure_in, verdict_in
from loom.decisions.entries import DecisionJournalEntry
from loom.journal.entry import Recorded

__all__ = ["decision_row", "written_decision"]


def written_decision(recorded: Recorded) -> Mapping[str, Any] | None:
    """Return the decision that an entry holds, as plain JSON; None where it holds none that can be read."""
    if recorded.kind != DecisionJournalEntry.kind or recorded.plain is None:
        return None
    decision: Mapping[str, Any] = recorded.plain["decision"]
    return decision


def decision_row(recorded: Recorded, decision: Mapping[str, Any]) -> dict[str, object]:
    """Return column → value of the row of `trace_decisions`, as far as the decision's own entry says it.

    Who asked for it, and what became of its turn, other entries say.
    """
    policy, evaluation = decision["policy"], decision.get("evaluation")
    alike = decision.get("precedent_class") or {}
    outcome = decision.get("outcome") or {}
    actor_type, _, actor_key = recorded.journal.partition("/")
    return {
        "position": recorded.position,
        "decision_id": decision["decision_id"],
        "journal": recorded.journal,
        "sequence": recorded.sequence,
        "command_id": recorded.command_id,
        "actor_type": actor_type,
        "actor_key": actor_key,
        "decision_type": decision["decision_type"],
        "is_exception": int(decision.get("is_exception", False)),
        "policy_name": policy["name"],
        "policy_version": policy["version"],
        "policy_hash": policy["hash"],
        "rule": policy.get("rule"),
        "effect": None if evaluation is None else evaluation["effect"],
        "recorded_at_us": recorded.recorded_at_us,
        "entry_hash": recorded.entry_hash,
        "parent_decision_id": decision.get("parent_decision_id"),
        "run_id": decision.get("run_id"),
        "origin": decision.get("origin", "original"),
        "replayed_from": decision.get("replayed_from"),
        "confidence": decision.get("confidence"),
        "rationale": decision["rationale"],
        "situation": alike.get("situation"),
        "precedent": alike.get("precedent"),
        "outcome": json.dumps(outcome, ensure_ascii=False),
        "verdict": verdict_in(decision),
        "departure": departure_in(decision),
    }
