"""The entries that let a turn resume: what it asked of others, did in the world, and drew from clock and chance.

And two about its state: the one that binds a snapshot, which lies outside the journal, to it, and the one that holds
the state itself, so that bodies before it can go.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from loom.decisions.entries import Failure
from loom.journal.entry import Entry
from loom.journal.ranges import BodyRange

__all__ = [
    "AskRepliedEntry",
    "AskedEntry",
    "BodiesClosedEntry",
    "EffectIntendedEntry",
    "EffectPerformedEntry",
    "SnapshotTakenEntry",
    "StateCheckpointEntry",
    "ToldEntry",
    "ValueDrawnEntry",
]


class AskedEntry(Entry):
    """Another actor is going to be asked; the command's id is derived from the step, so that asking twice is once."""

    kind: ClassVar[str] = "asked"

    journal: str
    command_id: str
    command_type: str


class AskRepliedEntry(Entry):
    """The other actor replied, or failed."""

    kind: ClassVar[str] = "ask_replied"

    reply: JsonValue = None
    failure: Failure | None = None


class ToldEntry(Entry):
    """Another actor was told, or could not be; the command's id is derived from the step."""

    kind: ClassVar[str] = "told"

    journal: str
    command_id: str
    command_type: str
    failure: Failure | None = None


class EffectIntendedEntry(Entry):
    """Something is about to be done in the world. Without a result after it, nobody knows whether it was."""

    kind: ClassVar[str] = "effect_intended"

    action: str
    key: str
    repeatable: bool


class EffectPerformedEntry(Entry):
    """It was done, with this result; or it raised."""

    kind: ClassVar[str] = "effect_performed"

    action: str
    key: str
    result: JsonValue = None
    failure: Failure | None = None
    duration_ms: float


class ValueDrawnEntry(Entry):
    """A time, an id or a random number, recorded so that a resumed turn gets the same one."""

    kind: ClassVar[str] = "value_drawn"

    source: Literal["now", "new_id", "random"]
    value: JsonValue


class SnapshotTakenEntry(Entry):
    """The state after an earlier entry was kept outside the journal: only what has this digest is ever used.

    It belongs to no turn, rides with the next append of its actor, and is not shown to `apply`.
    """

    kind: ClassVar[str] = "snapshot_taken"

    actor_type: str
    state_version: int
    sequence: int
    """The entry after which the state was so."""
    digest: str
    """SHA-256 of the snapshot's bytes, which are salted, in hex digits."""


class StateCheckpointEntry(Entry):
    """The state after all entries before this one: an actor starts from it where bodies before it are gone.

    It belongs to no turn, and is not shown to `apply`. The state is in clear where the journal concerns no subject,
    and sealed for all of its subjects otherwise: one of the two is None.
    """

    kind: ClassVar[str] = "state_checkpoint"

    actor_type: str
    state_version: int
    state: JsonValue = None
    sealed: JsonValue = None
    pruned: tuple[BodyRange, ...] = Field(default=())
    """The bodies that were going to be taken away when it was made."""


class BodiesClosedEntry(Entry):
    """Bodies that are going to be taken away, each sealed for its subjects: of a journal that concerns several.

    The state in a checkpoint opens with the keys of all of them. When one was erased, it is folded out of these. It
    belongs to no turn, and is not shown to `apply`.
    """

    kind: ClassVar[str] = "bodies_closed"

    bodies: dict[int, JsonValue]
    """By sequence, the salt and the body, sealed."""
