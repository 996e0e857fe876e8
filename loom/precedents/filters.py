"""What decisions are filtered by, wherever they are searched or counted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from loom.errors import AdmissionError

__all__ = ["FILTERS", "checked_filters"]

FILTERS = frozenset(
    {
        "actor_key",
        "actor_type",
        "by_time",
        "command_type",
        "decision_type",
        "effect",
        "is_exception",
        "origin",
        "person",
        "policy",
        "policy_version",
        "precedent_class",
        "requester",
        "rule",
        "run_id",
        "since",
        "status",
        "until",
    }
)
"""The filters of `loom.decisions.finding.matching` that people name."""


def checked_filters(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the filters that are given. Raises: `AdmissionError` for an unknown one, or a time without a zone."""
    if unknown := sorted(set(given) - FILTERS):
        raise AdmissionError(f"unknown filter [{', '.join(unknown)}]; expected some of [{', '.join(sorted(FILTERS))}]")
    for name in ("since", "until"):
        at = given.get(name)
        if at is not None and not (isinstance(at, datetime) and at.tzinfo is not None):
            raise AdmissionError(f"[{name}] is [{at!r:.40}]; expected a datetime with a time zone")
    return {name: value for name, value in given.items() if value is not None}
