"""Entries of turns that follow a branch of changed code, or take up the steps of an earlier turn."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from loom.absent import is_empty
from loom.journal.entry import Entry, PersonEntry

__all__ = ["FailureLiftedEntry", "TurnTakenUpEntry", "VersionMarkedEntry"]


class VersionMarkedEntry(Entry):
    """A turn follows this version of a change of its code from now on, whatever version is the newest.

    Code that does not ask for the change any more may follow a turn that has the entry.
    """

    kind: ClassVar[str] = "version_marked"

    change: str
    version: int


class TurnTakenUpEntry(PersonEntry):
    """A person had the recorded steps of an earlier turn taken up by this turn, which the entry belongs to.

    `retry` is a new attempt of a turn that failed: its success is the reply to the earlier command, too. `fork` is a
    turn of its own, with keys of its own for its effects; without `perform` it has none.
    """

    kind: ClassVar[str] = "turn_taken_up"
    sources_since: ClassVar[int] = 1

    how: Literal["retry", "fork"]
    command_id: str
    """The command id of the earlier turn, in the same journal."""
    before: int | None = None
    """The sequence of the first entry of the earlier turn that is left out; None where all of it is taken up."""
    by: str
    reason: str | None = None
    perform: bool = False
    recovers: tuple[str, ...] = ()
    """The command ids of the failed turns that the success of this one is the reply to."""


class FailureLiftedEntry(Entry):
    """A new attempt of a failed turn succeeded: its decisions are not marked as those of a failed turn any more.

    It has the command id of the failed turn, and comes with an end of that turn which refers to the attempt.
    """

    kind: ClassVar[str] = "failure_lifted"

    attempt: str
    """The command id of the attempt."""
    overruled: dict[str, tuple[str, ...]] = Field(default={}, exclude_if=is_empty)
    """By decision of the failed turn, the decisions that it overrules."""
