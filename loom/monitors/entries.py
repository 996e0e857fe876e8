"""The entries of monitors: observations, evaluations of full windows, findings and interventions."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, JsonValue

from loom.journal.entry import Entry

__all__ = ["FindingEntry", "MonitorTickEntry", "ObservedEntry", "WindowResetEntry"]


class ObservedEntry(Entry):
    """A monitor observed a value, and added it to the window of its subject."""

    kind: ClassVar[str] = "monitor.observed"

    position: int
    """The position of the entry with the value."""
    value: float = Field(allow_inf_nan=False)
    about: dict[str, JsonValue] = Field(default_factory=dict)
    """What the entry belongs to: its flow, its run, its turn."""


class WindowResetEntry(Entry):
    """The window starts again: earlier observations no longer count."""

    kind: ClassVar[str] = "monitor.window_reset"

    position: int
    reason: str


class MonitorTickEntry(Entry):
    """A full window was judged."""

    kind: ClassVar[str] = "monitor.tick"

    monitor: str
    subject: str
    position: int
    facts: dict[str, JsonValue]
    parameters: dict[str, JsonValue]
    """The parameters of the policy version that judged it."""
    rule: str
    """The rule of the monitor's policy that applied."""
    about: dict[str, JsonValue] = Field(default_factory=dict)


class FindingEntry(Entry):
    """The policy denied a window, and the monitor intervened."""

    kind: ClassVar[str] = "monitor.finding"

    monitor: str
    subject: str
    position: int
    rule: str
    why: str
    intervention: str
    decision_id: str
    about: dict[str, JsonValue] = Field(default_factory=dict)
