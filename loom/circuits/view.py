"""The projections of circuits: executions, strategies, corrections."""

from __future__ import annotations

import json
import sqlite3

from loom.circuits.entries import (
    CircuitEnteredEntry,
    CircuitFailedEntry,
    CircuitSucceededEntry,
    CorrectionEntry,
    CycleCountedEntry,
    EscalationOpenedEntry,
    EscalationRepeatedEntry,
)
from loom.journal.entry import Recorded
from loom.projections.sql import script

__all__ = ["CircuitsProjection"]

_ENTERED = "INSERT INTO circuit_entered VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET inputs = ?4"
_GIVEN = "SELECT inputs FROM circuit_entered WHERE journal = ? AND execution_id = ? AND circuit_id = ?"
_LEFT = "DELETE FROM circuit_entered WHERE journal = ? AND execution_id = ? AND circuit_id = ?"
_LOG = "INSERT INTO circuit_execution_logs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_CYCLE = """
INSERT INTO circuit_strategy_states VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL) ON CONFLICT DO UPDATE SET
  strategy_id = ?3, engagement_score = ?4, conversion_score = ?5, cycle_count = ?6, decline_cycles = ?7,
  updated_at_us = ?8
"""
_ROTATED = """
UPDATE circuit_strategy_states SET strategy_id = coalesce(?, strategy_id), decline_cycles = 0, last_rotated_at_us = ?
WHERE client_id = ? AND audience_segment = ?
"""
_OPENED = "INSERT INTO circuit_escalation_logs VALUES (?, ?, ?, ?, 0, ?)"
_REPEATED = """
INSERT INTO circuit_escalation_logs
SELECT ?, escalation_id, client_id, ?, 1, ? FROM circuit_escalation_logs
WHERE escalation_id = ? ORDER BY position LIMIT 1
"""
_CORRECTED = "INSERT INTO circuit_autocorrection_logs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class CircuitsProjection:
    """Keeps what the audit and the dashboard show. Actors are named `<client>` and `<client>:<segment>`."""

    name = "circuits"
    version = 2
    kinds = frozenset(
        each.kind
        for each in (
            CircuitEnteredEntry,
            CircuitFailedEntry,
            CircuitSucceededEntry,
            CorrectionEntry,
            CycleCountedEntry,
            EscalationOpenedEntry,
            EscalationRepeatedEntry,
        )
    )
    schema = script("loom.circuits", "views.sql")
    tables = (
        "circuit_execution_logs",
        "circuit_entered",
        "circuit_strategy_states",
        "circuit_autocorrection_logs",
        "circuit_escalation_logs",
    )

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the tables."""
        entry, journal = recorded.entry, recorded.journal
        key = journal.partition("/")[2]
        if isinstance(entry, CircuitEnteredEntry):
            view.execute(_ENTERED, (journal, entry.execution_id, entry.circuit_id, json.dumps(entry.inputs)))
        elif isinstance(entry, CircuitSucceededEntry | CircuitFailedEntry):
            _log(entry, recorded, key, view)
        elif isinstance(entry, EscalationOpenedEntry):
            client = str(entry.about.get("client_id", ""))
            view.execute(
                _OPENED, (recorded.position, entry.escalation_id, client, entry.reason, recorded.recorded_at_us)
            )
        elif isinstance(entry, EscalationRepeatedEntry):
            view.execute(_REPEATED, (recorded.position, entry.reason, recorded.recorded_at_us, entry.escalation_id))
        elif isinstance(entry, CycleCountedEntry):
            client, _, segment = key.partition(":")
            scores = (entry.strategy_id, entry.engagement, entry.conversion, entry.cycle, entry.decline_cycles)
            view.execute(_CYCLE, (client, segment, *scores, recorded.recorded_at_us))
        elif isinstance(entry, CorrectionEntry):
            client, _, segment = key.partition(":")
            at = recorded.recorded_at_us
            rotated_at = at if entry.new_strategy_id is not None else None
            view.execute(_ROTATED, (entry.new_strategy_id, rotated_at, client, segment))
            strategies = (entry.previous_strategy_id, entry.new_strategy_id)
            row = (recorded.position, entry.log_id, client, segment, entry.action, *strategies)
            view.execute(_CORRECTED, (*row, entry.reason, entry.confidence, at))


def _log(
    entry: CircuitSucceededEntry | CircuitFailedEntry, recorded: Recorded, client: str, view: sqlite3.Connection
) -> None:
    which = (recorded.journal, entry.execution_id, entry.circuit_id)
    given = view.execute(_GIVEN, which).fetchone()
    view.execute(_LEFT, which)
    if isinstance(entry, CircuitSucceededEntry):
        token, confidence, outputs = f"SUCCESS:{entry.circuit_id}", entry.confidence, json.dumps(entry.outputs)
        success, substituted, error = True, entry.substituted, None
    else:
        token, confidence, outputs = f"FAILED:{entry.circuit_id}:{entry.failure_mode or entry.code}", 0.0, None
        success, substituted, error = False, False, entry.reason
    view.execute(
        _LOG,
        (
            recorded.position, client, entry.circuit_id, entry.execution_id, recorded.recorded_at_us, success,
            entry.latency_ms, confidence, substituted, error, json.dumps([f"ENTER:{entry.circuit_id}", token]),
            None if given is None else given[0], outputs,
        ),
    )  # fmt: skip
