"""Entries of turns that wait: for a time, or for a message.

A wait begins with a `WaitBegunEntry`, and its turn goes on with a `TurnContinuedEntry` that names the same step. What
ended the wait is a fact of its own only where it could have been something else: a message, or the end of the patience
for one.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from loom.absent import is_none
from loom.journal.entry import Entry, Step

__all__ = ["ApprovalRemindedEntry", "TurnParkedEntry", "WaitBegunEntry", "WaitEndedEntry"]


class WaitBegunEntry(Entry):
    """A turn began to wait: until a time (`sleep`), for a message (`message`), or for its own first line (`begin`).

    `until` is the time of day at which the wait ends at the latest, None for a wait without an end. Its distance from
    the time of the entry is what counts where a clock was wrong.
    """

    kind: ClassVar[str] = "wait_begun"

    what: Literal["sleep", "message", "begin"]
    until: datetime | None = None
    message: str | None = Field(default=None, exclude_if=is_none)
    """The type of the message that is waited for."""


class WaitEndedEntry(Entry):
    """A wait for a message ended: with the message whose command id it names, or because its time was over."""

    kind: ClassVar[str] = "wait_ended"

    wait: Step
    """The step that waited."""
    message_id: str | None = None
    """The command id of the message in the same journal; None if the time was over before one came."""


class ApprovalRemindedEntry(Entry):
    """A request for approval was delivered again, as it is still pending; it was reminder number `number`."""

    kind: ClassVar[str] = "approval_reminded"

    approval_id: str
    approver: str
    number: int


class TurnParkedEntry(Entry):
    """A turn that does nothing but wait was let go: nothing of it is in memory, and it is driven again when it wakes.

    Without this entry a turn that waits may have been cut short in another branch of its code, so it is driven again
    when the journal is opened.
    """

    kind: ClassVar[str] = "turn_parked"

    waits: tuple[Step, ...]
    """The steps that wait."""
    until: datetime | None = None
    """The earliest time at which one of them ends by itself; None if none does."""
