"""What metrics of circuits are expected to come to, and whether they do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

__all__ = ["TARGETS", "Target", "compared"]


class Target(NamedTuple):
    """A figure is expected above or below a bound, and the bound itself does not do."""

    is_expected: Literal["above", "below"]
    bound: float

    def met_by(self, figure: float) -> bool:
        """Tell whether a figure meets it."""
        return figure > self.bound if self.is_expected == "above" else figure < self.bound

    def __str__(self) -> str:
        return f"{'>' if self.is_expected == 'above' else '<'} {self.bound:g}"


TARGETS: Mapping[str, Target] = {
    "success_rate": Target("above", 0.95),
    "avg_latency_ms": Target("below", 500),
    "avg_confidence": Target("above", 0.85),
    "error_rate": Target("below", 0.05),
}
"""By the names of the metrics; `error_rate` is the share of executions that failed."""


def compared(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return each target with what the metrics come to; `met` is null where there is nothing to compare."""
    total = metrics["total_executions"]
    figures = {**metrics, "error_rate": round(metrics["error_count"] / total, 4) if total else None}
    return {
        name: {
            "target": str(target),
            "value": figures[name],
            "met": None if figures[name] is None else target.met_by(figures[name]),
        }
        for name, target in TARGETS.items()
    }
