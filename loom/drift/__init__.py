"""Drift: whether the pattern of decisions is still the same, which classes changed, and where the change comes from."""

from __future__ import annotations

from loom.drift.comparison import Drift
from loom.drift.entries import DRIFT_JOURNAL, DriftComparedEntry
from loom.drift.metric_rule import MetricDriftParams, metric_drift
from loom.drift.report import ClassShift, DriftReport, Metrics, MetricShift, PolicySplit
from loom.drift.thresholds import DriftParams, drift
from loom.drift.window import Window, WindowCount

__all__ = [
    "DRIFT_JOURNAL",
    "ClassShift",
    "Drift",
    "DriftComparedEntry",
    "DriftParams",
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
