"""What is journaled of checkpoints: the keys that may sign, the checkpoints, what witnesses added, losses."""

from __future__ import annotations

from typing import ClassVar, Literal

from loom.journal.entry import Entry, PersonEntry

__all__ = [
    "CHECKPOINTS_JOURNAL",
    "CheckpointCosignedEntry",
    "CheckpointSignedEntry",
    "CheckpointStampedEntry",
    "LossAcceptedEntry",
    "SigningKeyAddedEntry",
    "SigningKeyRetiredEntry",
]

CHECKPOINTS_JOURNAL = "loom/checkpoints"


class SigningKeyAddedEntry(PersonEntry):
    """A key may sign checkpoints from now on. The first one begins the log, and gives it its name."""

    kind: ClassVar[str] = "proof.key_added"
    sources_since: ClassVar[int] = 1

    instance: str
    """The UUID in the origin of the log."""
    public_key: str
    """32 bytes of Ed25519 in base64."""
    by: str


class SigningKeyRetiredEntry(PersonEntry):
    """A key signs no checkpoint of more than `size` entries."""

    kind: ClassVar[str] = "proof.key_retired"
    sources_since: ClassVar[int] = 1

    public_key: str
    size: int
    by: str
    reason: str


class CheckpointSignedEntry(Entry):
    """A checkpoint was signed: `note` is the signed note. The entries after this one bind it."""

    kind: ClassVar[str] = "proof.checkpoint"

    size: int
    note: str
    why: Literal["entries", "time", "close", "asked", "rotation"]


class CheckpointCosignedEntry(Entry):
    """A witness had seen a checkpoint and signed it: `signature` is its line."""

    kind: ClassVar[str] = "proof.cosigned"

    size: int
    witness: str
    """The key of the witness, as C2SP writes keys."""
    signature: str


class CheckpointStampedEntry(Entry):
    """An authority stamped a checkpoint with its time (RFC 3161): `token` is its answer, in base64."""

    kind: ClassVar[str] = "proof.stamped"

    size: int
    authority: str
    at: str
    note: str
    """What was stamped: the note as it was then."""
    token: str


class LossAcceptedEntry(PersonEntry):
    """A person opened a journal that ends before a checkpoint anchored elsewhere. It is another log from here on."""

    kind: ClassVar[str] = "proof.loss_accepted"
    sources_since: ClassVar[int] = 1

    anchor: str
    """Where the checkpoint was found."""
    note: str
    """The checkpoint."""
    found: int
    """How many entries there were."""
    instance: str
    """The UUID in the origin of the log from here on."""
    by: str
