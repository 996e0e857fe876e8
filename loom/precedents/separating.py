"""Find the recorded fact that separates two kinds of cases best, if it does so better than chance.

A split is one condition on one fact: a number from a limit on, one value or others, recorded or not. Its value is the
information gain (Quinlan 1986), as a share of the total uncertainty. The p-value is corrected for the number of splits
that were tried (Bonferroni), so a split on unrelated facts is rarely reported.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias

from pydantic import JsonValue

__all__ = ["Case", "Separation", "Split", "best_separation", "splits_of"]

_DECIMAL = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?\Z")
_MOST_FACTS = 200
_MOST_VALUES = 200
_ALPHA = 0.05

Case: TypeAlias = tuple[Mapping[str, JsonValue], str]
"""The recorded values of a case, by name, and its kind."""


@dataclass(frozen=True, slots=True)
class Split:
    """One condition on one fact. `value` is as recorded; for a limit it is the smallest value above it."""

    fact: str
    operator: Literal[">=", "=", "recorded"]
    value: JsonValue = None

    @property
    def words(self) -> str:
        """The same for people."""
        if self.operator == "recorded":
            return f"{self.fact} is recorded"
        shown = {True: "yes", False: "no"}[self.value] if isinstance(self.value, bool) else self.value
        return f"{self.fact} is {shown}" + (" or more" if self.operator == ">=" else "")

    def holds(self, facts: Mapping[str, JsonValue]) -> bool:
        """Tell whether the condition holds for the recorded values of a case."""
        if self.fact not in facts or self.operator == "recorded":
            return self.fact in facts
        value = facts[self.fact]
        if self.operator == "=":
            return _same(value) == _same(self.value)
        number, border = exact_number(value), exact_number(self.value)
        return number is not None and border is not None and number >= border


@dataclass(frozen=True, slots=True)
class Separation:
    """A split that separates the kinds: how many of each are inside and outside.

    `gain` is the share of the uncertainty about the kind that the condition removes, 0 to 1. `p_value` is how often
    chance alone gives one as good among all the splits that were tried.
    """

    split: Split
    gain: float
    p_value: float
    inside: Mapping[str, int]
    outside: Mapping[str, int]


def best_separation(cases: Sequence[Case]) -> Separation | None:
    """Return the split with the largest gain; None where none is better than chance."""
    kinds = Counter(kind for _, kind in cases)
    whole = _entropy(kinds)
    if whole == 0:
        return None
    tried, best = 0, None
    for split, inside in splits_of(cases):
        tried += 1
        outside = kinds - inside
        n, m = inside.total(), outside.total()
        gain = whole - (n * _entropy(inside) + m * _entropy(outside)) / (n + m)
        if best is None or gain > best[0] + 1e-12:
            best = (gain, split, inside, outside)
    if best is None:
        return None
    gain, split, inside, outside = best
    usual = max(kinds, key=lambda kind: (kinds[kind], kind))
    p_value = min(1.0, tried * _fisher(inside[usual], inside.total(), outside[usual], outside.total()))
    if p_value >= _ALPHA:
        return None
    return Separation(split, gain / whole, p_value, dict(inside.most_common()), dict(outside.most_common()))


def splits_of(cases: Sequence[Case]) -> Iterator[tuple[Split, Counter[str]]]:
    """Yield every split with cases on both sides, and the number of each kind inside, in a fixed order."""
    names = sorted({name for facts, _ in cases for name in facts})[:_MOST_FACTS]
    for name in names:
        known = [(facts[name], kind) for facts, kind in cases if name in facts]
        if len(known) < len(cases):
            yield Split(name, "recorded"), Counter(kind for _, kind in known)
        numbers = [(exact_number(value), kind, value) for value, kind in known]
        if all(number is not None for number, _, _ in numbers):
            yield from _borders(name, numbers)
        else:
            yield from _values(name, known, len(cases))


def exact_number(value: JsonValue) -> Fraction | None:
    """Return a number exactly as it is written, also one in decimal digits; None for other values."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return Fraction(repr(value))
    return Fraction(value) if isinstance(value, str) and _DECIMAL.match(value) else None


def _borders(
    name: str, numbers: Sequence[tuple[Fraction | None, str, JsonValue]]
) -> Iterator[tuple[Split, Counter[str]]]:
    ordered = sorted(
        ((number, kind, value) for number, kind, value in numbers if number is not None), key=lambda e: e[0]
    )
    above = Counter(kind for _, kind, _ in ordered)
    for (low, kind, _), (high, _, value) in itertools.pairwise(ordered):
        above[kind] -= 1
        if low < high:
            yield Split(name, ">=", value), +above


def _values(name: str, known: Sequence[tuple[JsonValue, str]], cases: int) -> Iterator[tuple[Split, Counter[str]]]:
    groups: dict[str, tuple[JsonValue, Counter[str]]] = {}
    for value, kind in known:
        if not isinstance(value, dict | list):
            groups.setdefault(_same(value), (value, Counter()))[1][kind] += 1
    largest = sorted(groups.items(), key=lambda each: (-each[1][1].total(), each[0]))[:_MOST_VALUES]
    for _, (value, inside) in largest:
        if inside.total() < cases:
            yield Split(name, "=", value), inside


def _same(value: JsonValue) -> str:
    return f"{type(value).__name__} {value}"


def _entropy(counts: Counter[str]) -> float:
    total = counts.total()
    return -sum(n / total * math.log2(n / total) for n in counts.values() if n) if total else 0.0


def _fisher(a: int, n: int, b: int, m: int) -> float:
    """Return the two-sided p-value of Fisher's exact test: a of n inside, b of m outside."""
    successes = a + b
    low, high = max(0, successes - m), min(n, successes)

    def log_probability(k: int) -> float:
        return _log_choose(n, k) + _log_choose(m, successes - k) - _log_choose(n + m, successes)

    seen = log_probability(a)
    return min(1.0, math.fsum(math.exp(p) for k in range(low, high + 1) if (p := log_probability(k)) <= seen + 1e-9))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
