"""The entries of the enricher and of its budget."""

from __future__ import annotations

from typing import ClassVar

from loom.journal.entry import Entry, PersonEntry
from loom.spend.guard import Settlement

__all__ = ["BudgetReservedEntry", "BudgetSettledEntry", "EnricherSetEntry", "ImportEnrichedEntry", "Settlement"]


class EnricherSetEntry(Entry):
    """The enricher was set to other modes; they apply to decisions after `from_position`.

    The first such entry of a journal applies to decisions after itself: earlier ones do not wait for an enricher.
    """

    kind: ClassVar[str] = "enricher_set"

    mode: str
    auto_enrich_on: tuple[str, ...]
    from_position: int


class ImportEnrichedEntry(PersonEntry):
    """A person requested that a critic analyse imported decisions: without that, none does."""

    kind: ClassVar[str] = "import_enriched"
    sources_since: ClassVar[int] = 1

    run_id: str
    by: str


class BudgetReservedEntry(Entry):
    """The maximum cost of a call was reserved on a day of the budget's time zone, before the call."""

    kind: ClassVar[str] = "budget_reserved"

    reservation_id: str
    decision_id: str
    day: str
    worst_case_micro_usd: int


class BudgetSettledEntry(Entry):
    """The final cost of a call, counted on the day of its reservation."""

    kind: ClassVar[str] = "budget_settled"

    reservation_id: str
    cost_micro_usd: int
    settlement: Settlement
