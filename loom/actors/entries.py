"""Entries by which a turn can be resumed: messages to other actors, effects, and draws of time, ids and chance.

Others concern the state of an actor: the digest of a snapshot, which is stored outside the journal, a checkpoint of the
state itself, so that bodies before it can be pruned, and sealed copies of such bodies.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue

from loom.absent import is_empty, is_none, is_one
from loom.decisions.entries import Failure
from loom.journal.entry import Entry, Step
from loom.journal.ranges import BodyRange

__all__ = [
    "AskRepliedEntry",
    "AskedEntry",
    "AttemptFailedEntry",
    "BodiesClosedEntry",
    "EffectIntendedEntry",
    "EffectPerformedEntry",
    "SnapshotTakenEntry",
    "StateCheckpointEntry",
    "ToldEntry",
    "ValueDrawnEntry",
]


class AskedEntry(Entry):
    """Another actor is going to be asked; the command's id is derived from the step, so a repetition is harmless."""

    kind: ClassVar[str] = "asked"

    journal: str
    command_id: str
    command_type: str


class AskRepliedEntry(Entry):
    """The other actor replied, or failed. Schema 2 may have a version of the reply's shape."""

    kind: ClassVar[str] = "ask_replied"
    schema_version: ClassVar[int] = 2

    reply: JsonValue = None
    failure: Failure | None = None
    reply_version: int = Field(default=1, exclude_if=is_one)

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body of schema 1 as it is: replies had one shape."""
        return body if version == 1 else super().upcast(version, body)


class ToldEntry(Entry):
    """A command was sent to another actor, or could not be sent; the command's id is derived from the step.

    Schema 2 has the time before which its turn does not begin.
    """

    kind: ClassVar[str] = "told"
    schema_version: ClassVar[int] = 2

    journal: str
    command_id: str
    command_type: str
    failure: Failure | None = None
    at: datetime | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body of schema 1 as it is: its turn began at once."""
        return body if version == 1 else super().upcast(version, body)


class AttemptFailedEntry(Entry):
    """An attempt of a step failed, and another one follows `delay_s` later.

    `step` is that of the verb, `attempt` counts from 1. The failure of a last attempt is in the step's own entry.
    """

    kind: ClassVar[str] = "attempt_failed"

    attempt: int
    failure: Failure
    delay_s: float

    @property
    def back_off(self) -> Step:
        """The wait before the next attempt, as a step of its own: its turn continues with it."""
        return Step("back_off", str(self.step), self.attempt - 1)


class EffectIntendedEntry(Entry):
    """An effect is about to be performed. Without a result after it, it is unknown whether it happened.

    Schema 2 may have the arguments of the effect, and the id of the approval under which it is performed.
    """

    kind: ClassVar[str] = "effect_intended"
    schema_version: ClassVar[int] = 2

    action: str
    key: str
    repeatable: bool
    arguments: dict[str, JsonValue] | None = Field(default=None, exclude_if=is_none)
    under: str | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body of schema 1 as it is: it names no arguments."""
        return body if version == 1 else super().upcast(version, body)


class EffectPerformedEntry(Entry):
    """The effect was performed, with this result; or it raised.

    Schema 2 has the attempts that failed before: the types of their errors. Each is an entry of its own.
    """

    kind: ClassVar[str] = "effect_performed"
    schema_version: ClassVar[int] = 2

    action: str
    key: str
    result: JsonValue = None
    failure: Failure | None = None
    duration_ms: float
    failed_attempts: tuple[str, ...] = Field(default=(), exclude_if=is_empty)

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body of schema 1 as it is: no attempt was repeated."""
        return body if version == 1 else super().upcast(version, body)


class ValueDrawnEntry(Entry):
    """A time, an id or a random number, recorded so that a resumed turn gets the same one."""

    kind: ClassVar[str] = "value_drawn"

    source: Literal["now", "new_id", "random"]
    value: JsonValue


class SnapshotTakenEntry(Entry):
    """The state after an earlier entry was stored outside the journal: it is used only if it has this digest.

    It belongs to no turn, is written with the next append of its actor, and is not given to `apply`.
    """

    kind: ClassVar[str] = "snapshot_taken"

    actor_type: str
    state_version: int
    sequence: int
    """The last entry that the state includes."""
    digest: str
    """SHA-256 of the snapshot's bytes, which are salted, in hex digits."""


class StateCheckpointEntry(Entry):
    """The state after all entries before this one: an actor starts from it where bodies before it are gone.

    It belongs to no turn, and is not given to `apply`. The state is in clear where the journal concerns no subject,
    and sealed for all of its subjects otherwise: one of the two is None.
    """

    kind: ClassVar[str] = "state_checkpoint"

    actor_type: str
    state_version: int
    state: JsonValue = None
    sealed: JsonValue = None
    pruned: tuple[BodyRange, ...] = Field(default=())
    """The bodies that were going to be pruned when it was made."""


class BodiesClosedEntry(Entry):
    """Bodies that are going to be pruned, each sealed for its subjects, of a journal that concerns several subjects.

    The state in a checkpoint opens only with the keys of all subjects. After an erasure the state is folded from these
    bodies. The entry belongs to no turn, and is not given to `apply`.
    """

    kind: ClassVar[str] = "bodies_closed"

    bodies: dict[int, JsonValue]
    """By sequence, the salt and the body, sealed."""
