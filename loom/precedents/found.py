"""Rows of the index of precedents as what a search returns."""

from __future__ import annotations

import json
from typing import Any

from loom.clock import datetime_from_us
from loom.decisions.confirming import Confirmed
from loom.precedents.support import PrecedentSupport
from loom.projections import Row

__all__ = ["are_of", "found_in", "support_of", "written"]


def found_in(row: Row) -> dict[str, Any]:
    """Return a row of the index as the fields of a `PrecedentFound`."""
    return {
        "decision_id": row["decision_id"],
        "journal": row["journal"],
        "decision_type": row["decision_type"],
        "rationale": row["rationale"],
        "outcome": json.loads(row["outcome"]),
        "is_exception": bool(row["is_exception"]),
        "recorded_at": datetime_from_us(row["recorded_at_us"]),
        "situation": row["situation"],
        "precedent": row["precedent"],
        "superseded": row["superseded"],
    }


def written(hit: Confirmed) -> dict[str, Any]:
    """Return a hit as a turn writes it down: without its class where that is sealed."""
    found = found_in(hit.row)
    return found if hit.decision["sealed_class"] is None else {**found, "situation": None, "precedent": None}


def are_of(row: Row, *members: Row) -> bool:
    """Tell whether decisions are in the class that a row counts."""
    return all(each[name] == row[name] for each in members for name in ("precedent", "rule", "situation"))


def support_of(row: Row, oldest: Row, newest: Row, *, words: str) -> PrecedentSupport:
    """Return a class from its row, and its oldest and newest decisions."""
    return PrecedentSupport(
        precedent=row["precedent"],
        situation=row["situation"],
        rule=row["rule"],
        support=row["support"],
        superseded=row["superseded"],
        first_at=datetime_from_us(oldest["recorded_at_us"]),
        last_at=datetime_from_us(newest["recorded_at_us"]),
        decision_id=newest["decision_id"],
        decision_type=newest["decision_type"],
        outcome=json.loads(newest["outcome"]),
        words=words,
    )
