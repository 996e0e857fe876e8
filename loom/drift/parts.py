"""Drift in three parts: who came, what the rule said in equal situations, what people did where both were equal.

The second and the third are pooled over strata: the two windows are compared within each situation, and within each
situation and effect, and the differences are added up. So a change of the population is not mistaken for a change of
the rule, nor a change of the rule for one of people. Each decision counts by itself.

The sums are tested twice: by outcome, whether it became more or less frequent over all strata (Mantel and Haenszel
1959, normal approximation), and whether the strata as a whole differ more than by chance (the sum of Pearson's
statistics of strata whose labels are expected often enough). The smaller p-value counts, at half of alpha.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict

from loom.drift.chi_square import chi_square_p
from loom.drift.distance import js_divergence
from loom.drift.permutation import permutation_test
from loom.drift.report import DriftState
from loom.drift.split import Answers
from loom.drift.thresholds import DriftParams

__all__ = ["DriftPart", "DriftParts", "PartName", "Shift", "pooled", "three_parts"]

PartName: TypeAlias = Literal["who came", "what the rule said", "what people did"]

_ALPHA = 0.05
_MOST_SHIFTS = 5
_ENOUGH = 5.0
"""The minimum variance of a difference, and the minimum expected count of a label, for the approximations to hold."""

Strata: TypeAlias = Mapping[tuple[str, ...], tuple[Counter[str], Counter[str]]]
"""Of each stratum how often each label is in the baseline, and how often in the current window."""


class Shift(BaseModel):
    """A label whose share changed, all else being equal: by so much of 1, weighted by the comparable decisions."""

    model_config = ConfigDict(frozen=True)

    label: str
    change: float
    p_value: float


class DriftPart(BaseModel):
    """One part: whether it changed more than chance gives, over how many comparable decisions of each window.

    Comparable are decisions whose stratum is in both windows. `shifts` are the labels that moved most; for the part
    "who came" these are situations. `insufficient_data` is neither yes nor no.
    """

    model_config = ConfigDict(frozen=True)

    name: PartName
    state: DriftState
    p_value: float | None
    decisions: tuple[int, int]
    strata: int
    shifts: tuple[Shift, ...]
    divergence: float | None = None
    """The divergence of the situations, in bits; only for the part "who came"."""

    @property
    def detected(self) -> bool:
        """Whether it changed."""
        return self.state == "detected"


class DriftParts(BaseModel):
    """The three parts of a change. `not_evaluated` counts decisions of both windows without an evaluation."""

    model_config = ConfigDict(frozen=True)

    who_came: DriftPart
    rule_said: DriftPart
    people_did: DriftPart
    not_evaluated: int = 0

    @property
    def all(self) -> tuple[DriftPart, ...]:
        """The parts, in this order."""
        return self.who_came, self.rule_said, self.people_did


class Pooled(NamedTuple):
    """The result of a test over strata; `p_value` is None where there is too little data."""

    p_value: float | None
    decisions: tuple[int, int]
    strata: int
    shifts: tuple[Shift, ...]


def three_parts(
    baseline: Answers,
    current: Answers,
    outcomes: Mapping[str, str],
    params: DriftParams,
    *,
    names: Mapping[str, str] | None = None,
) -> DriftParts:
    """Return the parts of a change between two windows: counts by situation, effect and precedent class.

    `outcomes` has the outcome of each class in words, `names` the situations.
    """
    said: dict[tuple[str, ...], tuple[Counter[str], Counter[str]]] = defaultdict(lambda: (Counter(), Counter()))
    done: dict[tuple[str, ...], tuple[Counter[str], Counter[str]]] = defaultdict(lambda: (Counter(), Counter()))
    came: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    not_evaluated = 0
    for side, answers in enumerate((baseline, current)):
        for (situation, effect, precedent), n in answers.items():
            came[side][situation] += n
            done[situation, effect or ""][side][outcomes.get(precedent) or precedent] += n
            if effect is None:
                not_evaluated += n
            else:
                said[(situation,)][side][effect] += n
    return DriftParts(
        who_came=_who_came(came, params, names or {}),
        rule_said=_part("what the rule said", pooled(said), params),
        people_did=_part("what people did", pooled(done), params),
        not_evaluated=not_evaluated,
    )


def pooled(strata: Strata) -> Pooled:
    """Return the test of labels against windows within strata. Strata of one window only are ignored."""
    both = [(a, b) for a, b in strata.values() if a and b]
    decisions = sum(a.total() for a, _ in both), sum(b.total() for _, b in both)
    weight = sum(a.total() * b.total() / (a.total() + b.total()) for a, b in both)
    labels = sorted({label for a, b in both for label in (*a, *b)})
    shifts, enough = [], 0
    for label in labels:
        difference = variance = 0.0
        for a, b in both:
            n, m, k = a.total(), b.total(), a[label] + b[label]
            whole = n + m
            difference += b[label] - m * k / whole
            variance += n * m * k * (whole - k) / (whole * whole * (whole - 1)) if whole > 1 else 0.0
        if variance >= _ENOUGH:
            enough += 1
        p = math.erfc(abs(difference) / math.sqrt(2 * variance)) if variance >= _ENOUGH else 1.0
        shifts.append(Shift(label=label, change=difference / weight if weight else 0.0, p_value=p))
    shifts.sort(key=lambda each: (-abs(each.change), each.label))
    shown = tuple(each for each in shifts if each.change)[:_MOST_SHIFTS]
    apart = _apart(both)
    if not enough and apart is None:
        # If each stratum has one label, nothing can differ: that is a result, not a lack of data.
        settled = bool(both) and all(len(a.keys() | b.keys()) == 1 for a, b in both)
        return Pooled(1.0 if settled else None, decisions, len(both), shown)
    # Two labels are one difference seen from both sides.
    tried = max(1, enough if len(labels) > 2 else 1)
    by_label = min(1.0, min((each.p_value for each in shifts), default=1.0) * tried)
    p_value = by_label if apart is None else min(1.0, 2 * min(by_label, apart))
    return Pooled(p_value, decisions, len(both), shown)


def _apart(both: Sequence[tuple[Counter[str], Counter[str]]]) -> float | None:
    """Return the probability that the strata differ at least so much by chance; None where too little is expected."""
    statistic, degrees = 0.0, 0
    for a, b in both:
        n, m = a.total(), b.total()
        labels = [label for label in a.keys() | b.keys() if (a[label] + b[label]) * min(n, m) >= _ENOUGH * (n + m)]
        if len(labels) < 2:
            continue
        rest = n - sum(a[label] for label in labels), m - sum(b[label] for label in labels)
        cells = [(a[label], b[label]) for label in labels]
        if sum(rest) * min(n, m) >= _ENOUGH * (n + m):
            cells.append(rest)
        first, second = sum(x for x, _ in cells), sum(y for _, y in cells)
        statistic += math.fsum((x * second - y * first) ** 2 / (x + y) for x, y in cells) / (first * second)
        degrees += len(cells) - 1
    return chi_square_p(statistic, degrees) if degrees > 1 else None


def _who_came(came: tuple[Counter[str], Counter[str]], params: DriftParams, names: Mapping[str, str]) -> DriftPart:
    before, now = came
    sizes = before.total(), now.total()
    pairs = [(before[each], now[each]) for each in sorted(before.keys() | now.keys())]
    if min(sizes) < params.minimum_decisions:
        return DriftPart(
            name="who came", state="insufficient_data", p_value=None, decisions=sizes, strata=len(pairs), shifts=()
        )
    p = permutation_test(pairs, permutations=params.permutations, pool_below=params.pool_below).p_value
    changes = {each: now[each] / sizes[1] - before[each] / sizes[0] for each in before.keys() | now.keys()}
    largest = sorted((each for each in changes if changes[each]), key=lambda each: (-abs(changes[each]), each))
    return DriftPart(
        name="who came",
        state=_state(p),
        p_value=p,
        decisions=sizes,
        strata=len(pairs),
        shifts=tuple(
            Shift(label=names.get(each, each[:12]), change=changes[each], p_value=p) for each in largest[:_MOST_SHIFTS]
        ),
        divergence=js_divergence(pairs),
    )


def _part(name: PartName, found: Pooled, params: DriftParams) -> DriftPart:
    enough = found.p_value is not None and min(found.decisions) >= params.minimum_decisions
    return DriftPart(
        name=name,
        state=_state(found.p_value) if enough and found.p_value is not None else "insufficient_data",
        p_value=found.p_value if enough else None,
        decisions=found.decisions,
        strata=found.strata,
        shifts=found.shifts,
    )


def _state(p_value: float) -> DriftState:
    return "detected" if p_value < _ALPHA else "not_detected"
