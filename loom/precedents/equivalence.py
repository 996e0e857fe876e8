"""When two cases are alike: explicit rules, and the keys that they give.

A rule names facts. A case's *situation* key is made from them alone, its *precedent* key from them and the outcome, so
that a denial and an acceptance are never of one class. Same inputs, same keys: in any process and on any machine.
The format of the keys is final; golden files hold it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NoReturn, TypeAlias

import rfc8785
from pydantic import BaseModel, JsonValue

from loom.decisions.decision import PrecedentClass
from loom.errors import AdmissionError
from loom.journal.admission import MAX_INTEGER, json_value
from loom.policies.canonical import Json

__all__ = ["Attribute", "Bin", "EquivalenceRule", "SetOf"]

Given: TypeAlias = "Mapping[str, object] | BaseModel"
"""Facts or an outcome, as a model or as plain values."""

_RULE = b"loom/equivalence/v1\n"
_SITUATION = b"loom/situation/v1\n"
_PRECEDENT = b"loom/precedent/v1\n"
_NUMBER = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?\Z")
_MAX_BINS = 1_000


@dataclass(frozen=True, slots=True)
class Bin:
    """A number, alike within equal parts of a declared range; what lies outside is alike to what lies at its end.

    A value on a border belongs to the part above it, `high` itself to the last one. Numbers are taken as they are
    written, so 0.3 lies on the border of tenths.
    """

    name: str
    low: float
    high: float
    bins: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.bins <= _MAX_BINS or not _number(self.low, self.name) < _number(self.high, self.name):
            raise AdmissionError(
                f"bins of [{self.name}] are [{self.bins}] from [{self.low}] to [{self.high}]; "
                f"expected [1 to {_MAX_BINS}] from a lower to a higher number: mend the rule"
            )

    def index(self, value: object) -> int:
        """Return which part a value lies in, from 0."""
        low, high = _number(self.low, self.name), _number(self.high, self.name)
        part = (_number(value, self.name) - low) * self.bins // (high - low)
        return min(max(int(part), 0), self.bins - 1)

    def outside(self, value: object) -> str | None:
        """Return `below` or `above` for a value outside the range, None within."""
        number = _number(value, self.name)
        if number < _number(self.low, self.name):
            return "below"
        return "above" if number > _number(self.high, self.name) else None

    def material(self, value: object) -> Json:
        """Return what goes into a key for a value."""
        return self.index(value)

    def describe(self, value: object) -> str:
        """Return in words which part a value lies in, and whether it lies outside the range."""
        index, outside = self.index(value), self.outside(value)
        width = (_number(self.high, self.name) - _number(self.low, self.name)) / self.bins
        low = _number(self.low, self.name) + index * width
        shown = f"{float(low):g} to {float(low + width):g} (part {index + 1} of {self.bins})"
        return f"{shown}, {outside} the range" if outside else shown

    def declaration(self) -> Json:
        """Return what goes into the hash of the rule."""
        low, high = (str(_number(bound, self.name)) for bound in (self.low, self.high))
        return {"bin": self.name, "low": low, "high": high, "bins": self.bins, "outside": "end bins"}


@dataclass(frozen=True, slots=True)
class SetOf:
    """A list in which neither order nor repetition counts."""

    name: str

    def material(self, value: object) -> Json:
        """Return what goes into a key for a value."""
        if not isinstance(value, list):
            _refuse(self.name, f"is [{value!r:.40}]", "a list")
        members: dict[bytes, Json] = {}
        for item in value:
            member = _exact(item, self.name)
            members[rfc8785.dumps(member)] = member
        return [members[key] for key in sorted(members)]

    def describe(self, value: object) -> str:
        """Return the members in words."""
        members = self.material(value)
        return ", ".join(map(str, members)) if isinstance(members, list) else str(members)

    def declaration(self) -> Json:
        """Return what goes into the hash of the rule."""
        return {"set": self.name}


@dataclass(frozen=True, slots=True)
class _Exact:
    """A value that has to be the same: what a plain name in a rule stands for."""

    name: str

    def material(self, value: object) -> Json:
        return _exact(value, self.name)

    def describe(self, value: object) -> str:
        return str(value)

    def declaration(self) -> Json:
        return {"exact": self.name}


Attribute: TypeAlias = str | Bin | SetOf
"""A fact that counts: by its name if it has to be the same."""


class EquivalenceRule:
    """Says which facts, and what of the outcome, make two decisions precedents of each other.

    A name with a dot reaches into a fact that is an object: `state.energy`. The order of the attributes does not count.
    """

    def __init__(self, name: str, *, attributes: Iterable[Attribute], outcome: Iterable[Attribute] = ()) -> None:
        self.name = name
        self.attributes = _attributes(attributes, f"attributes of [{name}]")
        self.outcome = _attributes(outcome, f"outcome of [{name}]")
        if not name.strip() or not self.attributes:
            raise AdmissionError(
                f"equivalence rule [{name}] has [{len(self.attributes)}] attributes; expected a name and at least one: "
                "say which facts make two cases alike"
            )

    def __repr__(self) -> str:
        return f"EquivalenceRule({self.name!r}, hash={self.hash[:12]})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EquivalenceRule) and other.hash == self.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def document(self) -> dict[str, Json]:
        """Return all that can change a key."""
        return {
            "format": "loom.equivalence/1",
            "name": self.name,
            "attributes": [attribute.declaration() for attribute in self.attributes],
            "outcome": [attribute.declaration() for attribute in self.outcome],
        }

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of the rule itself, as 64 hex digits."""
        return _digest(_RULE, self.document())

    def situation_key(self, facts: Given) -> str:
        """Return the key of a case before it is decided, 64 hex digits; `AdmissionError` for facts without one."""
        return _digest(_SITUATION, {"rule": self.hash, "facts": _material(self.attributes, facts)})

    def precedent_key(self, facts: Given, outcome: Given) -> str:
        """Return the key of a decided case, 64 hex digits."""
        material = {"facts": _material(self.attributes, facts), "outcome": _material(self.outcome, outcome)}
        return _digest(_PRECEDENT, {"rule": self.hash, **material})

    def classify(self, facts: Given, outcome: Given) -> PrecedentClass:
        """Return both keys with the hash of the rule, as a decision keeps them."""
        return PrecedentClass(
            rule=self.hash, situation=self.situation_key(facts), precedent=self.precedent_key(facts, outcome)
        )

    def describe(self, facts: Given) -> dict[str, str]:
        """Return, by attribute, what a key is made from, in words."""
        plain = _plain(facts)
        return {each.name: each.describe(_value(plain, each.name)) for each in self.attributes}


