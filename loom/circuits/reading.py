"""Reading what circuits did: history and metrics by the same filters, the dashboard of strategies."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from loom.circuits.escalations import Escalations
from loom.circuits.fields import ClientFields
from loom.circuits.targets import compared
from loom.clock import us_from_datetime
from loom.projections import Queries

__all__ = ["CircuitsView"]

_WHERE = """
WHERE recorded_at_us >= :since AND (:client IS NULL OR client_id = :client)
AND (:circuit IS NULL OR circuit_id = :circuit)
"""
_HISTORY = f"""
SELECT position, client_id, circuit_id, execution_id, timestamp, success, latency_ms, confidence_score, substituted,
  error, decision_path, inputs, outputs
FROM circuit_execution_logs {_WHERE} AND position < :before ORDER BY position DESC LIMIT :limit
"""  # noqa: S608 - constants only
# Percentiles are by the nearest rank. What failed came to no output and so has no confidence.
_SUMS = f"""
WITH ranked AS (
  SELECT *, row_number() OVER own AS place, count(*) OVER (PARTITION BY {{0}}) AS number
  FROM circuit_execution_logs {_WHERE} WINDOW own AS (PARTITION BY {{0}} ORDER BY latency_ms)
)
SELECT {{0}} AS name, count(*) AS total_executions, sum(success AND NOT substituted) AS succeeded,
  sum(success AND substituted) AS substituted_count, sum(NOT success) AS error_count,
  avg(latency_ms) AS avg_latency_ms, avg(CASE WHEN success THEN confidence_score END) AS avg_confidence,
  max(CASE WHEN place = (number * 50 + 99) / 100 THEN latency_ms END) AS p50_latency_ms,
  max(CASE WHEN place = (number * 95 + 99) / 100 THEN latency_ms END) AS p95_latency_ms
FROM ranked GROUP BY {{0}} ORDER BY {{0}}
"""  # noqa: S608
_BY_CIRCUIT = _SUMS.format("circuit_id")
_ALL = _SUMS.format("''")
_STATE = """
SELECT client_id, audience_segment, strategy_id, engagement_score, conversion_score, cycle_count, decline_cycles,
  updated_at, last_rotated_at
FROM circuit_strategy_states
"""
_STATES = f"{_STATE} WHERE (:client IS NULL OR client_id = :client) ORDER BY client_id, audience_segment"
_ONE_STATE = f"{_STATE} WHERE client_id = ? AND audience_segment = ?"
_CORRECTED = """
SELECT count(*) AS corrections, sum(action_type = 'rotate_strategy') AS rotations, avg(confidence) AS confidence
FROM circuit_autocorrection_logs
WHERE action_type <> 'log_and_monitor' AND recorded_at_us >= :since AND (:client IS NULL OR client_id = :client)
"""
_MONITORED = """
SELECT count(*) AS monitored FROM circuit_autocorrection_logs
WHERE action_type = 'log_and_monitor' AND recorded_at_us >= :since AND (:client IS NULL OR client_id = :client)
"""
_ESCALATED = """
SELECT count(*) AS escalations, sum(repeated) AS repeats FROM circuit_escalation_logs
WHERE recorded_at_us >= :since AND (:client IS NULL OR client_id = :client)
"""
_CORRECTION = """
SELECT log_id, action_type, previous_strategy_id, new_strategy_id, reason, confidence, engagement_score,
  conversion_score, cycle_count, decline_cycles, timestamp,
  log_id IS (SELECT corrected_by FROM circuit_strategy_states WHERE client_id = ? AND audience_segment = ?) AS is_last
