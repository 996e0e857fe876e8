"""The projection behind the enricher: decisions that wait for an analysis, and the analyses of the others."""

from __future__ import annotations

import sqlite3

from loom.decisions.enrichments import EnrichmentEntry, EnrichmentFailedEntry, EnrichmentRefusedEntry
from loom.decisions.entries import DecisionJournalEntry
from loom.decisions.rows import written_decision
from loom.journal.entry import Recorded
from loom.projections.published import Published
from loom.projections.sql import script

__all__ = ["EnrichmentsProjection"]

_WAIT = """
INSERT INTO enrichment_waiting SELECT ?, ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM enrichment_followed)
ON CONFLICT DO NOTHING
"""
_FOLLOW = "INSERT INTO enrichment_followed VALUES (1, ?) ON CONFLICT DO NOTHING"
_SET = "enricher_set"
"""The kind of the enricher's own entries; the first one says that an enricher follows the journal."""
_DONE = "DELETE FROM enrichment_waiting WHERE decision_id = ?"
_KEEP = "INSERT INTO enrichments VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


class EnrichmentsProjection:
    """Keeps one row for each decision that waits for an analysis, and one for each attempt of a critic.

    If no enricher has ever followed the journal, no decision waits.
    """

    name = "enrichments"
    version = 2
    kinds = frozenset({_SET, "decision", "enrichment", "enrichment_refused", "enrichment_failed"})
    schema = script("loom.decisions", "enrichments.sql")
    tables = ("enrichment_waiting", "enrichments", "enrichment_followed")
    publish = (Published("enrichments"),)

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the tables."""
        if recorded.kind == DecisionJournalEntry.kind:
            decision, body = written_decision(recorded), recorded.plain
            if decision is not None and body is not None and decision["origin"] == "original":
                row = (recorded.position, decision["decision_id"], recorded.journal, recorded.sequence)
                view.execute(_WAIT, (*row, decision["decision_type"], body.get("enrich")))
            return
        if recorded.kind == _SET:
            view.execute(_FOLLOW, (recorded.position,))
            return
        entry = recorded.entry
        if isinstance(entry, EnrichmentEntry | EnrichmentRefusedEntry | EnrichmentFailedEntry):
            view.execute(_DONE, (entry.decision_id,))
            view.execute(_KEEP, (recorded.position, entry.decision_id, recorded.recorded_at_us, *_columns(entry)))


def _columns(entry: EnrichmentEntry | EnrichmentRefusedEntry | EnrichmentFailedEntry) -> tuple[object, ...]:
    """Return status, cost, duration, confidence and text."""
    if isinstance(entry, EnrichmentEntry):
        analysis = entry.analysis
        return "enriched", entry.cost_micro_usd, entry.duration_ms, analysis.confidence, analysis.model_dump_json()
    if isinstance(entry, EnrichmentFailedEntry):
        return "failed", entry.cost_micro_usd, entry.duration_ms, None, f"{entry.type_name}: {entry.message}"
    return "refused", 0, None, None, f"{entry.reason}: {entry.detail}"
