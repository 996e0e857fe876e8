"""The analyses of decisions by critics, as entries that a trace joins by the decision's id."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from loom.decisions.analysis import DecisionAnalysis
from loom.journal.entry import Entry

__all__ = ["EnrichmentEntry", "EnrichmentFailedEntry", "EnrichmentRefusal", "EnrichmentRefusedEntry"]

EnrichmentRefusal: TypeAlias = Literal["budget_count", "budget_cost"]
"""Why a decision was not enriched although it should have been."""


class EnrichmentEntry(Entry):
    """A critic has analysed a decision. The trace joins it by the id; the decision does not change."""

    kind: ClassVar[str] = "enrichment"

    decision_id: str
    analysis: DecisionAnalysis
    cost_micro_usd: int
    duration_ms: float


class EnrichmentRefusedEntry(Entry):
    """A decision was not analysed, for this reason."""

    kind: ClassVar[str] = "enrichment_refused"

    decision_id: str
    reason: EnrichmentRefusal
    detail: str


class EnrichmentFailedEntry(Entry):
    """A critic failed to analyse a decision: the failure, and the cost."""

    kind: ClassVar[str] = "enrichment_failed"

    decision_id: str
    type_name: str
    message: str
    cost_micro_usd: int
    duration_ms: float
