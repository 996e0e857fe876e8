"""Reading what circuits did: history and metrics by the same filters, the dashboard of strategies."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from loom.clock import datetime_from_us, us_from_datetime
from loom.projections import Queries
from loom.sealing import Fields

__all__ = ["CircuitsView"]

_WHERE = """
WHERE recorded_at_us >= :since AND (:client IS NULL OR client_id = :client)
AND (:circuit IS NULL OR circuit_id = :circuit) AND position < :before
"""
_HISTORY = f"SELECT * FROM circuit_execution_logs {_WHERE} ORDER BY position DESC LIMIT :limit"  # noqa: S608
_STATES = """
SELECT * FROM circuit_strategy_states WHERE (:client IS NULL OR client_id = :client)
ORDER BY client_id, audience_segment
"""
_CORRECTIONS = """
SELECT * FROM circuit_autocorrection_logs WHERE recorded_at_us >= :since AND (:client IS NULL OR client_id = :client)
AND (:segment IS NULL OR audience_segment = :segment) ORDER BY position DESC LIMIT :limit
"""
_STATE = "SELECT * FROM circuit_strategy_states WHERE client_id = ? AND audience_segment = ?"
_NAMES = ("circuits",)
_LAST = 2**63 - 1


class CircuitsView:
    """Answers what circuits did, out of the views."""

    def __init__(self, queries: Queries, now: Callable[[], datetime], fields: Fields) -> None:
        self._queries = queries
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
        """Return executions, newest first, and the metrics of just these filters; `before` is a position seen."""
        wanted = {
            "since": self._since(days), "client": client_id, "circuit": circuit_id, "limit": limit,
            "before": _LAST if before is None else before,
        }  # fmt: skip
        rows = [dict(row) for row in await self._queries.fetch(_HISTORY, wanted, names=_NAMES)]
        return {
            "execution_history": [self._execution(row) for row in rows],
            "metrics": _metrics(rows),
            "by_circuit": {
                name: _metrics([row for row in rows if row["circuit_id"] == name])
                for name in sorted({row["circuit_id"] for row in rows})
            },
            "next_before": rows[-1]["position"] if len(rows) == limit else None,
        }

    async def dashboard(self, *, client_id: str | None = None, days: float = 30) -> dict[str, Any]:
        """Return how every strategy does, and what was corrected within the days."""
        wanted = {"client": client_id, "segment": None, "since": self._since(days), "limit": 100_000}
        corrections = [dict(row) for row in await self._queries.fetch(_CORRECTIONS, wanted, names=_NAMES)]
        states = await self._queries.fetch(_STATES, {"client": client_id}, names=_NAMES)
        rotated = [each for each in corrections if each["action_type"] == "rotate_strategy"]
        sure = [each["confidence"] for each in corrections]
        return {
            "summary": {
                "total_corrections": len(corrections),
                "successful_rotations": len(rotated),
                "escalations": len(corrections) - len(rotated),
                "avg_correction_confidence": round(sum(sure) / len(sure), 4) if sure else None,
            },
            "strategy_states": [_state(dict(row)) for row in states],
        }

    async def state(self, client_id: str, segment: str) -> dict[str, Any] | None:
        """Return how the strategy of a client and segment does; None where no cycle was ever counted."""
        rows = await self._queries.fetch(_STATE, (client_id, segment), names=_NAMES)
        return None if not rows else _state(dict(rows[0]))

    async def last_correction(self, client_id: str, segment: str) -> dict[str, Any] | None:
        """Return what was corrected last for a client and segment."""
        wanted = {"client": client_id, "segment": segment, "since": 0, "limit": 1}
        rows = await self._queries.fetch(_CORRECTIONS, wanted, names=_NAMES)
        return None if not rows else _timed(dict(rows[0]), "recorded_at_us", "timestamp")

    def _execution(self, row: dict[str, Any]) -> dict[str, Any]:
        shown = _execution(row)
        for name in ("inputs", "outputs"):
            shown[name] = None if shown[name] is None else self._fields.shown(shown[name])
        return shown

    def _since(self, days: float) -> int:
        return us_from_datetime(self._now() - timedelta(days=days))


def _execution(row: dict[str, Any]) -> dict[str, Any]:
    row = _timed(row, "recorded_at_us", "timestamp")
    for name in ("decision_path", "inputs", "outputs"):
        row[name] = None if row[name] is None else json.loads(row[name])
    return {**row, "success": bool(row["success"]), "substituted": bool(row["substituted"])}


def _state(row: dict[str, Any]) -> dict[str, Any]:
    return _timed(_timed(row, "updated_at_us", "updated_at"), "last_rotated_at_us", "last_rotated_at")


def _timed(row: dict[str, Any], name: str, as_name: str) -> dict[str, Any]:
    us = row.pop(name)
    return {**row, as_name: None if us is None else datetime_from_us(us).isoformat().replace("+00:00", "Z")}


def _metrics(rows: list[dict[str, Any]]) -> dict[str, Any]:
    latencies = sorted(row["latency_ms"] for row in rows)
    succeeded = sum(bool(row["success"]) for row in rows)
    return {
        "total_executions": len(rows),
        "success_rate": round(succeeded / len(rows), 4) if rows else None,
        "avg_latency_ms": round(sum(latencies) / len(latencies), 3) if latencies else None,
        "p50_latency_ms": _rank(latencies, 50),
        "p95_latency_ms": _rank(latencies, 95),
        "avg_confidence": round(sum(row["confidence_score"] for row in rows) / len(rows), 4) if rows else None,
        "error_count": len(rows) - succeeded,
    }


def _rank(ordered: list[float], percent: int) -> float | None:
    """Return a percentile by the nearest rank."""
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)] if ordered else None
