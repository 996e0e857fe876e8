"""Admission: the check that every value passes before it is journaled (design: Integrity).

The same rules have two forms: `written` takes a value from user code and returns fresh, plain JSON with its text;
`admit` takes the bytes that are about to be stored. Neither accepts what another machine could read differently.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple, NoReturn
from uuid import UUID

from pydantic import BaseModel, JsonValue
from pydantic_core import from_json, to_json, to_jsonable_python

from loom.errors import AdmissionError
from loom.journal.plain import is_plain_model

__all__ = ["MAX_INTEGER", "NOTHING", "Limits", "Written", "admit", "json_value", "parse_json", "written"]

MAX_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader reads exactly (RFC 7493)."""

_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = b"0" * len(str(MAX_INTEGER))
_SHOWN = 40


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """How large a body may be: bytes as stored, levels of nesting, values in it."""

    max_bytes: int = 1_048_576
    max_depth: int = 32
    max_nodes: int = 10_000


DEFAULT_LIMITS = Limits()


class Written(NamedTuple):
    """An admitted value: fresh plain JSON, and its text as it goes into a body."""

    value: JsonValue
    text: bytes


NOTHING = Written(None, b"null")
"""None, as it is written."""


def written(value: object, *, limits: Limits = DEFAULT_LIMITS) -> Written:
    """Return `value` as fresh plain JSON, the same that a reader of the journal will get, and its text.

    Models, dataclasses, enums, datetimes, decimals and UUIDs become what pydantic would write for them.
    Raises `AdmissionError`, naming the place, for a value that JSON cannot represent.
    """
    found = _at_once(value, limits)
    if found is None:
        plain = _Walk(limits).value(value, "$", limits.max_depth)
        found = Written(plain, to_json(plain))
    return found


def json_value(value: object, *, limits: Limits = DEFAULT_LIMITS) -> JsonValue:
    """Return `value` as `written` does, without its text."""
    kind = type(value)
    if kind is str and value.isascii() and "\x00" not in value:  # type: ignore[attr-defined,operator]
        return value  # type: ignore[return-value]
    found = _at_once(value, limits)
    return _Walk(limits).value(value, "$", limits.max_depth) if found is None else found.value


def _at_once(value: object, limits: Limits) -> Written | None:
    """Return what pydantic's serialiser in Rust makes of a value; None if its result may be wrong.

    It coerces keys that are not text, and writes many values that are not JSON as text: then the parsed text is not
    equal to the value, and `_Walk` decides, which also names the place of a refused value. For a model of plain fields
    the text is right.
    """
    model = value if isinstance(value, BaseModel) else None
    if not (is_plain_model(type(model)) if model is not None else type(value) in _CONTAINERS):
        return None
    try:
        text = to_json(value) if model is None else model.__pydantic_serializer__.to_json(model, warnings="error")
    except Exception:  # values may bring serialisers of their own
        return None
    if len(text) > limits.max_bytes or _is_suspect(text, limits):
        return None
    plain: JsonValue = from_json(text)
    return Written(plain, text) if model is not None or plain == value else None


_CONTAINERS = frozenset({dict, list})


