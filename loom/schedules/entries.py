"""Entries of schedules: since when one is set, what it fired, and which of its times passed without a command."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import JsonValue

from loom.journal.entry import Entry

__all__ = ["ScheduleFiredEntry", "ScheduleSetEntry", "ScheduleSkippedEntry"]


class ScheduleSetEntry(Entry):
    """A schedule of the config was seen for the first time, or with other settings: times before `since` are none."""

    kind: ClassVar[str] = "schedule_set"

    name: str
    cron: str
    timezone: str
    actor: str
    key: str
    command_type: str
    payload: dict[str, JsonValue]
    missed: Literal["skip", "once", "all"]
    since: datetime


class ScheduleFiredEntry(Entry):
    """A schedule sent its command for one of its times; the id of the command is derived from name and time."""

    kind: ClassVar[str] = "schedule_fired"

    name: str
    due: datetime
    journal: str
    command_id: str
    late: bool = False
    """Whether it made up for a time at which no loom ran."""


class ScheduleSkippedEntry(Entry):
    """Times of a schedule at which no loom ran, and for which nothing was sent."""

    kind: ClassVar[str] = "schedule_skipped"

    name: str
    until: datetime
    """The last of them."""
    runs: int
    """How many there were; with `more`, at least."""
    more: bool = False
