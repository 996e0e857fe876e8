"""The entries of monitors: what was observed, what a full window says, what was found and what was done about it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, JsonValue

from loom.journal.entry import Entry

__all__ = ["FindingEntry", "MonitorTickEntry", "ObservedEntry", "WindowResetEntry"]


class ObservedEntry(Entry):
    """A monitor saw a value: one more in the window of its subject."""

    kind: ClassVar[str] = "monitor.observed"

    position: int
    """Of the entry that it was seen in."""
    value: float = Field(allow_inf_nan=False)
    about: dict[str, JsonValue] = Field(default_factory=dict)
    """What the entry belongs to: its flow, its run, its turn."""


class WindowResetEntry(Entry):
    """The window begins afresh: what was observed before counts no more."""

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
    """Those of the policy version that it was judged under."""
    rule: str
    """What the monitor's policy said: which rule hit."""
    about: dict[str, JsonValue] = Field(default_factory=dict)


class FindingEntry(Entry):
    """A window showed what must not go on, and what was done about it."""

    kind: ClassVar[str] = "monitor.finding"

    monitor: str
    subject: str
    position: int
    rule: str
    why: str
    intervention: str
    decision_id: str
    about: dict[str, JsonValue] = Field(default_factory=dict)
