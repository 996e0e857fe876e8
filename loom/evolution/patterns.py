"""Exception patterns: what granted exceptions have in common, in contrast to refused ones.

Deterministic mining of conjunctions. An item is a fact that is text or boolean, with its value. A pattern is the
conjunction of at most three items that covers most granted exceptions of one reason. Refusals with the same items, and
with numbers within the range of the granted ones, count against it.
The covered cases are removed and the rest is examined again. Nothing is learned, and no model is asked.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.identity import derived_id

__all__ = ["ExceptionCase", "ExceptionPattern", "has_shape", "mine"]

Item: TypeAlias = tuple[str, str | bool]

_COMMON = 0.8
_WORTH_CASES = 10
_WORTH_CONFIDENCE = 0.8
_MOST_ITEMS = 3
_MOST_VALUES = 200
_MOST_PATTERNS = 5


class ExceptionCase(NamedTuple):
    """One exception that was decided: `granted` is its result, none where it is not on record."""

    decision_id: str
    policy: str
    reason: str
    rule: str
    facts: Mapping[str, JsonValue]
    granted: bool | None
    at: datetime


class ExceptionPattern(BaseModel):
    """What granted exceptions of one reason have in common.

    `conditions` are the facts of the pattern, `factors` those that at least 80 % of its cases share, `ranges` the
    smallest and largest value of each number. `confidence` is the share of granted ones among all of this shape; it is
    `worthwhile` with more than 10 of them and a confidence over 0.8.
    """

    model_config = ConfigDict(frozen=True)

    pattern_id: str
    policy: str
    reason: str
    rule: str
    occurrences: int
    refusals: int
    unsaid: int = 0
    """The number of further cases of this shape without a known result; they do not count."""
    confidence: float
    conditions: dict[str, str | bool]
    factors: dict[str, JsonValue]
    ranges: dict[str, tuple[int, int]]
    first_seen: datetime
    last_seen: datetime
    examples: tuple[str, ...]
    cut: tuple[str, str, JsonValue] | None = None
    """The condition on a number that separates grants from refusals, among all cases of this shape."""

    @property
    def worthwhile(self) -> bool:
        """Whether there is enough evidence for a rule."""
        return self.occurrences > _WORTH_CASES and self.confidence > _WORTH_CONFIDENCE

    def words(self) -> str:
        """Return the shape in words."""
        plain = {name: str(v).lower() if isinstance(v, bool) else v for name, v in self.conditions.items()}
        told = [f"{name} is {value}" for name, value in plain.items()]
        told += [f"{name} is {low} to {high}" for name, (low, high) in self.ranges.items()]
        told += [] if self.cut is None else [f"{self.cut[0]} {self.cut[1]} {self.cut[2]}"]
        return ", ".join(told) or "always"


def mine(cases: Iterable[ExceptionCase]) -> list[ExceptionPattern]:
    """Return the patterns of exceptions, those with most cases first; the order of the cases does not matter."""
    groups: dict[tuple[str, str, str], list[ExceptionCase]] = {}
    for case in sorted(cases, key=lambda each: each.decision_id):
        groups.setdefault((case.policy, case.reason, case.rule), []).append(case)
    found = [pattern for group in groups.values() for pattern in _patterns(group)]
    return sorted(found, key=lambda each: (-each.occurrences, each.pattern_id))


def _patterns(group: Sequence[ExceptionCase]) -> Iterator[ExceptionPattern]:
    granted = [case for case in group if case.granted]
    refused = [case for case in group if case.granted is False]
    unsaid = [case for case in group if case.granted is None]
    for _ in range(_MOST_PATTERNS):
        if not granted:
            return
        items = _best(granted, refused)
        covered = [case for case in granted if _matches(case, items)]
        ranges = _ranges(covered)
        refusals, unknown = (
            [each for each in others if _matches(each, items) and _within(each, ranges)] for others in (refused, unsaid)
        )
        yield _pattern(items, covered, refusals, unsaid=len(unknown))
        granted = [case for case in granted if not _matches(case, items)]


def _best(granted: Sequence[ExceptionCase], refused: Sequence[ExceptionCase]) -> tuple[Item, ...]:
    """Return the conjunction that covers most cases while refusals are rare; the shorter one of two equal ones."""
    counts = Counter(item for case in granted for item in _items(case))
    known = sorted(counts, key=lambda item: (-counts[item], _order(item)))[:_MOST_VALUES]
    granted_by = {item: frozenset(i for i, case in enumerate(granted) if item in _items(case)) for item in known}
    refused_by = {item: frozenset(i for i, case in enumerate(refused) if item in _items(case)) for item in known}
    all_granted, all_refused = frozenset(range(len(granted))), frozenset(range(len(refused)))
    frequent = [item for item in known if len(granted_by[item]) > _WORTH_CASES or len(known) <= 20]
    best: tuple[tuple[object, ...], tuple[Item, ...]] | None = None
    for size in range(_MOST_ITEMS + 1):
        for items in itertools.combinations(sorted(frequent, key=_order), size):
            if len({name for name, _ in items}) < size:
                continue
            covered = all_granted.intersection(*(granted_by[item] for item in items))
            support = len(covered)
            if not support:
                continue
            # A rule of this shape would only cover numbers within the range of the granted ones.
            ranges = _ranges([granted[i] for i in covered])
            alike = all_refused.intersection(*(refused_by[item] for item in items))
            against = sum(_within(refused[i], ranges) for i in alike)
            confidence = support / (support + against)
            sure = confidence > _WORTH_CONFIDENCE
            score = (not sure, -support if sure else -confidence, size, [_order(item) for item in items])
            if best is None or score < best[0]:
                best = score, items
    assert best is not None  # noqa: S101 - the empty conjunction covers everything
    return best[1]


def _pattern(
    items: tuple[Item, ...], covered: Sequence[ExceptionCase], refused: Sequence[ExceptionCase], *, unsaid: int
) -> ExceptionPattern:
    first = covered[0]
    conditions = dict(items)
    factors: dict[str, JsonValue] = {}
    for name in sorted({name for case in covered for name in case.facts}):
        values = Counter(json.dumps(case.facts.get(name), sort_keys=True) for case in covered)
        value, count = min(values.items(), key=lambda each: (-each[1], each[0]))
        if count >= _COMMON * len(covered):
            factors[name] = json.loads(value)
        if count == len(covered) and isinstance(factors[name], str | bool):
            conditions[name] = factors[name]  # type: ignore[assignment]
    shape = json.dumps([first.policy, first.reason, first.rule, sorted(conditions.items(), key=_order)])
    return ExceptionPattern(
        pattern_id=derived_id("pattern", shape)[:16],
        policy=first.policy,
        reason=first.reason,
        rule=first.rule,
        occurrences=len(covered),
        refusals=len(refused),
        unsaid=unsaid,
        confidence=len(covered) / (len(covered) + len(refused)),
        conditions=dict(sorted(conditions.items())),
        factors=factors,
        ranges=_ranges(covered),
        first_seen=min(case.at for case in covered),
        last_seen=max(case.at for case in covered),
        examples=tuple(case.decision_id for case in covered[:5]),
    )


def has_shape(facts: Mapping[str, JsonValue], pattern: ExceptionPattern) -> bool:
    """Tell whether facts have the conditions of a pattern; its numbers are not compared."""
    return all(
        type(facts.get(name)) is type(value) and facts[name] == value for name, value in pattern.conditions.items()
    )


def _ranges(covered: Sequence[ExceptionCase]) -> dict[str, tuple[int, int]]:
    """Return the smallest and largest value of each whole number that all cases have."""
    numbers: dict[str, list[int]] = {}
    for case in covered:
        for name, fact in case.facts.items():
            if isinstance(fact, int) and not isinstance(fact, bool):
                numbers.setdefault(name, []).append(fact)
    return {name: (min(v), max(v)) for name, v in sorted(numbers.items()) if len(v) == len(covered)}


def _within(case: ExceptionCase, ranges: Mapping[str, tuple[int, int]]) -> bool:
    return all(
        isinstance(fact := case.facts.get(name), int) and low <= fact <= high for name, (low, high) in ranges.items()
    )


def _items(case: ExceptionCase) -> frozenset[Item]:
    return frozenset((name, value) for name, value in case.facts.items() if isinstance(value, str | bool))


def _matches(case: ExceptionCase, items: Iterable[Item]) -> bool:
    return all(type(case.facts.get(name)) is type(value) and case.facts[name] == value for name, value in items)


def _order(item: Item) -> tuple[str, str]:
    return item[0], json.dumps(item[1])
