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
from loom.circuits.fields import worded_fields
from loom.journal.entry import Recorded
from loom.projections import Confirmation
from loom.projections.sql import script

__all__ = ["CONFIRM_EXECUTIONS", "CircuitsProjection"]

_ENTERED = "INSERT INTO circuit_entered VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET inputs = excluded.inputs"
_GIVEN = "SELECT inputs FROM circuit_entered WHERE journal = ? AND execution_id = ? AND circuit_id = ?"
_LEFT = "DELETE FROM circuit_entered WHERE journal = ? AND execution_id = ? AND circuit_id = ?"
_LOG = "INSERT INTO circuit_execution_logs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_OWN = """
INSERT INTO circuit_strategies VALUES (?, ?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET
  engagement_score = excluded.engagement_score, conversion_score = excluded.conversion_score,
  cycle_count = cycle_count + 1
"""
_CYCLE = """
INSERT INTO circuit_strategy_states
SELECT :workspace, client_id, audience_segment, strategy_id, engagement_score, conversion_score, cycle_count,
  :declines, :at, NULL, NULL
FROM circuit_strategies WHERE client_id = :client AND audience_segment = :segment AND strategy_id = :strategy
ON CONFLICT DO UPDATE SET
  strategy_id = excluded.strategy_id, engagement_score = excluded.engagement_score,
  conversion_score = excluded.conversion_score, cycle_count = excluded.cycle_count,
  decline_cycles = excluded.decline_cycles, updated_at = excluded.updated_at, corrected_by = NULL
"""
_CORRECTED = """
INSERT INTO circuit_autocorrection_logs
SELECT :position, :workspace, :log_id, :client, :segment, :action, :previous, :new, :reason, :confidence,
  engagement_score, conversion_score, cycle_count, decline_cycles, :at, :at_us
FROM (SELECT 1) LEFT JOIN circuit_strategy_states ON client_id = :client AND audience_segment = :segment
"""
_ROTATED = """
UPDATE circuit_strategy_states SET strategy_id = :new, last_rotated_at = :at,
  (engagement_score, conversion_score, cycle_count) = (
    SELECT engagement_score, conversion_score, coalesce(cycle_count, 0)
    FROM (SELECT 1) LEFT JOIN circuit_strategies AS own
      ON own.client_id = :client AND own.audience_segment = :segment AND own.strategy_id = :new)
WHERE client_id = :client AND audience_segment = :segment
"""
_SETTLED = """
UPDATE circuit_strategy_states SET decline_cycles = :declines, updated_at = :at, corrected_by = :log_id
WHERE client_id = :client AND audience_segment = :segment
"""
_OPENED = "INSERT INTO circuit_escalation_logs VALUES (?, ?, ?, ?, 0, ?)"
_REPEATED = """
INSERT INTO circuit_escalation_logs
SELECT ?, escalation_id, client_id, ?, 1, ? FROM circuit_escalation_logs
WHERE escalation_id = ? ORDER BY position LIMIT 1
"""


class CircuitsProjection:
    """Keeps what the audit and the dashboard show. Actors are named `<client>` and `<client>:<segment>`."""

    name = "circuits"
    version = 3
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
        "circuit_strategies",
        "circuit_autocorrection_logs",
        "circuit_escalation_logs",
    )

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the tables."""
        entry, journal = recorded.entry, recorded.journal
        key = journal.partition("/")[2]
        if isinstance(entry, CircuitEnteredEntry):
            inputs = json.dumps(worded_fields(entry.inputs))
            view.execute(_ENTERED, (journal, entry.execution_id, entry.circuit_id, inputs))
        elif isinstance(entry, CircuitSucceededEntry | CircuitFailedEntry):
            _log(entry, recorded, key, view)
        elif isinstance(entry, EscalationOpenedEntry):
            client = str(entry.about.get("client_id", ""))
            view.execute(
                _OPENED, (recorded.position, entry.escalation_id, client, entry.reason, recorded.recorded_at_us)
            )
        elif isinstance(entry, EscalationRepeatedEntry):
            view.execute(_REPEATED, (recorded.position, entry.reason, recorded.recorded_at_us, entry.escalation_id))
        elif isinstance(entry, CycleCountedEntry | CorrectionEntry):
            _strategy(entry, recorded, key, view)


CONFIRM_EXECUTIONS = Confirmation(CircuitsProjection(), "circuit_execution_logs")
"""How executions are held against the entries that end them; what they were given is another entry's."""


def _strategy(
    entry: CycleCountedEntry | CorrectionEntry, recorded: Recorded, key: str, view: sqlite3.Connection
) -> None:
    client, _, segment = key.partition(":")
    about = {
        "client": client,
        "segment": segment,
        "workspace": recorded.workspace,
        "declines": entry.decline_cycles,
        "at": _moment(recorded),
        "at_us": recorded.recorded_at_us,
    }
    if isinstance(entry, CycleCountedEntry):
        view.execute(_OWN, (client, segment, entry.strategy_id, entry.engagement, entry.conversion))
        view.execute(_CYCLE, {**about, "strategy": entry.strategy_id})
        return
    said = {
        **about,
        "position": recorded.position,
        "log_id": entry.log_id,
        "action": entry.action,
        "previous": entry.previous_strategy_id,
        "new": entry.new_strategy_id,
        "reason": entry.reason,
        "confidence": entry.confidence,
    }
    view.execute(_CORRECTED, said)
    if entry.new_strategy_id is not None:
        view.execute(_ROTATED, said)
    view.execute(_SETTLED, said)


def _moment(recorded: Recorded) -> str:
    """Return when an entry was recorded, in text that is in order as time is."""
    return recorded.recorded_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _log(
    entry: CircuitSucceededEntry | CircuitFailedEntry, recorded: Recorded, client: str, view: sqlite3.Connection
) -> None:
    which = (recorded.journal, entry.execution_id, entry.circuit_id)
    given = view.execute(_GIVEN, which).fetchone()
    view.execute(_LEFT, which)
    if isinstance(entry, CircuitSucceededEntry):
        token, confidence = f"SUCCESS:{entry.circuit_id}", entry.confidence
        outputs = json.dumps(worded_fields(entry.outputs))
        success, substituted, error = True, entry.substituted, None
    else:
        token, confidence, outputs = f"FAILED:{entry.circuit_id}:{entry.failure_mode or entry.code}", 0.0, None
        success, substituted, error = False, False, entry.reason
    view.execute(
        _LOG,
        (
            recorded.position,
            recorded.workspace,
            client,
            entry.circuit_id,
            entry.execution_id,
            _moment(recorded),
            recorded.recorded_at_us,
            success,
            entry.latency_ms,
            confidence,
            substituted,
            error,
            json.dumps([f"ENTER:{entry.circuit_id}", token]),
            None if given is None else given[0],
            outputs,
        ),
    )
