"""When two cases are alike: explicit rules, and the keys that they give.

A rule names facts. A case's *situation* key is made from them alone, its *precedent* key from them and the outcome, so
that a denial and an acceptance are never of one class. Same inputs, same keys: in any process and on any machine.
The format of the keys is final; golden files hold it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any, NoReturn, TypeAlias

import rfc8785
from pydantic import BaseModel, JsonValue

from loom.decisions.decision import PrecedentClass
from loom.errors import AdmissionError
from loom.journal.admission import MAX_INTEGER, json_value
from loom.policies.canonical import Json

__all__ = ["FORMAT", "Attribute", "Bin", "EquivalenceRule", "SetOf", "rule_hash"]

FORMAT = "loom.equivalence/1"

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
        low, high = _ends(self.low, self.high)
        part = (_number(value, self.name) - low) * self.bins // (high - low)
        return min(max(int(part), 0), self.bins - 1)

    def outside(self, value: object) -> str | None:
        """Return `below` or `above` for a value outside the range, None within."""
        number, (low, high) = _number(value, self.name), _ends(self.low, self.high)
        return "below" if number < low else "above" if number > high else None

    def material(self, value: object) -> Json:
        """Return what goes into a key for a value."""
        return self.index(value)

    def describe(self, value: object) -> str:
        """Return in words which part a value lies in, and whether it lies outside the range."""
        index, outside = self.index(value), self.outside(value)
        start, end = _ends(self.low, self.high)
        width = (end - start) / self.bins
        low = start + index * width
        shown = f"{float(low):g} to {float(low + width):g} (part {index + 1} of {self.bins})"
        return f"{shown}, {outside} the range" if outside else shown

    def declaration(self) -> Json:
        """Return what goes into the hash of the rule."""
        low, high = map(str, _ends(self.low, self.high))
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
        return (", ".join(map(str, members)) or "none") if isinstance(members, list) else str(members)

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
        if isinstance(value, bool):
            return "yes" if value else "no"
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

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
            "format": FORMAT,
            "name": self.name,
            "attributes": [attribute.declaration() for attribute in self.attributes],
            "outcome": [attribute.declaration() for attribute in self.outcome],
        }

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of the rule itself, as 64 hex digits."""
        return rule_hash(self.document())

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> EquivalenceRule:
        """Return the rule that a document declares; `AdmissionError` for one that declares none."""
        try:
            if document["format"] != FORMAT:
                _refuse("format", f"is [{document['format']!r:.40}]", FORMAT)
            return cls(
                document["name"],
                attributes=[_declared(each) for each in document["attributes"]],
                outcome=[_declared(each) for each in document["outcome"]],
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, AdmissionError):
                raise
            raise AdmissionError(
                f"equivalence document has [{type(error).__name__}: {error}]; expected [{FORMAT}]: "
                "it is what `document()` of a rule gives"
            ) from error

    def situation_key(self, facts: Given) -> str:
        """Return the key of a case before it is decided, 64 hex digits; `AdmissionError` for facts without one."""
        return self._situation(_material(self.attributes, facts))

    def precedent_key(self, facts: Given, outcome: Given) -> str:
        """Return the key of a decided case, 64 hex digits."""
        return self._precedent(_material(self.attributes, facts), _material(self.outcome, outcome))

    def classify(self, facts: Given, outcome: Given) -> PrecedentClass:
        """Return both keys with the hash of the rule, as a decision keeps them."""
        alike, decided = _material(self.attributes, facts), _material(self.outcome, outcome)
        return PrecedentClass(
            rule=self.hash, situation=self._situation(alike), precedent=self._precedent(alike, decided)
        )

    def outcome_key(self, outcome: Given) -> str:
        """Return what of an outcome makes a class, as canonical text: equal for all decisions of one class."""
        return rfc8785.dumps(_material(self.outcome, outcome)).decode()

    def _situation(self, alike: Json) -> str:
        return _digest(_SITUATION, {"rule": self.hash, "facts": alike})

    def _precedent(self, alike: Json, decided: Json) -> str:
        return _digest(_PRECEDENT, {"rule": self.hash, "facts": alike, "outcome": decided})

    def describe(self, facts: Given, outcome: Given | None = None) -> dict[str, str]:
        """Return, by attribute, what a key is made from, in words: values outside a declared range say so.

        With an outcome, its attributes follow. What is missing or has no key is named as such, and never an error.
        """
        words = _in_words(self.attributes, facts)
        return words if outcome is None else {**words, **_in_words(self.outcome, outcome, known=words)}

    def outside(self, facts: Given, outcome: Given | None = None) -> dict[str, str]:
        """Return which attributes lie `below` or `above` their declared range, and so in an end bin."""
        given = [(self.attributes, facts)] if outcome is None else [(self.attributes, facts), (self.outcome, outcome)]
        found = {
            each.name: each.outside(_value(plain, each.name))
            for attributes, plain in ((attributes, _plain(values)) for attributes, values in given)
            for each in attributes
            if isinstance(each, Bin)
        }
        return {name: side for name, side in found.items() if side is not None}


def rule_hash(document: Mapping[str, Json]) -> str:
    """Return the SHA-256 of the declaration of a rule, as 64 hex digits."""
    return _digest(_RULE, document)


def _attributes(given: Iterable[Attribute], what: str) -> tuple[Bin | SetOf | _Exact, ...]:
    chosen = [_Exact(each) if isinstance(each, str) else each for each in given]
    names = [each.name for each in chosen]
    if len(set(names)) != len(names):
        raise AdmissionError(f"{what} are [{', '.join(names)}]; expected [each name once]: drop the repeated ones")
    return tuple(sorted(chosen, key=lambda each: each.name))


def _declared(declaration: Mapping[str, Any]) -> Attribute:
    """Return the attribute that stands declared in a document."""
    if "bin" in declaration:
        low, high = (_bound(declaration[end]) for end in ("low", "high"))
        return Bin(declaration["bin"], low=low, high=high, bins=declaration["bins"])
    return SetOf(declaration["set"]) if "set" in declaration else str(declaration["exact"])


def _bound(written: str) -> float:
    """Return a bound as the number that it was written from: the nearest float of a fraction is that number."""
    exact = Fraction(written)
    return exact.numerator if exact.denominator == 1 else float(exact)


def _in_words(
    attributes: Iterable[Bin | SetOf | _Exact], given: Given, *, known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return attributes in words; a name that is taken gets its place in front, as fact and outcome may share one."""
    plain = _plain(given)
    words = {}
    for each in attributes:
        try:
            said = each.describe(_value(plain, each.name))
        except AdmissionError as error:
            said = f"without a key: {str(error).partition(';')[0]}"
        words[f"outcome {each.name}" if known and each.name in known else each.name] = said
    return words


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


@lru_cache(maxsize=4_096)
def _ends(low: float, high: float) -> tuple[Fraction, Fraction]:
    """Return the range of a `Bin`, which has been looked at when it was made."""
    return _number(low, "low"), _number(high, "high")


def _digest(domain: bytes, document: Mapping[str, Json]) -> str:
    return hashlib.sha256(domain + rfc8785.dumps(document)).hexdigest()


def _refuse(name: str, what: str, expected: str) -> NoReturn:
    raise AdmissionError(
        f"value at [$.{name}] {what}; expected [{expected}]: mend the facts, or the equivalence rule", path=f"$.{name}"
    )
