"""The entries of the journal `loom/drift`: what comparisons came to, where somebody asked for them to be kept."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import JsonValue

from loom.drift.report import DriftReport, DriftState
from loom.drift.thresholds import Severity
from loom.journal.entry import Entry

__all__ = ["DRIFT_JOURNAL", "DriftComparedEntry"]

DRIFT_JOURNAL = "loom/drift"
"""The journal of comparisons."""


class DriftComparedEntry(Entry):
    """Two windows were compared, of everything up to `position`. A drift alarm is one whose state is `detected`.

    With the windows, the position and the version of `loom.drift` it can be computed again, so the counts of all
    classes are left out.
    """

    kind: ClassVar[str] = "drift_compared"

    by: str
    state: DriftState
    severity: Severity | None
    baseline: dict[str, JsonValue]
    current: dict[str, JsonValue]
    decisions: tuple[int, int]
    position: int
    rule: str | None
    judged_version: str
    judged_hash: str
    js_divergence: float | None
    p_value: float | None
    seed: str | None
    split: dict[str, JsonValue] | None
    explanation: tuple[str, ...]

    @classmethod
    def of(cls, report: DriftReport, *, by: str) -> DriftComparedEntry:
        """Return the entry that keeps a report, in the name of somebody."""
        permutation = report.permutation
        windows: dict[str, Any] = {
            name: side.window.model_dump(mode="json", exclude_none=True)
            for name, side in (("baseline", report.baseline), ("current", report.current))
        }
        return cls(
            by=by, state=report.state, severity=report.severity, **windows,
            decisions=(report.baseline.decisions, report.current.decisions), position=report.position,
            rule=report.rule, judged_version=report.judged.version, judged_hash=report.judged.hash,
            js_divergence=report.js_divergence, p_value=None if permutation is None else permutation.p_value,
            seed=None if permutation is None else permutation.seed,
            split=None if report.split is None else report.split.model_dump(mode="json"),
            explanation=report.explanation,
        )  # fmt: skip
