"""Schedules: commands that are sent at times of the day, each once, over restarts and wrong clocks."""

from __future__ import annotations

from loom.schedules.entries import ScheduleFiredEntry, ScheduleSetEntry, ScheduleSkippedEntry
from loom.schedules.schedules import SCHEDULES_JOURNAL, Schedules

__all__ = ["SCHEDULES_JOURNAL", "ScheduleFiredEntry", "ScheduleSetEntry", "ScheduleSkippedEntry", "Schedules"]
