"""The nearest case that a table would answer otherwise: fewest facts changed, then the smallest change.

The answer is exact. A table does not distinguish values of one class, so for each fact one value of each class is
enough: the nearest one to the present value. All subsets of facts are tried, the smaller ones first.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any, Literal, NamedTuple, TypeAlias

from loom.errors import AdmissionError
from loom.policies.evaluation import EffectName
from loom.policies.tables.classes import ValueClasses, constants, representatives
from loom.policies.tables.compiled import Bad, CompiledTable
from loom.policies.tables.layout import Scalar, TableFact, read

__all__ = ["Change", "Nearest", "NearestCases"]

MAX_COMBINATIONS = 100_000

Step: TypeAlias = int | Decimal
NearestState: TypeAlias = Literal["found", "already", "none", "not_looked_at", "unusable"]


class Change(NamedTuple):
    """One fact that would have to change: from `old` to `new`, in JSON form.

    `bound` is set where there is no nearest value: a decimal without a step has none next to a limit that is excluded.
    Then any value `above` or `below` `new` is valid, up to the next limit.
    """

    fact: str
    old: Scalar
    new: Scalar
    bound: Literal["above", "below"] | None = None

    @property
    def words(self) -> str:
        """The same for people."""
        new = {True: "true", False: "false"}[self.new] if isinstance(self.new, bool) else self.new
        return f"{self.fact}: {f'{self.bound} ' if self.bound else ''}{new}"


class Nearest(NamedTuple):
    """The nearest case with the wanted effect.

    - `found`: with these `changes`, in the order of the table's facts, the row `rule` hits.
    - `already`: the case has that effect as it is.
    - `none`: no values of the free facts give it.
    - `not_looked_at`: there are more than 100,000 combinations.
    - `unusable`: a fact is missing, null or ill-typed, as `problem` says.
    """

    state: NearestState
    changes: tuple[Change, ...] = ()
    rule: str | None = None
    distance: Fraction = Fraction(0)
    problem: str = ""


class _Candidate(NamedTuple):
    mask: int
    distance: Fraction
    change: Change


class NearestCases:
    """Finds nearest cases for one table."""

    def __init__(self, compiled: CompiledTable, classes: ValueClasses) -> None:
        self._compiled = compiled
        self._classes = classes
        self._layout = classes.layout
        self._edges = {name: sorted(constants(self._layout, name)) for name in classes.names if self._ordered(name)}
        self._units = {name: _unit(self._layout.facts[name], edges) for name, edges in self._edges.items()}
        self._regions = {name: self._regions_of(name) for name in self._edges}

    def nearest(
        self,
        facts: Mapping[str, object],
        *,
        want: EffectName,
        free: Collection[str] | None,
        step: Mapping[str, Step],
    ) -> Nearest:
        """Return the nearest case; see `Table.nearest`."""
        self._check(free, step)
        values = self._compiled.values(facts, ignore_unknown=True)
        if isinstance(values, Bad):
            return Nearest("unusable", problem=values.words)
        case = dict(zip(self._layout.facts, values, strict=True))
        masks = {name: self._classes.mask(name, case[name]) for name in self._classes.names}
        if self._classes.outcome(_joined(self._classes.everything, masks.values())).effect == want:
            return Nearest("already")
        chosen = [name for name in self._classes.names if free is None or name in free]
        candidates = {name: list(self._candidates(name, case[name], masks[name], step)) for name in chosen}
        if math.prod(len(each) + 1 for each in candidates.values()) > MAX_COMBINATIONS:
            return Nearest("not_looked_at")
        needed = self._needed(masks, chosen, want)
        for count in range(1, len(chosen) + 1):
            found = [
                best
                for subset in itertools.combinations(chosen, count)
                if needed is None or any(each.issubset(subset) for each in needed)
                if (best := self._best(subset, masks, candidates, want)) is not None
            ]
            if found:
                return min(found, key=lambda each: (each.distance, [str(change) for change in each.changes]))
        return Nearest("none")

    def _needed(self, masks: Mapping[str, int], free: Collection[str], want: EffectName) -> list[frozenset[str]] | None:
        """Return, for each wanted row that can be reached, the facts that have to change for it; None for any row."""
        wanted = self._classes.rows_with(want)
        if wanted is None:
            return None
        rows = (1 << number for number in range(wanted.bit_length()) if wanted >> number & 1)
        ruling_out = [frozenset(name for name, mask in masks.items() if not mask & row) for row in rows]
        return [names for names in ruling_out if names.issubset(free)]

    def _best(
        self,
        subset: Sequence[str],
        masks: Mapping[str, int],
        candidates: Mapping[str, Sequence[_Candidate]],
        want: EffectName,
    ) -> Nearest | None:
        """Return the smallest change of exactly these facts that gives the wanted effect.

        A row that is ruled out stays so: a beginning of a combination in which no wanted row is left is dropped.
        """
        wanted = self._classes.rows_with(want)
        beginnings: list[tuple[int, tuple[_Candidate, ...]]] = [
            (_joined(self._classes.everything, (mask for name, mask in masks.items() if name not in subset)), ())
        ]
        for name in subset:
            beginnings = [
                (mask & each.mask, (*before, each))
                for mask, before in beginnings
                for each in candidates[name]
                if wanted is None or mask & each.mask & wanted
            ]
        best: Nearest | None = None
        for mask, combination in beginnings:
            outcome = self._classes.outcome(mask)
            if outcome.effect != want:
                continue
            distance = sum((each.distance for each in combination), Fraction(0))
            if best is None or distance < best.distance:
                rule = None if outcome.row is None else outcome.row.name
                best = Nearest("found", tuple(each.change for each in combination), rule, distance)
        return best

    def _candidates(self, name: str, now: Any, mask: int, step: Mapping[str, Step]) -> Iterator[_Candidate]:
        """Yield the nearest value of each other class of a fact, as far as its step reaches one."""
        fact = self._layout.facts[name]
        if name not in self._edges:
            for value in representatives(self._layout, name):
                found = self._classes.mask(name, value)
                if found != mask:
                    yield _Candidate(found, Fraction(1), Change(name, now, value))
            return
        own = Fraction(step.get(name, 1)) if name in step or fact.type == "integer" else None
        nearest: dict[int, _Candidate] = {}
        at = Fraction(now)
        for low, high, found in self._regions[name]:
            if found == mask or (reached := _reach(at, low, high, own)) is None:
                continue
            value, bound = reached
            distance = abs(value - at) / self._units[name]
            known = nearest.get(found)  # at the same distance, a valid value is better than an excluded bound
            if known is None or (distance, bound is not None) < (known.distance, known.change.bound is not None):
                nearest[found] = _Candidate(
                    found, distance, Change(name, _written(fact, at), _written(fact, value), bound)
                )
        yield from nearest.values()

    def _regions_of(self, name: str) -> list[tuple[_Edge, _Edge, int]]:
        """Return the regions of a number with the mask that all of their values have."""
        return [
            (low, high, self._classes.mask(name, _inside(low, high)))
            for low, high in _regions(self._layout.facts[name], self._edges[name])
        ]

    def _ordered(self, name: str) -> bool:
        return self._layout.facts[name].type in ("integer", "decimal")

    def _check(self, free: Collection[str] | None, step: Mapping[str, Step]) -> None:
        unknown = sorted({*(free or ()), *step} - set(self._layout.facts))
        if unknown:
            raise AdmissionError(
                f"table [{self._layout.name}] asks for no facts [{', '.join(unknown)}]; expected some of "
                f"[{', '.join(self._layout.facts)}]: check the names"
            )
        for name, width in step.items():
            if isinstance(width, float) or width <= 0 or not self._ordered_fact(name):
                raise AdmissionError(
                    f"step [{width!r}] of fact [{name}] is none; expected [an integer or a Decimal above 0] of a "
                    "number: check it",
                    path=f"$.{name}",
                )

    def _ordered_fact(self, name: str) -> bool:
        return self._layout.facts[name].type in ("integer", "decimal")


class _Edge(NamedTuple):
    """An end of a region: the value, and whether it belongs to the region; None is unbounded."""

    at: Fraction | None
    included: bool


def _regions(fact: TableFact, edges: Sequence[Any]) -> Iterator[tuple[_Edge, _Edge]]:
    """Yield the regions of a number that no condition divides: each constant, and the ranges between them."""
    low = None if fact.min is None else Fraction(read(fact.type, fact.min))
    high = None if fact.max is None else Fraction(read(fact.type, fact.max))
    points = [Fraction(each) for each in edges]
    inside = [each for each in points if (low is None or each >= low) and (high is None or each <= high)]
    before = _Edge(low, included=True)
    for point in inside:
        if before.at is None or point > before.at:
            yield before, _Edge(point, included=False)
        yield _Edge(point, included=True), _Edge(point, included=True)
        before = _Edge(point, included=False)
    if high is None or before.at is None or high > before.at:
        yield before, _Edge(high, included=True)


def _inside(low: _Edge, high: _Edge) -> Fraction:
    """Return some value of a region; any fraction is valid, as no constant is inside the region."""
    if low.at is None:
        return Fraction(0) if high.at is None else high.at - 1
    if high.at is None:
        return low.at + 1
    return (low.at + high.at) / 2


def _reach(
    now: Fraction, low: _Edge, high: _Edge, step: Fraction | None
) -> tuple[Fraction, Literal["above", "below"] | None] | None:
    """Return the nearest value of a region that `now` is not in, or its bound where there is no nearest one.

    With a step only values that are whole steps away are reached. None where nothing in the region is.
    """
    above = low.at is not None and now <= low.at
    edge, far = (low, high) if above else (high, low)
    assert edge.at is not None  # noqa: S101 - it is what the value is beyond
    if step is None:
        return edge.at, None if edge.included else "above" if above else "below"
    steps = abs(edge.at - now) / step
    whole = math.ceil(steps) if edge.included else math.floor(steps) + 1
    value = now + whole * step if above else now - whole * step
    left = None if far.at is None else (far.at - value if above else value - far.at)
    beyond = left is not None and (left < 0 or (left == 0 and not far.included))
    return None if beyond else (value, None)


def _unit(fact: TableFact, edges: Sequence[Any]) -> Fraction:
    """Return by what a change of a fact is measured, so that changes of several facts can be added.

    That is the span between its bounds; without both of them the largest number that it is compared with; else 1.
    """
    if fact.min is not None and fact.max is not None and fact.min != fact.max:
        return Fraction(read(fact.type, fact.max)) - Fraction(read(fact.type, fact.min))
    return max((abs(Fraction(each)) for each in edges), default=Fraction(0)) or Fraction(1)


def _written(fact: TableFact, value: Fraction) -> Scalar:
    if fact.type == "integer":
        return int(value)
    with localcontext(prec=100):
        return format(Decimal(value.numerator) / Decimal(value.denominator), "f")


def _joined(mask: int, masks: Any) -> int:
    for each in masks:
        mask &= each
    return mask
