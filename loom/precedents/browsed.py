"""What browsing gives: decisions of a list, with counts of those that match."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from loom.decisions.approvals import Approval
from loom.decisions.trace import DecisionSummary

__all__ = ["FACETS", "Browsed", "BrowsedDecision", "CountedFacet", "CountedValue", "nothing_browsed"]

FACETS: Mapping[str, str] = {
    "decision_type": "decision_type",
    "effect": "effect",
    "rule": "rule",
    "policy_version": "policy_version",
    "is_exception": "is_exception",
    "person": "person",
    "requester": "by",
    "precedent_class": "precedent",
    "run_id": "run_id",
}
"""What decisions are counted by: the name of the filter, and its column."""

_ANSWERS = frozenset({"granted", "denied"})


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class CountedValue(_Frozen):
    """A value, how many of the decisions that match have it, and how many in each twelfth of their time."""

    value: str
    decisions: int
    trend: tuple[int, ...]


class CountedFacet(_Frozen):
    """The most frequent values of a facet; `others` is the number of further values."""

    name: str
    values: tuple[CountedValue, ...]
    others: int


class BrowsedDecision(_Frozen):
    """A decision of a list, who asked for it, and who answered its requests for approval."""

    decision: DecisionSummary
    requester: str | None
    approvals: tuple[Approval, ...]
    decided_by: str | None
    """Of an observed decision: who decided, as its source says."""

    @property
    def people(self) -> frozenset[str]:
        """Who decided: who answered its requests, or whom its source names."""
        answers = (event for approval in self.approvals for event in approval.events if event.event in _ANSWERS)
        answered = {event.by for event in answers if event.by is not None}
        named = {approval.answered_by for approval in self.approvals if approval.answered_by is not None}
        return frozenset(answered | named | ({self.decided_by} if self.decided_by is not None else set()))


class Browsed(_Frozen):
    """Decisions that match, newest first, and counts of those that match.

    `total` is exact unless `more`: then there are more than that. `floor` is the position below which nothing was
    looked at; None where all was.
    """

    decisions: tuple[BrowsedDecision, ...]
    total: int
    more: bool
    facets: tuple[CountedFacet, ...]
    first_at: datetime | None
    last_at: datetime | None
    floor: int | None
    next_after: int | None


def nothing_browsed() -> Browsed:
    """Return the answer where no decision can match."""
    facets = tuple(CountedFacet(name=name, values=(), others=0) for name in FACETS)
    return Browsed(
        decisions=(), total=0, more=False, facets=facets, first_at=None, last_at=None, floor=None, next_after=None
    )