FROM circuit_autocorrection_logs WHERE client_id = ? AND audience_segment = ? ORDER BY position DESC LIMIT 1
"""
_NAMES = ("circuits",)
_LAST = 2**63 - 1
_NOTHING: dict[str, Any] = {
    "total_executions": 0,
    "succeeded": 0,
    "substituted_count": 0,
    "error_count": 0,
    **dict.fromkeys(("avg_latency_ms", "p50_latency_ms", "p95_latency_ms", "avg_confidence")),
}


class CircuitsView:
    """Answers what circuits did, out of the views."""

    def __init__(
        self, queries: Queries, now: Callable[[], datetime], fields: ClientFields, escalations: Escalations
    ) -> None:
        self._queries = queries
        self._escalations = escalations
        self._fields = fields
        self._now = now

    async def audit(
        self,
        *,
        client_id: str | None = None,
        circuit_id: str | None = None,
        limit: int = 100,
        days: float = 30,
        before: int | None = None,
    ) -> dict[str, Any]:
        """Return executions, newest first, a page of them, and the metrics of all that match the filters.

        `before` is a position seen. Metrics count the whole window, whatever page is shown; `success_rate` is the share
        that succeeded by itself, what a failure mode put in is counted apart in `substituted_count`.
        """
        wanted = {"since": self._since(days), "client": client_id, "circuit": circuit_id}
        page = {**wanted, "limit": limit, "before": _LAST if before is None else before}
        rows = [dict(row) for row in await self._queries.fetch(_HISTORY, page, names=_NAMES)]
        return {
            "execution_history": [self._execution(row) for row in rows],
            **await self._figures(wanted),
            "next_before": rows[-1]["position"] if len(rows) == limit else None,
        }

    async def dashboard(self, *, client_id: str | None = None, days: float = 30) -> dict[str, Any]:
        """Return how every strategy does, what was corrected and escalated within the days, and what waits for people.

        Repeats of escalations are counted. The metrics are those of the executions within the days, against targets.
        """
        wanted = {"client": client_id, "since": self._since(days)}
        [corrected] = await self._queries.fetch(_CORRECTED, wanted, names=_NAMES)
        [watched] = await self._queries.fetch(_MONITORED, wanted, names=_NAMES)
        [escalated] = await self._queries.fetch(_ESCALATED, wanted, names=_NAMES)
        states = await self._queries.fetch(_STATES, {"client": client_id}, names=_NAMES)
        sure = corrected["confidence"]
        return {
            "summary": {
                "total_corrections": corrected["corrections"],
                "successful_rotations": corrected["rotations"] or 0,
                "escalations": escalated["escalations"],
                "repeated_escalations": escalated["repeats"] or 0,
                "avg_correction_confidence": None if sure is None else round(sure, 4),
            },
            "monitored": watched["monitored"],
            "notifications": self._notifications(client_id),
            **await self._figures({**wanted, "circuit": None}),
            "strategy_states": [dict(row) for row in states],
        }

    async def state(self, client_id: str, segment: str) -> dict[str, Any] | None:
        """Return how the strategy in use of a client and segment does; None where no cycle was ever counted."""
        rows = await self._queries.fetch(_ONE_STATE, (client_id, segment), names=_NAMES)
        return None if not rows else dict(rows[0])

    async def last_correction(self, client_id: str, segment: str) -> dict[str, Any] | None:
        """Return what was corrected last, with the figures that led to it; `is_last` while no cycle came after it."""
        rows = await self._queries.fetch(_CORRECTION, (client_id, segment) * 2, names=_NAMES)
        return None if not rows else {**dict(rows[0]), "is_last": bool(rows[0]["is_last"])}

    async def _figures(self, wanted: dict[str, Any]) -> dict[str, Any]:
        by_circuit = await self._queries.fetch(_BY_CIRCUIT, wanted, names=_NAMES)
        every = await self._queries.fetch(_ALL, wanted, names=_NAMES)
        return {
            "metrics": _metrics(dict(every[0]) if every else _NOTHING),
            "by_circuit": {row["name"]: _metrics(dict(row)) for row in by_circuit},
        }

    def _notifications(self, client_id: str | None) -> list[dict[str, Any]]:
        opened = self._escalations.open()
        return [each.as_json() for each in opened if client_id in (None, each.about.get("client_id"))]

    def _execution(self, row: dict[str, Any]) -> dict[str, Any]:
        shown = _execution(row)
        for name in ("inputs", "outputs"):
            shown[name] = None if shown[name] is None else self._fields.shown(shown[name])
        return shown

    def _since(self, days: float) -> int:
        return us_from_datetime(self._now() - timedelta(days=days))


def _execution(row: dict[str, Any]) -> dict[str, Any]:
    for name in ("decision_path", "inputs", "outputs"):
        row[name] = None if row[name] is None else json.loads(row[name])
    return {**row, "success": bool(row["success"]), "substituted": bool(row["substituted"])}


def _metrics(sums: dict[str, Any]) -> dict[str, Any]:
    total = sums["total_executions"]

    def rounded(name: str, digits: int) -> float | None:
        return None if sums[name] is None else round(sums[name], digits)

    metrics = {
        "total_executions": total,
        "success_rate": round(sums["succeeded"] / total, 4) if total else None,
        "substituted_count": sums["substituted_count"],
        "avg_latency_ms": rounded("avg_latency_ms", 3),
        "p50_latency_ms": sums["p50_latency_ms"],
        "p95_latency_ms": sums["p95_latency_ms"],
        "avg_confidence": rounded("avg_confidence", 4),
        "error_count": sums["error_count"],
    }
    return {**metrics, "targets": compared(metrics)}
