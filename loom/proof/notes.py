"""Signed notes and checkpoints, as C2SP has them: signed-note, tlog-checkpoint, tlog-cosignature.

A note is text that ends with a newline, an empty line, and signatures, one a line. The text of a checkpoint is the
origin of the log, the number of its entries, and the root of the tree over them. A signature of a key that the reader
does not know proves nothing and does no harm.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from loom.journal.chain import HASH_BYTES
from loom.journal.roots import Root
from loom.proof.errors import NoteError

__all__ = [
    "COSIGNATURE",
    "ED25519",
    "Checkpoint",
    "Note",
    "Signature",
    "Verifier",
    "VerifyingKey",
    "cosignature",
    "cosigned_at_s",
    "cosigned_bytes",
    "fingerprint_of",
    "origin_of",
]

ED25519 = 1
"""The type of a key that signs the text of a note."""
COSIGNATURE = 4
"""The type of a key of a witness, which signs the text and the time."""

MAX_NOTE = 65_536
"""How many characters a note may have."""

_SIGNATURE = re.compile(r"— ([^ +\n\s]+) ([A-Za-z0-9+/]+={0,2})\Z")
_SIZE = re.compile(r"(?:0|[1-9][0-9]{0,15})\Z")
_TIME = struct.Struct(">Q")
_ID_BYTES = 4
_ED25519_BYTES = 64
_MOST_SIGNATURES = 64


class Signature(NamedTuple):
    """A signature of a note: who is named, by which key, and the bytes after the id of the key."""

    name: str
    key_id: bytes
    raw: bytes

    def __str__(self) -> str:
        return f"— {self.name} {base64.b64encode(self.key_id + self.raw).decode()}\n"


class Note(NamedTuple):
    """Text that is signed: it ends with a newline."""

    text: str
    signatures: tuple[Signature, ...] = ()

    @classmethod
    def parse(cls, raw: str) -> Note:
        """Return a note; raise `NoteError` for text that is none, and say what is wrong."""
        if len(raw) > MAX_NOTE:
            raise NoteError(f"note has [{len(raw)}] characters; expected [{MAX_NOTE}] at most: this is no checkpoint")
        text, blank, lines = raw.rpartition("\n\n")
        if not blank or not text or not lines.endswith("\n"):
            raise NoteError(
                "text is no signed note; expected text, an empty line and signatures: copy all of its lines"
            )
        if any((each < " " and each != "\n") or each == "\x7f" or "\ud800" <= each <= "\udfff" for each in raw):
            raise NoteError("note has control characters; expected lines of printable text: copy it again")
        found = []
        for line in lines.removesuffix("\n").split("\n"):
            match = _SIGNATURE.match(line)
            if match is None:
                raise NoteError(f"line [{line:.60}] is no signature; expected [— name base64]: copy the whole line")
            signed = _decoded(match[2], what="signature")
            if len(signed) <= _ID_BYTES:
                raise NoteError(f"signature of [{match[1]:.60}] is too short; expected the id of a key, and more")
            found.append(Signature(match[1], signed[:_ID_BYTES], signed[_ID_BYTES:]))
        if len(found) > _MOST_SIGNATURES:
            raise NoteError(f"note has [{len(found)}] signatures; expected [{_MOST_SIGNATURES}] at most")
        return cls(f"{text}\n", tuple(found))

    def with_signatures(self, added: Iterable[Signature]) -> Note:
        """Return it with more signatures, each once."""
        return Note(self.text, tuple(dict.fromkeys((*self.signatures, *added))))

    def __str__(self) -> str:
        return f"{self.text}\n{''.join(map(str, self.signatures))}"


class Checkpoint(NamedTuple):
    """What the text of a checkpoint says: which log, how many entries, and their root."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Return the checkpoint that the text of a note is; raise `NoteError` for any other text."""
        lines = text.removesuffix("\n").split("\n")
        if len(lines) < 3 or not text.endswith("\n") or not all(lines):
            raise NoteError("text is no checkpoint; expected an origin, a size and a root, each on a line of its own")
        origin, size, root, *rest = lines
        if not _SIZE.match(size):
            raise NoteError(f"size [{size:.30}] of a checkpoint is none; expected digits without a leading 0")
        hashed = _decoded(root, what="root")
        if len(hashed) != HASH_BYTES:
            raise NoteError(f"root of a checkpoint has [{len(hashed)}] bytes; expected [{HASH_BYTES}]")
        return cls(origin, int(size), hashed, tuple(rest))

    @property
    def seen(self) -> Root:
        """Its size and root."""
        return Root(self.size, self.root)

    def __str__(self) -> str:
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


