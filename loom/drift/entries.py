"""The entries of the journal `loom/drift`: results of comparisons that the caller asked to keep."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import JsonValue

from loom.drift.report import DriftReport, DriftState
from loom.drift.thresholds import Severity
from loom.identity import By, Identity
from loom.journal.entry import PersonEntry

__all__ = ["DRIFT_JOURNAL", "DriftComparedEntry"]

DRIFT_JOURNAL = "loom/drift"
"""The journal of comparisons."""


class DriftComparedEntry(PersonEntry):
    """Two windows were compared, of everything up to `position`. A drift alarm is one whose state is `detected`.

    It can be computed again from the windows, the position and the version of `loom.drift`, so the counts of all
    classes are left out. `test` says which test was used, `excess` is the divergence beyond chance, and `pairs` the
    subjects in both windows: these exist from schema 2 on. `metrics` are the figures apart from the pattern, from
    schema 4 on.
    """

    kind: ClassVar[str] = "drift_compared"
    schema_version: ClassVar[int] = 4
    sources_since: ClassVar[int] = 3

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
    test: str | None
    excess: float | None
    pairs: dict[str, JsonValue] | None
    split: dict[str, JsonValue] | None
    metrics: dict[str, JsonValue] | None
    explanation: tuple[str, ...]

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body as the next schema has it: in schema 1, everything was tested by permutation."""
        if version == 1:
            test = None if body.get("p_value") is None else "permutation"
            return {**body, "test": test, "excess": None, "pairs": None}
        return {**body, "metrics": None} if version == 3 else super().upcast(version, body)

    @classmethod
    def of(cls, report: DriftReport, *, by: By) -> DriftComparedEntry:
        """Return the entry that keeps a report, in the name of a person."""
        permutation = report.permutation
        windows: dict[str, Any] = {
            name: side.window.model_dump(mode="json", exclude_none=True)
            for name, side in (("baseline", report.baseline), ("current", report.current))
        }
        return cls(
            **Identity.of(by).written(),
            state=report.state,
            severity=report.severity,
            **windows,
            decisions=(report.baseline.decisions, report.current.decisions),
            position=report.position,
            rule=report.rule,
            judged_version=report.judged.version,
            judged_hash=report.judged.hash,
            js_divergence=report.js_divergence,
            p_value=None if permutation is None else permutation.p_value,
            seed=None if permutation is None else permutation.parts[0].seed,
            test=None if permutation is None else permutation.test,
            excess=None if permutation is None else permutation.excess,
            pairs=None if report.pairs is None else report.pairs.model_dump(mode="json"),
            split=None if report.split is None else report.split.model_dump(mode="json"),
            metrics=report.metrics.model_dump(mode="json"),
            explanation=report.explanation,
        )
