"""Drift: whether the pattern of decisions is still the same, which classes changed, and where the change comes from."""

from __future__ import annotations

from loom.drift.comparison import Drift
from loom.drift.entries import DRIFT_JOURNAL, DriftComparedEntry
from loom.drift.report import ClassShift, DriftReport, PolicySplit
from loom.drift.thresholds import DriftParams, drift
from loom.drift.window import Window, WindowCount

__all__ = [
    "DRIFT_JOURNAL",
    "ClassShift",
    "Drift",
    "DriftComparedEntry",
    "DriftParams",
    "DriftReport",
    "PolicySplit",
    "Window",
    "WindowCount",
    "drift",
]
