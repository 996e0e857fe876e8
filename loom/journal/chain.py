"""The hash chain: how an entry is bound to its body, its header and the entry before it.

The body is hashed salted and on its own, so that it can be pruned or erased later and the chain still verifies.
Header fields are length-prefixed, never JSON: there is one way to write them (design: Integrity).
This format is final; `tests/journal/golden` holds it.
"""

from __future__ import annotations

import hashlib
import struct
from functools import lru_cache
from typing import NamedTuple

__all__ = [
    "HASH_BYTES",
    "SALT_BYTES",
    "SCHEME_2",
    "Header",
    "body_digest",
    "entry_hash",
    "genesis",
    "hash_after",
    "journal_fields",
    "turn_fields",
]

HASH_BYTES = 32
"""The length of every hash: SHA-256 in full."""

SALT_BYTES = 16
"""The length of every salt. It is fixed, so that no byte can move between a salt and its body."""

_DOMAIN = b"loom/entry/v1\n"
_DOMAIN_2 = b"loom/entry/v2\n"
_GENESIS = b"loom/genesis/v1\n"
_ABSENT = b"\xff" * 8
_LENGTH = struct.Struct(">Q")
_NUMBERS = struct.Struct(">QqQqQqQqQqQq")

SCHEME_2 = struct.pack(">Qq", 8, 2)
"""What is before the body digest in the hash of an entry of body scheme 2."""


class Header(NamedTuple):
    """The fields of an entry that are hashed in addition to its body, in this order."""

    workspace: str
    journal: str
    kind: str
    command_id: str | None
    policy_hash: bytes | None
    sequence: int
    position: int
    schema_version: int
    epoch: int
    recorded_at_us: int
    clock_back_us: int


def body_digest(salt: bytes, body: bytes) -> bytes:
    """Return SHA-256(salt ‖ body): 32 bytes. The salt protects removed bodies from being guessed."""
    return hashlib.sha256(salt + body).digest()


def genesis(workspace: str, journal: str) -> bytes:
    """Return the hash that takes the place of a previous entry for the first entry of a journal."""
    return hashlib.sha256(_GENESIS + _field(workspace.encode()) + _field(journal.encode())).digest()


def hash_after(
    of_journal: bytes,
    kind: str,
    of_turn: bytes,
    numbers: tuple[int, int, int, int, int, int],
    digest: bytes,
    previous: bytes,
) -> bytes:
    """Return what `entry_hash` does, given `journal_fields`, `turn_fields` and the numbers of a header in its order."""
    sequence, position, schema, epoch, at, back = numbers
    packed = _NUMBERS.pack(8, sequence, 8, position, 8, schema, 8, epoch, 8, at, 8, back)
    return hashlib.sha256(b"".join((of_journal, _kind_field(kind), of_turn, packed, digest, previous))).digest()


def journal_fields(workspace: str, journal: str, *, scheme: int = 1) -> bytes:
    """Return the prefix of the hashed text that all entries of a journal with a body scheme, 1 or 2, have in common."""
    return (_DOMAIN_2 if scheme == 2 else _DOMAIN) + _field(workspace.encode()) + _field(journal.encode())


@lru_cache(maxsize=1_024)
def turn_fields(command_id: str | None, policy_hash: bytes | None) -> bytes:
    """Return the part of the hashed text that the entries of a turn have in common."""
    command = _ABSENT if command_id is None else _field(command_id.encode())
    return command + (_ABSENT if policy_hash is None else _field(policy_hash))


@lru_cache(maxsize=1_024)
def _kind_field(kind: str) -> bytes:
    return _field(kind.encode())


def entry_hash(header: Header, digest: bytes, previous: bytes, *, scheme: int = 1) -> bytes:
    """Return SHA-256(domain ‖ header fields ‖ body digest ‖ previous hash): 32 bytes. Body scheme 2 is among them."""
    return hash_after(
        journal_fields(header.workspace, header.journal, scheme=scheme),
        header.kind,
        turn_fields(header.command_id, header.policy_hash),
        header[5:],
        SCHEME_2 + digest if scheme == 2 else digest,
        previous,
    )


def _field(raw: bytes) -> bytes:
    return _LENGTH.pack(len(raw)) + raw
