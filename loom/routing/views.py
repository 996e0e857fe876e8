"""The projections of routing: signals out of executions, how routing stands, and the requests it changed."""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

from loom.decisions import DecisionJournalEntry
from loom.decisions.rows import written_decision
from loom.journal.entry import Recorded
from loom.projections import Confirmation
from loom.projections.sql import script
from loom.routing.entries import (
    AnsweredWithBaselineEntry,
    ExecutionEntry,
    KillSwitchEngagedEntry,
    KillSwitchRearmedEntry,
    OptimizationSetEntry,
)

__all__ = [
    "CONFIRM_STATE",
    "DECISION_TYPE",
    "WINDOW",
    "Measures",
    "RoutingProjection",
    "measures_of",
    "nearest_rank",
    "signals_of",
]

Measures: TypeAlias = tuple[bool, float, int | None, bool, str | None]
"""Of one execution: whether it succeeded, latency in ms, cost in micro-dollars, whether it recovered, context size."""

DECISION_TYPE = "care_routing_optimized"

WINDOW = 100
"""How many executions of an agent its signals look at: the last ones, by their place in the journal."""

_ADD = "INSERT INTO care_executions VALUES (?, ?, ?, ?, ?, ?, ?)"
_TRIM = """
DELETE FROM care_executions WHERE agent = :agent AND position <=
  (SELECT position FROM care_executions WHERE agent = :agent ORDER BY position DESC LIMIT 1 OFFSET :window)
"""
_SEEN = """
SELECT succeeded, latency_ms, cost_micro_usd, recovered, context_size FROM care_executions
WHERE agent = ? ORDER BY position
"""
_SIGNALS = """
INSERT INTO care_signals VALUES (
  :agent, :samples, :signals, :latency_p50, :latency_p95, :cost_per_run, :success_rate, :recovery_occurred,
  :context_size_bucket)
ON CONFLICT DO UPDATE SET samples = :samples, signals = :signals, latency_p50 = :latency_p50,
  latency_p95 = :latency_p95, cost_per_run = :cost_per_run, success_rate = :success_rate,
  recovery_occurred = :recovery_occurred, context_size_bucket = :context_size_bucket
"""
_STATE = """
INSERT INTO care_state VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET
  position = excluded.position, recorded_at_us = excluded.recorded_at_us, body = excluded.body
"""
_DECIDED = """
INSERT INTO care_requests VALUES (?, ?, ?, NULL) ON CONFLICT DO UPDATE SET decision_id = excluded.decision_id
"""
_ANSWERED = """
INSERT INTO care_requests VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET
  answered_with_baseline = excluded.answered_with_baseline
"""


class RoutingProjection:
    """Keeps what routing reads. Of decisions it sees the type and the request, of executions the measures."""

    name = "routing"
    version = 2
    kinds = frozenset(
        {
            "decision",
            ExecutionEntry.kind,
            OptimizationSetEntry.kind,
            AnsweredWithBaselineEntry.kind,
            KillSwitchEngagedEntry.kind,
            KillSwitchRearmedEntry.kind,
        }
    )
    schema = script("loom.routing", "views.sql")
    tables = (
        "care_executions",
        "care_signals",
        "care_state",
        "care_requests",
        "contracts.execution_metrics",
        "contracts.decision_records",
    )

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the tables."""
        if recorded.kind == DecisionJournalEntry.kind:
            decision = written_decision(recorded)
            if decision is not None and decision["decision_type"] == DECISION_TYPE and decision["origin"] == "original":
                request_id = str(decision["context"].get("request_id"))
                view.execute(_DECIDED, (request_id, recorded.position, decision["decision_id"]))
            return
        entry = recorded.entry
        if isinstance(entry, ExecutionEntry):
            _execution(entry, recorded.position, view)
        elif isinstance(entry, AnsweredWithBaselineEntry):
            row = (entry.request_id, recorded.position, entry.decision_id, entry.reason)
            view.execute(_ANSWERED, row)
        elif isinstance(entry, OptimizationSetEntry | KillSwitchEngagedEntry | KillSwitchRearmedEntry):
            what = "settings" if isinstance(entry, OptimizationSetEntry) else "switch"
            body = json.dumps({"kind": entry.kind, **entry.model_dump(mode="json", exclude={"step"})})
            view.execute(_STATE, (what, recorded.position, recorded.recorded_at_us, body))


CONFIRM_STATE = Confirmation(RoutingProjection(), "care_state", key=("what",))
"""How what was set is held against its entry."""


def _execution(entry: ExecutionEntry, position: int, view: sqlite3.Connection) -> None:
    view.execute(_ADD, (entry.agent, position, *measures_of(entry)))
    view.execute(_TRIM, {"agent": entry.agent, "window": WINDOW})
    rows = view.execute(_SEEN, (entry.agent,)).fetchall()
    signals = signals_of(rows)
    view.execute(_SIGNALS, {"agent": entry.agent, "samples": len(rows), "signals": json.dumps(signals), **signals})


def measures_of(entry: ExecutionEntry) -> Measures:
    """Return what an execution says in numbers."""
    return entry.succeeded, entry.latency_ms, entry.cost_micro_usd, entry.recovered, entry.context_size


def signals_of(rows: Sequence[Sequence[object]]) -> dict[str, object]:
    """Return what executions say; sums go from the oldest to the newest, so that they come out the same."""
    succeeded, latencies, costs, recovered, sizes = zip(*rows, strict=True)
    ordered = sorted(float(str(each)) for each in latencies)
    known_costs = [int(str(cost)) for cost in costs if cost is not None]
    known_sizes = Counter(str(size) for size in sizes if size is not None)
    return {
        "latency_p50": nearest_rank(ordered, 50),
        "latency_p95": nearest_rank(ordered, 95),
        "cost_per_run": sum(known_costs) / len(known_costs) / 1_000_000 if known_costs else None,
        "success_rate": sum(map(bool, succeeded)) / len(rows),
        "recovery_occurred": any(recovered),
        "context_size_bucket": min(known_sizes, key=lambda size: (-known_sizes[size], size)) if known_sizes else None,
    }


def nearest_rank(ordered: Sequence[float], percent: int) -> float:
    """Return a percentile by the nearest-rank method: the smallest value that `percent` % do not exceed."""
    return ordered[max(0, math.ceil(percent * len(ordered) / 100) - 1)]
