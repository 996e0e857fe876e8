"""Monitors: they watch over windows of observations, which no single check can do, and intervene."""

from __future__ import annotations

from loom.monitors.entries import FindingEntry, MonitorTickEntry, ObservedEntry, WindowResetEntry
from loom.monitors.monitor import Finding, Monitor, Observation, Reset, watch
from loom.monitors.rolling import (
    RollingMeanFacts,
    RollingMeanParams,
    full_window,
    full_window_without_credit,
    rolling_mean,
    rolling_mean_of,
)
from loom.monitors.view import MonitorsProjection

__all__ = [
    "Finding",
    "FindingEntry",
    "Monitor",
    "MonitorTickEntry",
    "MonitorsProjection",
    "Observation",
    "ObservedEntry",
    "Reset",
    "RollingMeanFacts",
    "RollingMeanParams",
    "WindowResetEntry",
    "full_window",
    "full_window_without_credit",
    "rolling_mean",
    "rolling_mean_of",
    "watch",
]
