"""The canonical JSON form of everything that a version hash is made from, and the hash itself.

A hashed document holds null, booleans, text, integers that every JSON reader agrees about, lists and objects.
Everything else is an object with one key that begins with `$`: floats above all, as RFC 8785 is not idempotent
for them through Python's json (2.5775166004351e16 comes back as an integer that it refuses).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, NoReturn, TypeAlias

import rfc8785
from pydantic import BaseModel, JsonValue

from loom.errors import AdmissionError, InvalidNameError

__all__ = [
    "FORMAT",
    "Document",
    "Json",
    "VersionRef",
    "canonical",
    "implicit_document",
    "parse_version",
    "tagged",
    "untagged",
    "version_hash",
    "version_id",
]

Json: TypeAlias = JsonValue
"""JSON; in a document without floats."""

Document: TypeAlias = dict[str, Json]
"""Everything that can change an answer of one policy version. The hash is computed from it."""

FORMAT = "loom.policy/1"

_DOMAIN = b"loom/policy/v1\n"
_MAX_INTEGER = 2**53 - 1
_SHORT = 8
_VERSION = re.compile(r"(?:policy_)?v([1-9][0-9]{0,8})(?:_([0-9a-f]{0,64}))?\Z")
_PREFIX = re.compile(r"[0-9a-f]{4,64}\Z")


@dataclass(frozen=True, slots=True)
class VersionRef:
    """A reference to a version as a person wrote it: the beginning of its hash, and its number if it was given."""

    number: int | None
    prefix: str

    def matches(self, *, number: int, full_hash: str) -> bool:
        """Return whether a version matches; an ambiguous prefix matches several."""
        return full_hash.startswith(self.prefix) and self.number in (None, number)


def version_hash(document: Mapping[str, object]) -> str:
    """Return the SHA-256, as 64 hex digits, over a domain line and the RFC 8785 form of the document."""
    return hashlib.sha256(_DOMAIN + canonical(document)).hexdigest()


def version_id(number: int, full_hash: str) -> str:
    """Return the id of a version as people see it: `policy_v3_9af01c22`."""
    return f"policy_v{number}_{full_hash[:_SHORT]}"


def parse_version(text: str) -> VersionRef:
    """Return a reference from text: `policy_v3_9af01c22`, shorter as `v3` or `v3_9a`, or the beginning of a hash."""
    if found := _VERSION.match(text):
        return VersionRef(int(found[1]), found[2] or "")
    if _PREFIX.match(text):
        return VersionRef(None, text)
    raise InvalidNameError(
        f"version [{text!r:.80}] names no policy version; expected [policy_v<n>_<hex>, v<n>, or the beginning of a "
        "hash]: look it up with `loom policies`"
    )


def implicit_document(name: str) -> Document:
    """Return the document of an actor type that has no policy: a version to name, without a rule."""
    return {"format": FORMAT, "language": "none", "semantics": 1, "name": name}


def canonical(value: object) -> bytes:
    """Return the RFC 8785 form; raise `AdmissionError`, naming the place, for what could be read two ways."""
    _check(value, "$")
    document: Any = value
    return rfc8785.dumps(document)


def tagged(value: object, path: str = "$") -> Json:
    """Return a Python value as JSON that keeps its type; raise `AdmissionError` for types without such a form.

    Lists and tuples become lists, models and mappings objects, enum members their values.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return tagged(value.value, path)
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, BaseModel):
        return {name: tagged(getattr(value, name), f"{path}.{name}") for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {_key(key, path): tagged(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [tagged(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, frozenset):
        return {"$set": sorted((tagged(item, path) for item in value), key=canonical)}
    for kind, write in _TAGS:
        if type(value) is kind:
            return write(value, path)
    return _refuse(path, f"is of type [{type(value).__name__}]", "what a policy can hold")


def untagged(value: Json) -> Any:
    """Return tagged JSON as the plain JSON that a model reads: floats as numbers, decimals and dates as text."""
    if isinstance(value, list):
        return [untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        [(tag, item)] = value.items()
        if tag.startswith("$") and isinstance(item, str):
            return {"$float": float, "$int": int}.get(tag, str)(item)
    return {key: untagged(item) for key, item in value.items()}


def _integer(value: int, _: str) -> Json:
    return value if abs(value) <= _MAX_INTEGER else {"$int": str(value)}


def _float(value: float, path: str) -> Json:
    if not math.isfinite(value):
        _refuse(path, f"is [{value}]", "a finite number")
    return {"$float": repr(value)}


def _decimal(value: Decimal, path: str) -> Json:
    if not value.is_finite():
        _refuse(path, f"is [{value}]", "a finite number")
    return {"$decimal": str(value)}


def _datetime(value: datetime, _: str) -> Json:
    return {"$datetime": value.isoformat()}


def _date(value: date, _: str) -> Json:
    return {"$date": value.isoformat()}


_TAGS: tuple[tuple[type, Callable[[Any, str], Json]], ...] = (
    (int, _integer),
    (float, _float),
    (Decimal, _decimal),
    (datetime, _datetime),
    (date, _date),
)


def _key(key: object, path: str) -> str:
    if not isinstance(key, str) or key.startswith("$"):
        _refuse(path, f"has the key [{key!r:.40}]", "text that does not begin with $")
    return _text(key, path)


def _text(value: str, path: str) -> str:
    # Converted to a plain str, as an enum or another subclass would be written in its own way.
    if "\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value):
        _refuse(path, f"is the text [{value!r:.40}]", "text without U+0000 and lone surrogates")
    return str.__str__(value)


def _check(value: object, path: str) -> None:
    if value is None or isinstance(value, bool):
        return
    if type(value) is int:
        if abs(value) > _MAX_INTEGER:
            _refuse(path, f"is [{value:.6g}]", "an integer within ±(2⁵³−1)")
    elif type(value) is str:
        _text(value, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                _refuse(path, f"has the key [{key!r:.40}]", "keys that are text")
            _text(key, path)
            _check(item, f"{path}.{key}")
    else:
        _refuse(path, f"is of type [{type(value).__name__}]", "null, bool, integer, text, list or object")


def _refuse(path: str, what: str, expected: str) -> NoReturn:
    raise AdmissionError(f"value at [{path}] {what}; expected [{expected}]: change it", path=path)