def admit(body: bytes, *, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return the bytes of a JSON body, wherever they come from, if they may be stored; else raise `AdmissionError`."""
    if len(body) > limits.max_bytes:
        raise _too_large(body, limits)
    value = parse_json(body)
    if _is_suspect(body, limits):
        json_value(value, limits=limits)
    return body


def admit_written(body: bytes, *, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return `body` if it may be stored, given that pydantic's serialiser has just written it from plain fields.

    It is JSON then, and repeats no key. A cheap count admits what cannot break a limit; only a suspect is parsed.
    """
    if len(body) > limits.max_bytes:
        raise _too_large(body, limits)
    if _is_suspect(body, limits):
        json_value(parse_json(body), limits=limits)
    return body


def parse_json(text: bytes | str) -> JsonValue:
    """Return the JSON in `text`, which is UTF-8; refuse duplicate keys, NaN and infinity with an `AdmissionError`."""
    try:
        value: JsonValue = _DECODER.decode(text if isinstance(text, str) else str(text, "utf-8"))
    except AdmissionError:
        raise
    except (ValueError, RecursionError) as error:
        raise AdmissionError(
            f"text is not JSON [{error}]; expected an I-JSON document (RFC 7493): correct it"
        ) from error
    return value


def _too_large(body: bytes, limits: Limits) -> AdmissionError:
    return AdmissionError(
        f"body has [{len(body)}] bytes; expected at most [{limits.max_bytes}]: "
        "journal a reference to it instead, or raise journal.max_entry_bytes"
    )


def _is_suspect(body: bytes, limits: Limits) -> bool:
    """Tell whether a JSON text could break a rule; brackets, commas and digits inside strings are counted, too."""
    opened = body.count(b"{") + body.count(b"[")
    return (
        opened > limits.max_depth
        or (len(body) >= limits.max_nodes and opened + body.count(b",") + 1 > limits.max_nodes)
        or b"NaN" in body
        or b"Infinity" in body
        or b"\\u" in body
        or _LONG_NUMBER in body.translate(_DIGITS_TO_ZERO)
    )


class _Walk:
    """One pass over one value, counting what it has seen."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = limits.max_nodes

    def value(self, value: object, path: str, depth: int) -> JsonValue:
        self._left -= 1
        if self._left < 0:
            _refuse(path, f"is value number [{self._limits.max_nodes + 1}]", f"at most {self._limits.max_nodes} values")
        kind = type(value)
        if kind is str:
            return _text(value, path)  # type: ignore[arg-type]
        if value is None or kind is bool:
            return value  # type: ignore[return-value]
        if kind is int:
            return _integer(value, path)  # type: ignore[arg-type]
        if kind is float:
            return _number(value, path)  # type: ignore[arg-type]
        if kind is dict:
            return self._object(value, path, depth)  # type: ignore[arg-type]
        if kind is list or kind is tuple:
            return self._array(value, path, depth)  # type: ignore[arg-type]
        return self._other(value, path, depth)

    def _object(self, value: Mapping[Any, object], path: str, depth: int) -> JsonValue:
        if depth <= 0:
            _refuse(path, "is nested too deeply", f"at most {self._limits.max_depth} levels")
        plain: dict[str, JsonValue] = {}
        for key, item in value.items():
            if type(key) is not str:
                if not isinstance(key, str):
                    _refuse(
                        path, f"has the key [{_short_repr(key)}] of type {type(key).__name__}", "keys that are text"
                    )
                key = str.__str__(key)  # the text of a StrEnum, say
            if key in plain:
                _refuse(path, f"has the key [{_short_repr(key)}] twice", "each key once")
            plain[_text(key, path)] = self.value(item, f"{path}.{key}", depth - 1)
        return plain

    def _array(self, value: list[object] | tuple[object, ...], path: str, depth: int) -> JsonValue:
        if depth <= 0:
            _refuse(path, "is nested too deeply", f"at most {self._limits.max_depth} levels")
        return [self.value(item, f"{path}[{index}]", depth - 1) for index, item in enumerate(value)]

    def _other(self, value: object, path: str, depth: int) -> JsonValue:
        self._left += 1  # the plain form is counted instead
        if isinstance(value, BaseModel):
            return self.value(_dumped(value, path), path, depth)
        if isinstance(value, Enum):
            return self.value(value.value, path, depth)
        if isinstance(value, datetime | date | time | timedelta | UUID):
            return self.value(to_jsonable_python(value), path, depth)
        if isinstance(value, Decimal):
            if not value.is_finite():
                _refuse(path, f"is [{value}]", "a finite number")
            return self.value(str(value), path, depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return self.value(fields, path, depth)
        for plain, exact in _EXACT:  # subclasses, such as OrderedDict, a named tuple or a float of numpy's
            if isinstance(value, plain):
                return self.value(exact(value), path, depth)
        return _refuse(path, f"is [{_short_repr(value)}] of type {type(value).__name__}", "what JSON can say")


_EXACT: tuple[tuple[type, Any], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (dict, dict),
    (list, list),
    (tuple, list),
)


def _dumped(model: BaseModel, path: str) -> object:
    """Return what pydantic makes of a model; NaN stays NaN in it, so that it is refused and does not become null."""
    try:
        return model.model_dump(mode="json", by_alias=True)
    except Exception as error:  # a model may bring serialisers of its own
        raise AdmissionError(
            f"value at [{path}] is a {type(model).__name__} that cannot be dumped [{type(error).__name__}: {error}]; "
            "expected [what JSON can say]: correct the value first",
            path=path,
        ) from error


def _text(value: str, path: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            _refuse(path, f"contains a lone surrogate [{_short_repr(value)}]", "text that UTF-8 can say")
    if "\x00" in value:
        _refuse(path, f"contains U+0000 [{_short_repr(value)}]", "text without it")
    return value


def _integer(value: int, path: str) -> int:
    if not -MAX_INTEGER <= value <= MAX_INTEGER:
        shown = str(value) if -(10**_SHOWN) < value < 10**_SHOWN else "an integer of more than 40 digits"
        _refuse(path, f"is [{shown}]", f"an integer within ±{MAX_INTEGER}, or the number as text")
    return value


def _number(value: float, path: str) -> float:
    if not math.isfinite(value):
        _refuse(path, f"is [{value}]", "a finite number")
    return value


def _refuse(path: str, what: str, expected: str) -> NoReturn:
    raise AdmissionError(f"value at [{path}] {what}; expected [{expected}]: correct the value first", path=path)


def _short_repr(value: object) -> str:
    """Return a short repr of any value, for a message."""
    try:
        text = repr(value[: _SHOWN + 1] if isinstance(value, str | bytes | list | tuple) else value)
    except Exception:  # a repr may be user code
        return f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise AdmissionError(f"object has the key [{_short_repr(twice)}] twice; expected [each key once]: drop one")
    return plain


def _no_constant(name: str) -> NoReturn:
    raise AdmissionError(f"text contains [{name}]; expected [a finite number]: correct the value first")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _no_constant(text[:_SHOWN])
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite)
