"""What monitors saw and found, as a projection: what reports and people read."""

from __future__ import annotations

import json
import sqlite3

from loom.journal.entry import Recorded
from loom.monitors.entries import FindingEntry, MonitorTickEntry, ObservedEntry
from loom.projections.sql import script

__all__ = ["MonitorsProjection"]

_OBSERVED = """
INSERT INTO monitor_observations (journal, position, monitor, subject, recorded_at_us, run_id, flow_id, value)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
_TICKED = "UPDATE monitor_observations SET facts = ?, parameters = ?, rule = ? WHERE journal = ? AND position = ?"
_FOUND = """
UPDATE monitor_observations SET found = ?, intervention = ?, decision_id = ? WHERE journal = ? AND position = ?
"""


class MonitorsProjection:
    """Keeps one row for each observation, by the position at which it was seen."""

    name = "monitors"
    version = 1
    kinds = frozenset({ObservedEntry.kind, MonitorTickEntry.kind, FindingEntry.kind})
    schema = script("loom.monitors", "views.sql")
    tables = ("monitor_observations",)

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the table."""
        entry, journal = recorded.entry, recorded.journal
        if isinstance(entry, ObservedEntry):
            monitor, _, subject = journal.partition("/")
            about = (entry.about.get("run_id"), entry.about.get("flow_id"))
            row = (journal, entry.position, monitor.removeprefix("monitor-"), subject, recorded.recorded_at_us)
            view.execute(_OBSERVED, (*row, *about, entry.value))
        elif isinstance(entry, MonitorTickEntry):
            said = (json.dumps(entry.facts), json.dumps(entry.parameters), entry.rule)
            view.execute(_TICKED, (*said, journal, entry.position))
        elif isinstance(entry, FindingEntry):
            view.execute(_FOUND, (entry.why, entry.intervention, entry.decision_id, journal, entry.position))