class Verifier(Protocol):
    """Checks a signature of raw bytes: see `loom.proof.keys.verifies`."""

    def __call__(self, public: bytes, signature: bytes, message: bytes) -> bool:
        """Tell whether a signature is of this key and message."""
        ...


class VerifyingKey(NamedTuple):
    """A public key as notes know it: its name, its type and 32 bytes."""

    name: str
    public: bytes
    algorithm: int = ED25519

    @classmethod
    def parse(cls, text: str) -> VerifyingKey:
        """Return the key that a text `name+id+base64` is, as C2SP writes it; raise `NoteError` for any other."""
        parts = text.strip().split("+", 2)
        if len(parts) != 3 or not parts[0]:
            raise NoteError(f"key [{text:.60}] is none; expected [name+id+base64], as `loom keys signing` prints it")
        raw = _decoded(parts[2], what="key")
        if len(raw) != HASH_BYTES + 1 or raw[0] not in (ED25519, COSIGNATURE):
            raise NoteError(f"key [{text:.60}] is of a type that is not known; expected Ed25519, of 32 bytes")
        found = cls(parts[0], raw[1:], raw[0])
        if found.key_id.hex() != parts[1]:
            raise NoteError(
                f"key [{text:.60}] has another id [{found.key_id.hex()}]; expected that of it: copy it again"
            )
        return found

    @property
    def key_id(self) -> bytes:
        """The first bytes of every signature that it made."""
        framed = self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public
        return hashlib.sha256(framed).digest()[:_ID_BYTES]

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the public key, as 64 hex digits: the same under every name."""
        return fingerprint_of(self.public)

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(bytes([self.algorithm]) + self.public).decode()}"

    def signature_of(self, note: Note, verify: Verifier) -> Signature | None:
        """Return the signature of this key on a note, None where there is none that holds."""
        for each in note.signatures:
            if (each.name, each.key_id) == (self.name, self.key_id) and self._holds(note.text, each.raw, verify):
                return each
        return None

    def _holds(self, text: str, raw: bytes, verify: Verifier) -> bool:
        if self.algorithm == ED25519:
            return len(raw) == _ED25519_BYTES and verify(self.public, raw, text.encode())
        if len(raw) != _TIME.size + _ED25519_BYTES:
            return False
        at_s = _TIME.unpack_from(raw)[0]
        return verify(self.public, raw[_TIME.size :], cosigned_bytes(text, at_s))


def cosigned_bytes(text: str, at_s: int) -> bytes:
    """Return what a witness signs: the text of a checkpoint, and the time at which it saw it."""
    return f"cosignature/v1\ntime {at_s}\n{text}".encode()


def cosignature(key: VerifyingKey, at_s: int, signed: bytes) -> Signature:
    """Return the line of a witness with its time, from the 64 bytes that it made of `cosigned_bytes`."""
    return Signature(key.name, key.key_id, _TIME.pack(at_s) + signed)


def cosigned_at_s(signature: Signature) -> int:
    """Return the time that the line of a witness says."""
    return int(_TIME.unpack_from(signature.raw)[0])


def fingerprint_of(public: bytes) -> str:
    """Return the fingerprint of a public key: its SHA-256, as 64 hex digits."""
    return hashlib.sha256(public).hexdigest()


def origin_of(instance: str, workspace: str) -> str:
    """Return the name of the log of a workspace."""
    return f"loom/{instance}/{workspace}"


def _decoded(text: str, *, what: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteError(f"{what} [{text:.60}] is not base64; expected all of its characters: copy it again") from error
    if base64.b64encode(raw).decode() != text:
        raise NoteError(f"{what} [{text:.60}] has stray bits in base64; expected the one way to write it")
    return raw
