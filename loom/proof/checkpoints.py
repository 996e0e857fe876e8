"""Making checkpoints: what is signed is computed from the journal, and begins with what was signed before."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple, TypeAlias

from loom.background import to_its_end
from loom.errors import LoomError
from loom.identity import By, Identity, new_id
from loom.journal.entry import Entry
from loom.journal.store import JournalStore
from loom.proof.anchors import Anchor
from loom.proof.config import TimeStampsConfig
from loom.proof.entries import (
    CheckpointCosignedEntry,
    CheckpointSignedEntry,
    CheckpointStampedEntry,
    SigningKeyAddedEntry,
    SigningKeyRetiredEntry,
)
from loom.proof.errors import ForkError, ProofError, SigningKeyError
from loom.proof.keys import Signer, verifies
from loom.proof.log import CheckpointLog, SignedCheckpoint
from loom.proof.notes import Checkpoint, Note, Signature, VerifyingKey
from loom.proof.stamps import Stamp, certificates_in, read_stamp, stamped
from loom.proof.tree import Inclusion, ProofTree
from loom.telemetry import get_logger

__all__ = ["Checkpoints", "Why"]

Why: TypeAlias = Literal["entries", "time", "close", "asked", "rotation"]

_log = get_logger("loom.proof")


class AnchorState(NamedTuple):
    """How an anchor is: the size that it was given last, and what went wrong since."""

    name: str
    size: int
    problem: str | None = None


class Checkpoints:
    """Signs checkpoints of one workspace and journals them; the part of the extension [proof]."""

    def __init__(
        self,
        store: JournalStore,
        log: CheckpointLog,
        open_tree: Callable[[], ProofTree],
        *,
        signer: Callable[[], Signer] | None,
        anchors: Sequence[Anchor] = (),
        stamps: Sequence[TimeStampsConfig] = (),
        witnesses: Sequence[VerifyingKey] = (),
        by: By,
    ) -> None:
        self.log = log
        self.anchors: dict[str, AnchorState] = {}
        """By the name of the anchor, once something was written down there."""
        self._store = store
        self._open_tree = open_tree
        self._tree: ProofTree | None = None
        self._make_signer = signer
        self._signer: Signer | None = None
        self._also: Signer | None = None  # signs the first checkpoint after a rotation as well
        self._anchors = tuple(anchors)
        self._stamps = tuple(stamps)
        self._witnesses = tuple(witnesses)
        self._by = Identity.of(by)
        self._lock = asyncio.Lock()

    @property
    def signs(self) -> bool:
        """Whether there is a key to sign with."""
        return self._make_signer is not None

    def load_key(self) -> None:
        """Take the key that the config names now; raise `ConfigError` for one that cannot be used."""
        if self._signer is None and self._make_signer is not None:
            self._signer = self._make_signer()

    @property
    def pending(self) -> int:
        """How many entries came since the last checkpoint, those about checkpoints not counted."""
        last = self.log.newest
        size = 0 if last is None else last.size
        return max(0, self._store.acknowledged - size - self.log.own_after(size))

    async def sign(self, why: Why = "asked") -> SignedCheckpoint | None:
        """Make a checkpoint of all that is durable; the last one where nothing came since, None in an empty journal.

        Raises `SigningKeyError` without a key of the log, and `ForkError` for a journal that does not begin with the
        last checkpoint: nothing is signed then.
        """
        return await to_its_end(self._sign(why))

    async def rotate(self, signer: Signer, *, by: By, reason: str) -> VerifyingKey:
        """Have another key sign from now on. The next checkpoint has the signatures of both."""
        return await to_its_end(self._rotate(signer, Identity.of(by), reason))

    async def cosigned(self, note: Note, *, witnesses: Sequence[VerifyingKey] = ()) -> tuple[VerifyingKey, ...]:
        """Journal what witnesses added to one of the checkpoints; return whose lines were taken.

        Raises `ProofError` for a note that is none of the journal's, or that no known witness has signed.
        """
        known = next((each for each in self.log.checkpoints[::-1] if each.note.text == note.text), None)
        if known is None:
            raise ProofError(
                "note is no checkpoint of this journal; expected the text of one: see `loom checkpoint list`"
            )
        taken = []
        for key in dict.fromkeys((*self._witnesses, *witnesses)):
            line = key.signature_of(note, verifies)
            if line is not None and line not in known.note.signatures:
                await self._append(CheckpointCosignedEntry(size=known.size, witness=str(key), signature=str(line)))
                taken.append(key)
        if not taken and not any(key.signature_of(known.note, verifies) for key in (*self._witnesses, *witnesses)):
            raise ProofError(
                "note has no signature of a known witness; expected one of [checkpoints.witnesses] in the config, or "
                "of --witness: add its key"
            )
        return tuple(taken)

    async def inclusion(self, position: int) -> tuple[SignedCheckpoint, Inclusion] | None:
        """Return the newest checkpoint and the proof that it covers a position; None where it does not yet.

        Raises `ForkError` where the journal does not have the root that was signed.
        """
        signed = self.log.covering(position)
        if signed is None or position < 1:
            return None
        async with self._lock:
            found = await asyncio.to_thread(self._included, position, signed.size)
        if found.root != signed.checkpoint.root:
            raise ForkError(
                f"journal does not have the root that was signed for [{signed.size}] entries; expected one that only "
                "grows: run `loom verify`"
            )
        return signed, found

    async def close(self) -> None:
        """Close the view of the tree."""
        async with self._lock:
            if self._tree is not None:
                self._tree.close()
                self._tree = None

    # --- what is signed -------------------------------------------------------------------------

    async def _sign(self, why: Why) -> SignedCheckpoint | None:
        async with self._lock:
            await self.log.load()
            if self.pending == 0 and why != "rotation":
                return self.log.newest
            signer = await self._ready()
            size, last = self._store.acknowledged, self.log.newest
            note = await asyncio.to_thread(self._signed, signer, size, last)
            await self._append(CheckpointSignedEntry(size=size, note=str(note), why=why))
            self._also = None
            found = self.log.newest
            for anchor in self._anchors:
                await self._anchor(anchor, note)
            for authority in self._stamps:
                await self._stamp(authority, note, size)
            return found

    async def _ready(self) -> Signer:
        """Return the signer, whose key is one of the log's; the first begins the log."""
        if self._signer is None:
            await asyncio.to_thread(self.load_key)
        if self._signer is None:
            raise SigningKeyError(
                "there is no key to sign with; expected [checkpoints.key_file] or [checkpoints.command] in the config: "
                "make a key with `loom keys signing new`"
            )
        known = self.log.keys.get(self._signer.public)
        if known is not None and known.until is not None:
            raise SigningKeyError(
                f"key [{self.log.key(self._signer.public).key_id.hex()}] was retired after [{known.until}] entries; "
                "expected the one that took its place: name it in the config"
            )
        if known is None:
            if self.log.keys:
                raise SigningKeyError(
                    f"key [{self.log.key(self._signer.public).key_id.hex()}] is not one of this log; expected the key "
                    "that signed before: name it in the config, or let the loom that has it run "
                    "`loom keys signing rotate`"
                )
            instance = self.log.instance or new_id()
            await self._append(
                SigningKeyAddedEntry(
                    **self._by.written(), instance=instance, public_key=base64.b64encode(self._signer.public).decode()
                )
            )
        return self._signer

    def _included(self, position: int, size: int) -> Inclusion:
        tree = self._tree
        if tree is None:
            self._tree = tree = self._open_tree()
        if tree.size < size:
            tree.extend()
        return tree.inclusion(position, size)

    def _signed(self, signer: Signer, size: int, last: SignedCheckpoint | None) -> Note:
        """Compute the root from the journal since the last checkpoint, and sign it; in a thread."""
        tree = self._tree
        if tree is None:
            self._tree = tree = self._open_tree()
        if last is not None:
            judged = self.log.judge(last.note, lambda at: last.checkpoint.root, size)
            if not judged.holds:
                raise ForkError(
                    f"last checkpoint in the journal, of [{last.size}] entries, is not to be believed: {judged.words}; "
                    "nothing was signed: run `loom verify`"
                )
        root = tree.root_from(None if last is None else last.checkpoint.seen, size)
        origin = self.log.origin
        assert origin is not None  # noqa: S101 - narrows: the key before has begun the log
        text = str(Checkpoint(origin, size, root))
        signatures = []
        for each in (signer, *((self._also,) if self._also is not None else ())):
            key = VerifyingKey(origin, each.public)
            line = Signature(key.name, key.key_id, each.sign(text.encode()))
            if key.signature_of(Note(text, (line,)), verifies) is None:
                raise SigningKeyError(
                    f"key [{key.key_id.hex()}] made a signature that does not hold; nothing was signed"
                )
            signatures.append(line)
        return Note(text, tuple(signatures))

    async def _rotate(self, signer: Signer, by: Identity, reason: str) -> VerifyingKey:
        if signer.public in self.log.keys:
            raise SigningKeyError("key is one of this log already; expected a new one: make it with `keys signing new`")
        await self._sign("rotation")
        async with self._lock:
            old = await self._ready()
            instance = self.log.instance or ""
            added = base64.b64encode(signer.public).decode()
            await self._append(SigningKeyAddedEntry(**by.written(), instance=instance, public_key=added))
            self._signer, self._also = signer, old
            newest = self.log.newest
            await self._append(
                SigningKeyRetiredEntry(
                    **by.written(),
                    public_key=base64.b64encode(old.public).decode(),
                    size=0 if newest is None else newest.size,
                    reason=reason,
                )
            )
        await self._sign("rotation")
        return self.log.key(signer.public)

    async def _append(self, entry: Entry) -> None:
        await self.log.journal.append_if_missing(lambda: entry)

    async def _stamp(self, authority: TimeStampsConfig, note: Note, size: int) -> None:
        """Have a checkpoint stamped and journal the stamp, if the last one of this authority is old enough."""
        before, now = self.log.stamps.get(authority.url), datetime.now(UTC)
        if before is not None and (now - before.at).total_seconds() < authority.every_s:
            return
        try:
            found = await asyncio.to_thread(_stamped, authority, str(note).encode())
        except LoomError as error:
            _log.error("checkpoint_not_stamped", authority=authority.url, size=size, error=str(error))
            return
        entry = CheckpointStampedEntry(
            size=size, authority=authority.url, at=found.at.isoformat(), note=str(note), token=found.text
        )
        await self._append(entry)

    async def _anchor(self, anchor: Anchor, note: Note) -> None:
        """Write a checkpoint down elsewhere; what fails is logged and shown, and the next checkpoint tries again."""
        size = Checkpoint.parse(note.text).size
        try:
            await asyncio.to_thread(anchor.put, note, at=datetime.now(UTC))
            self.anchors[anchor.name] = AnchorState(anchor.name, size)
        except LoomError as error:
            before = self.anchors.get(anchor.name)
            self.anchors[anchor.name] = AnchorState(anchor.name, 0 if before is None else before.size, str(error))
            _log.error("checkpoint_not_anchored", anchor=anchor.name, size=size, error=str(error))


def _stamped(authority: TimeStampsConfig, message: bytes) -> Stamp:
    """Return the time stamp of a message, whose signature holds where the config says whom to trust."""
    found = stamped(authority.url, message)
    if authority.certificates is None:
        return found
    return read_stamp(found.token, message, certificates=certificates_in(authority.certificates.expanduser()))
