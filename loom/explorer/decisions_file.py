"""The list of decisions as a table for a spreadsheet: who asked, who decided, under which rule, and what came of it."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from loom.decisions.out import write_rows
from loom.precedents.browsed import BrowsedDecision
from loom.precedents.browsing import Browsing

__all__ = ["PAGE", "Result", "in_file", "result_of"]

Result: TypeAlias = Literal["granted", "denied", "open", "failed", "abandoned", "decided"]
"""What came of a decision, in a word; a decision that says neither was `decided`."""

_IN_FILE = 100_000
PAGE = 500
"""Decisions are read so many at a time."""
_FILE = (
    "decision_id",
    "decided_at",
    "result",
    "about",
    "asked_by",
    "decided_by",
    "answers",
    "kind",
    "policy",
    "version",
    "rule",
    "rule_said",
    "exception",
    "rationale",
    "outcome",
    "status",
    "position",
)


async def in_file(
    browsing: Browsing, wanted: Mapping[str, Any], first: Sequence[BrowsedDecision]
) -> AsyncIterator[str]:
    """Yield the lines of the file, page by page; `first` is the first page."""
    yield ",".join(_FILE) + "\r\n"
    found, written = first, 0
    while found:
        text = io.StringIO()
        written += write_rows(text, map(_line, found), _FILE, form="csv")
        yield text.getvalue()
        if written >= _IN_FILE:
            yield f"cut after {written} decisions: narrow them down by time or person and take the file again\r\n"
            return
        after = found[-1].decision.position
        found = await browsing.page(**wanted, limit=PAGE, after=after)


def _line(each: BrowsedDecision) -> dict[str, Any]:
    decision = each.decision
    return {
        "decision_id": decision.decision_id,
        "decided_at": decision.decided_at,
        "result": result_of(each),
        "about": decision.journal,
        "asked_by": each.requester,
        "decided_by": ", ".join(sorted(each.people)),
        "answers": "; ".join(
            f"{one.approver} asked: {one.status} by {one.answered_by} ({one.answered_identity_source or 'unknown'})"
            f"{f' at {one.answered_at.isoformat()}' if one.answered_at else ''}"
            f"{f': {one.comment}' if one.comment else ''}"
            for one in each.approvals
            if one.answered_by is not None
        ),
        "kind": decision.decision_type,
        "policy": decision.policy_name,
        "version": decision.policy_version,
        "rule": decision.rule,
        "rule_said": decision.effect,
        "exception": "yes" if decision.is_exception else "no",
        "rationale": decision.rationale,
        "outcome": decision.outcome,
        "status": decision.status,
        "position": decision.position,
    }


def result_of(each: BrowsedDecision) -> Result:
    """Return what came of a decision, in a word."""
    decision = each.decision
    if decision.status != "settled":
        return decision.status
    return decision.verdict or "decided"
