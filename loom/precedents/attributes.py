"""How a rule treats one value: it has to be the same, it counts by its part, or as a set.

The form of a value in a key is final; golden files hold it.
"""

from __future__ import annotations

import bisect
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Any, NoReturn, TypeAlias

import rfc8785

from loom.errors import AdmissionError
from loom.journal.admission import MAX_INTEGER
from loom.policies.canonical import Json

__all__ = ["Attribute", "Bin", "Exact", "FromContext", "Plain", "SetOf", "declared", "exact_value", "refuse"]

_NUMBER = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?\Z")
_MAX_BINS = 1_000


@dataclass(frozen=True, slots=True)
class Bin:
    """A number that is alike within parts: equal parts of a declared range, or those between the borders `at`.

    A value outside the range belongs to the nearest part; borders have no outside. A value on a border belongs to the
    part above it, `high` itself to the last one. Numbers are exact as written, so 0.3 is on the border of tenths.
    """

    name: str
    low: float | None = None
    high: float | None = None
    bins: int = 5
    at: Sequence[float] | None = None
    keyed: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if self.at is not None:
            object.__setattr__(self, "at", tuple(self.at))
            borders = [_number(each, self.name) for each in self.at]
            rising = all(low < high for low, high in itertools.pairwise(borders))
            if (self.low, self.high) == (None, None) and rising and 0 < len(borders) < _MAX_BINS:
                return
        elif (
            (self.low is not None and self.high is not None)
            and 1 <= self.bins <= _MAX_BINS
            and _number(self.low, self.name) < _number(self.high, self.name)
        ):
            return
        raise AdmissionError(
            f"bins of [{self.name}] are [{self.bins}] from [{self.low}] to [{self.high}] at [{self.at}]; expected "
            f"[1 to {_MAX_BINS}] from a lower to a higher number, or borders that rise: change the rule"
        )

    def index(self, value: object) -> int:
        """Return the number of the part of a value, from 0."""
        if self.at is not None:
            return bisect.bisect_right(_borders(tuple(self.at)), _number(value, self.name))
        low, high = self._range()
        part = (_number(value, self.name) - low) * self.bins // (high - low)
        return min(max(int(part), 0), self.bins - 1)

    def outside(self, value: object) -> str | None:
        """Return `below` or `above` for a value outside the range, None within."""
        number = _number(value, self.name)
        if self.at is not None:
            return None
        low, high = self._range()
        return "below" if number < low else "above" if number > high else None

    def material(self, value: object) -> Json:
        """Return what goes into a key for a value."""
        return self.index(value)

    def describe(self, value: object) -> str:
        """Return the part of a value in words, and whether it is outside the range."""
        index, outside = self.index(value), self.outside(value)
        parts = self.bins if self.at is None else len(self.at) + 1
        shown = f"{self.part(value)} (part {index + 1} of {parts})"
        return f"{shown}, {outside} the range" if outside else shown

    def part(self, value: object) -> str:
        """Return the part of a value: `10 to 20`, or `below 10` and `20 and above` at the ends of borders."""
        return self._part(self.index(value))

    def parts(self) -> tuple[str, ...]:
        """Return all parts, the lowest first."""
        return tuple(map(self._part, range(self.bins if self.at is None else len(self.at) + 1)))

    def _part(self, index: int) -> str:
        if self.at is None:
            start, end = self._range()
            width = (end - start) / self.bins
            low = start + index * width
            return f"{float(low):g} to {float(low + width):g}"
        shown = [f"{float(each):g}" for each in _borders(tuple(self.at))]
        if index == 0:
            return f"below {shown[0]}"
        return f"{shown[-1]} and above" if index == len(shown) else f"{shown[index - 1]} to {shown[index]}"

    def declaration(self) -> dict[str, Json]:
        """Return what goes into the hash of the rule."""
        if self.at is not None:
            return _keyed(self, {"bin": self.name, "at": [str(each) for each in _borders(tuple(self.at))]})
        low, high = map(str, self._range())
        return _keyed(self, {"bin": self.name, "low": low, "high": high, "bins": self.bins, "outside": "end bins"})

    def _range(self) -> tuple[Fraction, Fraction]:
        assert self.low is not None and self.high is not None  # noqa: S101, PT018 - checked when it was made
        return _ends(self.low, self.high)


@dataclass(frozen=True, slots=True)
class SetOf:
    """A list in which neither order nor repetition counts."""

    name: str
    keyed: bool = field(default=False, kw_only=True)

    def material(self, value: object) -> Json:
        """Return what goes into a key for a value."""
        if not isinstance(value, list):
            refuse(self.name, f"is [{value!r:.40}]", "a list")
        members: dict[bytes, Json] = {}
        for item in value:
            member = exact_value(item, self.name)
            members[rfc8785.dumps(member)] = member
        return [members[key] for key in sorted(members)]

    def describe(self, value: object) -> str:
        """Return the members in words."""
        members = self.material(value)
        return (", ".join(map(str, members)) or "none") if isinstance(members, list) else str(members)

    def declaration(self) -> dict[str, Json]:
        """Return what goes into the hash of the rule."""
        return _keyed(self, {"set": self.name})


