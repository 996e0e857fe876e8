"""What the journal says of its own checkpoints, and what may be said of one that comes from elsewhere."""

from __future__ import annotations

import base64
import bisect
from collections.abc import Callable
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

from loom.clock import datetime_from_us
from loom.journal.entry import Entry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalReader, draft
from loom.proof.entries import (
    CHECKPOINTS_JOURNAL,
    CheckpointCosignedEntry,
    CheckpointSignedEntry,
    CheckpointStampedEntry,
    LossAcceptedEntry,
    SigningKeyAddedEntry,
    SigningKeyRetiredEntry,
)
from loom.proof.errors import NoteError
from loom.proof.keys import verifies
from loom.proof.notes import Checkpoint, Note, Verifier, VerifyingKey, origin_of

__all__ = ["Answer", "CheckpointLog", "Judgement", "KnownKey", "SignedCheckpoint", "Stamped"]

Answer: TypeAlias = Literal["HOLDS", "OTHER_LOG", "UNKNOWN_KEY", "KEY_RETIRED", "CUT", "FORKED"]
"""What a checkpoint is to a journal."""


class KnownKey(NamedTuple):
    """A key of the log: since which position it may sign, and through which size, None for any."""

    public: bytes
    since: int
    until: int | None = None


class SignedCheckpoint(NamedTuple):
    """A checkpoint in the journal: where its entry is, when it was written, and the note with what witnesses added."""

    position: int
    at: datetime
    note: Note
    checkpoint: Checkpoint
    why: str

    @property
    def size(self) -> int:
        """How many entries it covers."""
        return self.checkpoint.size


class Stamped(NamedTuple):
    """The last time stamp of an authority: of how many entries, when it was journaled, the note and the token."""

    size: int
    at: datetime
    note: str
    token: str


class Judgement(NamedTuple):
    """What was found about a checkpoint, and the same in words."""

    answer: Answer
    words: str
    key: VerifyingKey | None = None

    @property
    def holds(self) -> bool:
        """Whether the journal begins with what was signed, by a key of its log."""
        return self.answer == "HOLDS"


