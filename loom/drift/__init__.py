"""Drift: whether the pattern of decisions is still the same, which classes changed, and where the change comes from."""

from __future__ import annotations

from loom.drift.comparison import Drift
from loom.drift.entries import DRIFT_JOURNAL, DriftComparedEntry
from loom.drift.metric_rule import MetricDriftParams, metric_drift
from loom.drift.monthly import DriftByMonth
from loom.drift.outcomes_alone import OUTCOMES_ALONE
from loom.drift.parts import DriftPart, DriftParts
from loom.drift.report import ClassShift, DriftReport, Metrics, MetricShift, PolicySplit
from loom.drift.thresholds import DriftParams, drift
from loom.drift.window import Window, WindowCount

__all__ = [
    "DRIFT_JOURNAL",
    "OUTCOMES_ALONE",
    "ClassShift",
    "Drift",
    "DriftByMonth",
    "DriftComparedEntry",
    "DriftParams",
    "DriftPart",
    "DriftParts",
    "DriftReport",
    "MetricDriftParams",
    "MetricShift",
    "Metrics",
    "PolicySplit",
    "Window",
    "WindowCount",
    "drift",
    "metric_drift",
]