@dataclass(frozen=True, slots=True)
class Exact:
    """A value that has to be the same: the meaning of a plain name in a rule.

    `keyed`, here and of `Bin` and `SetOf`: keys are made of an HMAC of the value under a key of the workspace, so that
    a sealed fact may count. It needs a vault.
    """

    name: str
    keyed: bool = field(default=False, kw_only=True)

    def material(self, value: object) -> Json:
        """Return what goes into a key for a value."""
        return exact_value(value, self.name)

    def describe(self, value: object) -> str:
        """Return the value in words."""
        if isinstance(value, bool):
            return "yes" if value else "no"
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def declaration(self) -> dict[str, Json]:
        """Return what goes into the hash of the rule."""
        return _keyed(self, {"exact": self.name})


@dataclass(frozen=True, slots=True)
class FromContext:
    """An attribute that is taken from the context of a decision, and not from its facts."""

    inner: str | Bin | SetOf | Exact

    @property
    def name(self) -> str:
        """Its name in keys and words; no fact has this name."""
        return f"context:{self.attribute.name}"

    @property
    def attribute(self) -> Plain:
        """The attribute in the context."""
        return Exact(self.inner) if isinstance(self.inner, str) else self.inner

    def declaration(self) -> dict[str, Json]:
        """Return what goes into the hash of the rule."""
        return {"from": "context", **self.attribute.declaration()}


Plain: TypeAlias = Bin | SetOf | Exact
"""An attribute without its source: how it treats a value."""

Attribute: TypeAlias = str | Bin | SetOf | Exact | FromContext
"""A fact that counts: by its name if it has to be the same; or an attribute from the context."""


def declared(declaration: Mapping[str, Any]) -> Attribute:
    """Return the attribute that is declared in a document."""
    if declaration.get("from") is not None:
        if declaration["from"] != "context":
            refuse("from", f"is [{declaration['from']!r:.40}]", "context")
        inner = declared({name: each for name, each in declaration.items() if name != "from"})
        return inner if isinstance(inner, FromContext) else FromContext(inner)
    keyed = declaration.get("keyed") is True
    if "bin" in declaration and "at" in declaration:
        return Bin(declaration["bin"], at=[_bound(each) for each in declaration["at"]], keyed=keyed)
    if "bin" in declaration:
        low, high = (_bound(declaration[end]) for end in ("low", "high"))
        return Bin(declaration["bin"], low=low, high=high, bins=declaration["bins"], keyed=keyed)
    if "set" in declaration:
        return SetOf(declaration["set"], keyed=keyed)
    return Exact(str(declaration["exact"]), keyed=True) if keyed else str(declaration["exact"])


def _keyed(attribute: Plain, declaration: dict[str, Json]) -> dict[str, Json]:
    """Return a declaration as it goes into the hash of a rule: without `keyed` the hash is as before."""
    return {**declaration, "keyed": True} if attribute.keyed else declaration


def _bound(written: str) -> float:
    """Return a bound as the number from which it was written: the nearest float of a fraction is that number."""
    exact = Fraction(written)
    return exact.numerator if exact.denominator == 1 else float(exact)


def exact_value(value: object, name: str) -> Json:
    """Return a JSON value in its canonical form for keys: 15.0 is 15, true is not 1."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= MAX_INTEGER else {"$number": str(value)}
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) <= MAX_INTEGER
        return int(value) if whole else {"$number": repr(value)}
    if isinstance(value, list):
        return [exact_value(item, name) for item in value]
    if isinstance(value, dict):
        return {key: exact_value(item, name) for key, item in value.items()}
    return refuse(name, f"is of type [{type(value).__name__}]", "what JSON can say")


def _number(value: object, name: str) -> Fraction:
    """Return a number exactly as it is written: 0.3 is three tenths, not the nearest binary fraction."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return Fraction(repr(value))
        except ValueError:
            refuse(name, f"is [{value}]", "a finite number")
    if isinstance(value, str) and _NUMBER.match(value):
        return Fraction(value)
    return refuse(name, f"is [{value!r:.40}]", "a number, or one in decimal digits")


@lru_cache(maxsize=4_096)
def _ends(low: float, high: float) -> tuple[Fraction, Fraction]:
    """Return the range of a `Bin`, which was checked when it was made."""
    return _number(low, "low"), _number(high, "high")


@lru_cache(maxsize=4_096)
def _borders(at: tuple[float, ...]) -> list[Fraction]:
    return [_number(each, "at") for each in at]


def refuse(name: str, what: str, expected: str) -> NoReturn:
    """Raise an `AdmissionError` for the value of an attribute."""
    raise AdmissionError(
        f"value at [$.{name}] {what}; expected [{expected}]: correct the facts, or the equivalence rule",
        path=f"$.{name}",
    )
