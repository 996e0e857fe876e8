"""Body scheme 2: a body whose fields can be left out one by one, and the rest still shown to be what was recorded.

The digest of such a body is the root of a Merkle tree over its top-level fields. The leaf of a field has a salt of its
own, made from the salt of the entry, so that the leaf of a field that is left out says nothing about its value
(docs/journal-format.md).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from loom.journal.chain import body_digest
from loom.journal.merkle import Frontier

__all__ = ["FIELDS_SCHEME", "PLAIN_SCHEME", "BodyField", "digest_by", "fields_digest", "fields_of"]

PLAIN_SCHEME = 1
"""The scheme of a body that is digested as a whole."""

FIELDS_SCHEME = 2
"""The scheme of a body whose fields can be left out."""

_LEAF = b"\x00"
_LENGTH = struct.Struct(">Q")
_SPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode


class BodyField(NamedTuple):
    """A top-level field of a body: its name, its own salt, the bytes of its value as stored, and its leaf."""

    name: str
    salt: bytes
    value: bytes
    leaf: bytes


def fields_of(salt: bytes, body: bytes) -> list[BodyField]:
    """Return the fields of a body in their order; raise `ValueError` for no object, or a field twice."""
    found: list[BodyField] = []
    for name, value in _sliced(body.decode()):
        raw, own = name.encode(), hmac.digest(salt, name.encode(), "sha256")
        leaf = hashlib.sha256(b"".join((_LEAF, own, _LENGTH.pack(len(raw)), raw, value))).digest()
        found.append(BodyField(name, own, value, leaf))
    if len({each.name for each in found}) < len(found):
        raise ValueError("a field is there twice")
    return found


def fields_digest(salt: bytes, body: bytes) -> bytes:
    """Return the digest of a body of scheme 2: 32 bytes."""
    tree = Frontier()
    tree.add_all(each.leaf for each in fields_of(salt, body))
    return tree.root


def digest_by(scheme: int, salt: bytes, body: bytes) -> bytes:
    """Return the digest of a body by its scheme, 1 or 2; raise `ValueError` for a body that scheme 2 cannot take."""
    return fields_digest(salt, body) if scheme == FIELDS_SCHEME else body_digest(salt, body)


def _sliced(text: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and value of each field of a JSON object, the value as the bytes that stand there."""
    at = _after_space(text, 0)
    if text[at : at + 1] != "{":
        raise ValueError("a body is no object")
    at = _after_space(text, at + 1)
    is_first = True
    while text[at : at + 1] != "}" or not is_first:
        if text[at : at + 1] != '"':
            raise ValueError("a field has no name")
        name, at = _decode(text, at)
        at = _after_space(text, at)
        if text[at : at + 1] != ":":
            raise ValueError("a field has no value")
        begin = _after_space(text, at + 1)
        _, end = _decode(text, begin)
        yield name, text[begin:end].encode()
        is_first = False
        at = _after_space(text, end)
        if text[at : at + 1] == "}":
            break
        if text[at : at + 1] != ",":
            raise ValueError("a field does not end")
        at = _after_space(text, at + 1)
    if _after_space(text, at + 1) != len(text):
        raise ValueError("there is something after the object")


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()