def _attributes(given: Iterable[Attribute], what: str) -> tuple[Bin | SetOf | _Exact, ...]:
    chosen = [_Exact(each) if isinstance(each, str) else each for each in given]
    names = [each.name for each in chosen]
    if len(set(names)) != len(names):
        raise AdmissionError(f"{what} are [{', '.join(names)}]; expected [each name once]: drop the repeated ones")
    return tuple(sorted(chosen, key=lambda each: each.name))


def _material(attributes: Iterable[Bin | SetOf | _Exact], given: Given) -> dict[str, Json]:
    plain = _plain(given)
    return {each.name: each.material(_value(plain, each.name)) for each in attributes}


def _plain(given: Given) -> Mapping[str, JsonValue]:
    plain = json_value(given if isinstance(given, BaseModel) else dict(given))
    return plain if isinstance(plain, dict) else {}


def _value(plain: Mapping[str, JsonValue], name: str) -> JsonValue:
    """Return the value of an attribute: by its name as it is, or step by step into objects."""
    if name in plain:
        return plain[name]
    found: JsonValue = dict(plain)
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            _refuse(name, "is missing", "a value for every attribute of the rule")
        found = found[part]
    return found


def _exact(value: object, name: str) -> Json:
    """Return a JSON value in the one form that it has in keys: 15.0 is 15, true is not 1."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= MAX_INTEGER else {"$number": str(value)}
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) <= MAX_INTEGER
        return int(value) if whole else {"$number": repr(value)}
    if isinstance(value, list):
        return [_exact(item, name) for item in value]
    if isinstance(value, dict):
        return {key: _exact(item, name) for key, item in value.items()}
    return _refuse(name, f"is of type [{type(value).__name__}]", "what JSON can say")


def _number(value: object, name: str) -> Fraction:
    """Return a number exactly as it is written: 0.3 is three tenths, not the nearest binary fraction."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return Fraction(repr(value))
        except ValueError:
            _refuse(name, f"is [{value}]", "a finite number")
    if isinstance(value, str) and _NUMBER.match(value):
        return Fraction(value)
    return _refuse(name, f"is [{value!r:.40}]", "a number, or one in decimal digits")


def _digest(domain: bytes, document: Mapping[str, Json]) -> str:
    return hashlib.sha256(domain + rfc8785.dumps(document)).hexdigest()


def _refuse(name: str, what: str, expected: str) -> NoReturn:
    raise AdmissionError(
        f"value at [$.{name}] {what}; expected [{expected}]: mend the facts, or the equivalence rule", path=f"$.{name}"
    )