class CheckpointLog:
    """The keys and the checkpoints of one workspace, folded from their journal; `load` it."""

    def __init__(
        self,
        store: JournalReader,
        workspace: str,
        *,
        make_draft: Callable[[Entry], Draft] = draft,
        verify: Verifier = verifies,
    ) -> None:
        self.journal = SingletonJournal(store, CHECKPOINTS_JOURNAL, self._fold, make_draft=make_draft)
        self.workspace = workspace
        self.instance: str | None = None
        """The UUID in its origin; None before its first key."""
        self.keys: dict[bytes, KnownKey] = {}
        self.earlier: dict[str, int] = {}
        """Origins that the log had before a loss was accepted, and how many of their entries are still there."""
        self.stamps: dict[str, Stamped] = {}
        """By the address of the authority."""
        self.unreadable: list[int] = []
        """Positions of checkpoints that cannot be read."""
        self._checkpoints: list[SignedCheckpoint] = []
        self._own: list[int] = []
        self._verify = verify

    async def load(self) -> None:
        """Read its entries; also those that were appended meanwhile."""
        await self.journal.load()

    @property
    def origin(self) -> str | None:
        """Its name; None before its first key."""
        return None if self.instance is None else origin_of(self.instance, self.workspace)

    @property
    def checkpoints(self) -> tuple[SignedCheckpoint, ...]:
        """All of its checkpoints, from the first to the last."""
        return tuple(self._checkpoints)

    @property
    def newest(self) -> SignedCheckpoint | None:
        """Its last checkpoint under its present name; None where there is none."""
        found = self._checkpoints[-1] if self._checkpoints else None
        return found if found is not None and found.checkpoint.origin == self.origin else None

    def own_after(self, size: int) -> int:
        """Return how many entries of its own come after a position: they alone are no reason for a checkpoint."""
        return len(self._own) - bisect.bisect_right(self._own, size)

    def covering(self, position: int) -> SignedCheckpoint | None:
        """Return the newest checkpoint that covers a position; None where there is none yet."""
        found = self.newest
        return found if found is not None and found.size >= position else None

    def key(self, public: bytes, *, origin: str | None = None) -> VerifyingKey:
        """Return a public key as the notes of this log name it."""
        return VerifyingKey(origin or self.origin or "", public)

    def judge(
        self, note: Note, root_at: Callable[[int], bytes], tail: int, *, trusted: tuple[bytes, ...] = ()
    ) -> Judgement:
        """Say what a checkpoint is to this journal, whose tree has the root `root_at(size)` up to `tail` entries.

        `trusted` are public keys that are known from elsewhere, as a journal that was made again knows none.
        Raises `NoteError` for a note that is no checkpoint.
        """
        found = Checkpoint.parse(note.text)
        known = (*self.keys, *(each for each in trusted if each not in self.keys))
        signed = next((key for each in known if (key := self._signer(note, found, each)) is not None), None)
        if signed is None:
            return Judgement(
                "UNKNOWN_KEY",
                f"no key of this log has signed it: its origin is [{found.origin:.100}], and signatures name "
                f"{sorted({each.name[:100] for each in note.signatures})}",
            )
        until = self.keys[signed.public].until if signed.public in self.keys else None
        if until is not None and found.size > until and not self._also_signed(note, found, signed):
            return Judgement(
                "KEY_RETIRED",
                f"the key [{signed.key_id.hex()}] was retired after {until} entries, and this is of {found.size}",
                signed,
            )
        is_lost = self.origin is None and found.origin.endswith(f"/{self.workspace}")  # its first key is gone, too
        if found.origin != self.origin and found.origin not in self.earlier and not is_lost:
            return Judgement(
                "OTHER_LOG",
                f"it is of the log [{found.origin:.100}], and this one is [{self.origin or 'not begun'}]",
                signed,
            )
        kept = self.earlier.get(found.origin, tail)
        if found.origin in self.earlier and found.size > kept:
            return Judgement("HOLDS", f"entries {kept + 1}..{found.size} were lost, and a person accepted that", signed)
        if found.size > tail:
            return Judgement(
                "CUT", f"entries {tail + 1}..{found.size} are gone: a checkpoint of {found.size} was signed", signed
            )
        if root_at(found.size) != found.root:
            return Judgement(
                "FORKED",
                f"the first {found.size} entries do not have the root {found.root.hex()[:12]}… that was signed: one or "
                "more of them are others now",
                signed,
            )
        return Judgement("HOLDS", f"the journal begins with the {found.size} entries that were signed", signed)

    def _signer(self, note: Note, found: Checkpoint, public: bytes) -> VerifyingKey | None:
        key = VerifyingKey(found.origin, public)
        return None if key.signature_of(note, self._verify) is None else key

    def _also_signed(self, note: Note, found: Checkpoint, retired: VerifyingKey) -> bool:
        """Tell whether a key that is not retired for this size has signed it as well: the first after a rotation."""
        return any(
            (each.until is None or found.size <= each.until) and self._signer(note, found, each.public) is not None
            for each in self.keys.values()
            if each.public != retired.public
        )

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        self._own.append(recorded.position)
        match entry:
            case SigningKeyAddedEntry():
                self.instance = entry.instance
                public = base64.b64decode(entry.public_key)
                self.keys[public] = KnownKey(public, recorded.position)
            case SigningKeyRetiredEntry():
                public = base64.b64decode(entry.public_key)
                if public in self.keys:
                    self.keys[public] = self.keys[public]._replace(until=entry.size)
            case CheckpointSignedEntry():
                self._take(recorded, entry)
            case CheckpointCosignedEntry():
                self._add(entry)
            case CheckpointStampedEntry():
                at = datetime_from_us(recorded.recorded_at_us)
                self.stamps[entry.authority] = Stamped(entry.size, at, entry.note, entry.token)
            case LossAcceptedEntry():
                if self.origin is not None:
                    self.earlier[self.origin] = entry.found
                try:
                    self.earlier[Checkpoint.parse(Note.parse(entry.note).text).origin] = entry.found
                except NoteError:
                    self.unreadable.append(recorded.position)
                self.instance = entry.instance

    def _take(self, recorded: Recorded, entry: CheckpointSignedEntry) -> None:
        try:
            note = Note.parse(entry.note)
            found = Checkpoint.parse(note.text)
        except NoteError:
            self.unreadable.append(recorded.position)
            return
        at = datetime_from_us(recorded.recorded_at_us)
        self._checkpoints.append(SignedCheckpoint(recorded.position, at, note, found, entry.why))

    def _add(self, entry: CheckpointCosignedEntry) -> None:
        for at in range(len(self._checkpoints) - 1, -1, -1):
            each = self._checkpoints[at]
            if each.size == entry.size:
                try:
                    line = Note.parse(f"{each.note.text}\n{entry.signature}").signatures
                except NoteError:
                    return
                self._checkpoints[at] = each._replace(note=each.note.with_signatures(line))
                return
