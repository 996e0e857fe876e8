"""The observations and findings of monitors as a projection, for reports and people."""

from __future__ import annotations

import json
import sqlite3

from loom.journal.entry import Recorded
from loom.monitors.entries import FindingEntry, MonitorTickEntry, ObservedEntry
from loom.projections import Confirmation
from loom.projections.published import Published
from loom.projections.sql import script

__all__ = ["CONFIRM_OBSERVATIONS", "MonitorsProjection"]

_OBSERVED = """
INSERT INTO monitor_observations (
  journal, position, monitor, subject, recorded_at_us, run_id, flow_id, value, seen_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
_TICKED = """
UPDATE monitor_observations SET facts = ?, parameters = ?, rule = ?, ticked_at = ? WHERE journal = ? AND position = ?
"""
_FOUND = """
UPDATE monitor_observations SET found = ?, intervention = ?, decision_id = ?, found_at = ?
WHERE journal = ? AND position = ?
"""


class MonitorsProjection:
    """Keeps one row for each observation, by the position of its entry."""

    name = "monitors"
    version = 2
    kinds = frozenset({ObservedEntry.kind, MonitorTickEntry.kind, FindingEntry.kind})
    schema = script("loom.monitors", "views.sql")
    tables = ("monitor_observations",)
    publish = (Published("monitor_observations"),)

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the table."""
        entry, journal = recorded.entry, recorded.journal
        if isinstance(entry, ObservedEntry):
            monitor, _, subject = journal.partition("/")
            about = (entry.about.get("run_id"), entry.about.get("flow_id"))
            row = (journal, entry.position, monitor.removeprefix("monitor-"), subject, recorded.recorded_at_us)
            view.execute(_OBSERVED, (*row, *about, entry.value, recorded.position))
        elif isinstance(entry, MonitorTickEntry):
            said = (json.dumps(entry.facts), json.dumps(entry.parameters), entry.rule)
            view.execute(_TICKED, (*said, recorded.position, journal, entry.position))
        elif isinstance(entry, FindingEntry):
            found = (entry.why, entry.intervention, entry.decision_id, recorded.position)
            view.execute(_FOUND, (*found, journal, entry.position))


CONFIRM_OBSERVATIONS = Confirmation(
    MonitorsProjection(),
    "monitor_observations",
    key=("journal", "position"),
    rests_on=lambda row: (row["seen_at"], row["ticked_at"], row["found_at"]),
)
"""How observations are compared with the entries of their monitors."""
