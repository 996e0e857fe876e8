"""The entries of the enricher and of its budget."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from loom.journal.entry import Entry, PersonEntry

__all__ = ["BudgetReservedEntry", "BudgetSettledEntry", "EnricherSetEntry", "ImportEnrichedEntry", "Settlement"]

Settlement: TypeAlias = Literal["known", "unknown_price", "failed", "lost"]
"""How sure the cost is: `known`; else the worst case was counted: no price, a failed call, or nobody came back."""


class EnricherSetEntry(Entry):
    """The enricher was set to other modes; decisions after `from_position` are judged by these.

    Of the first such entry of a journal it is those after the entry itself: before, nothing waits for an enricher.
    """

    kind: ClassVar[str] = "enricher_set"

    mode: str
    auto_enrich_on: tuple[str, ...]
    from_position: int


class ImportEnrichedEntry(PersonEntry):
    """A person asked that a critic look at what an import brought in: without that, nothing does."""

    kind: ClassVar[str] = "import_enriched"
    sources_since: ClassVar[int] = 1

    run_id: str
    by: str


class BudgetReservedEntry(Entry):
    """The most that a call may cost was set aside on a day of the budget's time zone, before the call."""

    kind: ClassVar[str] = "budget_reserved"

    reservation_id: str
    decision_id: str
    day: str
    worst_case_micro_usd: int


class BudgetSettledEntry(Entry):
    """What a call cost in the end, counted on the day on which it was reserved."""

    kind: ClassVar[str] = "budget_settled"

    reservation_id: str
    cost_micro_usd: int
    settlement: Settlement
