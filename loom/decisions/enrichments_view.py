"""The projection behind the enricher: decisions that have not been dealt with, and what was said about the others."""

from __future__ import annotations

import sqlite3

from loom.decisions.enrichments import EnrichmentEntry, EnrichmentFailedEntry, EnrichmentRefusedEntry
from loom.decisions.entries import DecisionJournalEntry
from loom.decisions.rows import written_decision
from loom.journal.entry import Recorded
from loom.projections.sql import script

__all__ = ["EnrichmentsProjection"]

_WAIT = """
INSERT INTO enrichment_waiting SELECT ?, ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM enrichment_followed)
ON CONFLICT DO NOTHING
"""
_FOLLOW = "INSERT INTO enrichment_followed VALUES (1, ?) ON CONFLICT DO NOTHING"
_SET = "enricher_set"
"""The kind of the entries that say that an enricher follows; they are its own."""
_DONE = "DELETE FROM enrichment_waiting WHERE decision_id = ?"
_KEEP = "INSERT INTO enrichments VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


class EnrichmentsProjection:
    """Keeps one row for each decision that is still to be looked at, and one for each time a critic has looked.

    Where no enricher has ever followed the journal, no decision waits for one.
    """

    name = "enrichments"
    version = 2
    kinds = frozenset({_SET, "decision", "enrichment", "enrichment_refused", "enrichment_failed"})
    schema = script("loom.decisions", "enrichments.sql")
    tables = ("enrichment_waiting", "enrichments", "enrichment_followed")

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the tables."""
        if recorded.kind == DecisionJournalEntry.kind:
            decision, said = written_decision(recorded), recorded.plain
            if decision is not None and said is not None and decision["origin"] == "original":
                row = (recorded.position, decision["decision_id"], recorded.journal, recorded.sequence)
                view.execute(_WAIT, (*row, decision["decision_type"], said.get("enrich")))
            return
        if recorded.kind == _SET:
            view.execute(_FOLLOW, (recorded.position,))
            return
        entry = recorded.entry
        if isinstance(entry, EnrichmentEntry | EnrichmentRefusedEntry | EnrichmentFailedEntry):
            view.execute(_DONE, (entry.decision_id,))
            view.execute(_KEEP, (recorded.position, entry.decision_id, recorded.recorded_at_us, *_said(entry)))


def _said(entry: EnrichmentEntry | EnrichmentRefusedEntry | EnrichmentFailedEntry) -> tuple[object, ...]:
    """Return status, cost, duration, confidence and words."""
    if isinstance(entry, EnrichmentEntry):
        said = entry.analysis
        return "enriched", entry.cost_micro_usd, entry.duration_ms, said.confidence, said.model_dump_json()
    if isinstance(entry, EnrichmentFailedEntry):
        return "failed", entry.cost_micro_usd, entry.duration_ms, None, f"{entry.type_name}: {entry.message}"
    return "refused", 0, None, None, f"{entry.reason}: {entry.detail}"
