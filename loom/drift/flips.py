"""The sign-flip test: whether the same subjects were decided otherwise, more often than an exchange of windows gives.

Where a subject is in both windows, its two sides belong together. If nothing changed, it is all the same which side is
the baseline's: so both are exchanged for some subjects, by lot, and it is counted how often that gives sums of
differences at least as large. A difference is signed: how many more decisions of a class the subject has in the current
window. It is looked at in four ways: by outcome, summed over all subjects; by the class that moved most for its size;
by all classes together; and by the change of most decisions. Classes that few subjects moved in or out of are pooled
with those of the same outcome. What counts is the rarest of these (the min-p test).

The divergence of the classes is no statistic here: where each class is met once, exchanging sides does not change it.

A subject may have decisions in one window without a partner in the other (it went further). They are part of its sides;
as windows are compared by shares, each class then counts against the share that it has in both windows together.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from random import Random
from typing import TypeAlias

from loom.drift.distance import js_divergence, js_term
from loom.drift.lot import excess_of, ranks, rarest
from loom.drift.permutation import Permutations
from loom.policies.canonical import canonical

__all__ = ["FLIP_LOOKS", "Exchanged", "flip_test"]

FLIP_LOOKS = ("outcome", "class", "pattern", "points")
"""The ways to look at subjects that are in both windows."""

_DOMAIN = b"loom/drift/flips/v1\n"
_LANE = 32
"""Bits of a lane: all permutations are added up at once, one lane each, as the digits of one long integer."""
_MOST_CELLS = 256
_FOR_THE_MEAN = 199
"""So many exchanges give the mean and the 95th percentile of the divergence: far more than either is shown with."""

_Vector: TypeAlias = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What is exchanged as one: the decisions of a subject in both windows, counted by class.

    `certain` are the pairs (class before, class now) that a rule answered otherwise on the same facts: chance has no
    part in these.
    """

    before: Mapping[str, int]
    now: Mapping[str, int]
    certain: tuple[tuple[str, str], ...] = ()

    def differences(self, *, by_chance: bool = False) -> dict[str, int]:
        """Return by class how many more decisions there are now; `by_chance` leaves out what is certain."""
        found = Counter(self.now)
        found.subtract(self.before)
        if by_chance:
            for old, new in self.certain:
                found[old] += 1
                found[new] -= 1
        return {name: n for name, n in found.items() if n}


def flip_test(
    units: Sequence[Exchanged], outcomes: Mapping[str, str], *, permutations: int, pool_below: int = 5
) -> Permutations:
    """Return the test of units that are in both windows; `outcomes` says of each class what its outcome is.

    Neither the order of the units nor which window is the baseline changes it.
    """
    vectors = Counter(filter(None, (_normalised(each.differences()) for each in units)))
    written = [[[list(entry) for entry in vector], count] for vector, count in sorted(vectors.items())]
    seed = hashlib.sha256(_DOMAIN + canonical(written)).hexdigest()
    random = Random(int(seed, 16))  # noqa: S311 - to be the same again, not to be secret
    features = _Features.of(units, vectors, outcomes, pool_below=pool_below)
    lanes = _Lanes(random, permutations)
    by_look = [ranks(each) for each in features.looks(lanes, vectors)]
    mean, upper, excess = _chance(units, outcomes, lanes=_Lanes(random, _FOR_THE_MEAN), pool_below=pool_below)
    every = permutations + 1
    return Permutations(
        p_value=rarest(by_look) / every,
        looks={name: found[0] / every for name, found in zip(FLIP_LOOKS, by_look, strict=True)},
        permutations=permutations,
        seed=seed,
        mean=mean,
        upper=upper,
        excess=excess,
    )


def _normalised(differences: Mapping[str, int]) -> _Vector:
    """Return differences in the one form that they have whichever window comes first."""
    ordered = sorted(differences.items())
    sign = 1 if not ordered or ordered[0][1] > 0 else -1
    return tuple((name, sign * n) for name, n in ordered)


class _Lanes:
    """Adds up many exchanges at once: each is a lane of one long integer, in which a unit is exchanged or is not."""

    def __init__(self, random: Random, count: int) -> None:
        self.count = count
        self._random = random
        self._ones = ((1 << _LANE * count) - 1) // ((1 << _LANE) - 1)

    def draws(self) -> Iterator[int]:
        """Yield lanes of 0 or 1, by lot, without end."""
        while True:
            bits = self._random.getrandbits(_LANE * self.count)
            for place in range(_LANE):
                yield (bits >> place) & self._ones

    def sums(self, vectors: Mapping[_Vector, int], features: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
        """Return by feature, lane by lane, the signed sum over all units; a class may be in several features."""
        added: dict[str, int] = {}
        taken: dict[str, int] = {}
        whole: Counter[str] = Counter()
        draws = self.draws()
        for vector, count in sorted(vectors.items()):
            chosen = sum(next(draws) for _ in range(count))
            for name, n in vector:
                for each in features[name]:
                    where = added if n > 0 else taken
                    where[each] = where.get(each, 0) + chosen * abs(n)
                    whole[each] += count * n
        return {
            each: [
                2 * (plus - minus) - whole[each]
                for plus, minus in zip(self._read(added.get(each)), self._read(taken.get(each)), strict=True)
            ]
            for each in sorted(whole)
        }

    def _read(self, total: int | None) -> Sequence[int]:
        if total is None:
            return [0] * self.count
        found = array("I")
        found.frombytes(total.to_bytes(self.count * _LANE // 8, sys.byteorder))
        return found if sys.byteorder == "little" else found[::-1]


@dataclass(slots=True)
class _Features:
    """What sums are made of: classes by themselves, pools of rare ones, and outcomes as a whole."""

    of_class: dict[str, tuple[str, str]]
    """The cell and the outcome that a class is part of."""
    decisions: Counter[str]
    """How many decisions of both windows are in a feature; those of "" are all."""
    observed: Counter[str]
    """By how many decisions each feature grew; that of "" is by how much the window did."""
    squares: Counter[str] = field(default_factory=Counter)
    mixed: Counter[str] = field(default_factory=Counter)
    """Sums over units of (difference)², and of difference times that of the whole unit."""

    @classmethod
    def of(
        cls,
        units: Sequence[Exchanged],
        vectors: Mapping[_Vector, int],
        outcomes: Mapping[str, str],
        *,
        pool_below: int,
    ) -> _Features:
        """Return the features of a test: which classes are rare is asked of both windows, so exchanging is no part."""
        moved: Counter[str] = Counter()
        for vector, count in vectors.items():
            for name, n in vector:
                moved[name] += abs(n) * count
        common = sorted((each for each in moved if moved[each] >= pool_below), key=lambda each: (-moved[each], each))
        kept = set(common[:_MOST_CELLS])
        there = {name for each in units for side in (each.before, each.now) for name in side}
        of_class = {
            name: (f"class {name}" if name in kept else f"rest {outcomes[name]}", f"outcome {outcomes[name]}")
            for name in there
        }
        found = cls(of_class, Counter(), Counter())
        for each in units:
            for side, sign in ((each.before, -1), (each.now, 1)):
                for name, n in side.items():
                    for feature in (*of_class[name], ""):
                        found.decisions[feature] += n
                        found.observed[feature] += sign * n
        for vector, count in vectors.items():
            found._add(vector, count)
        return found

    def _add(self, vector: _Vector, count: int) -> None:
        by_feature: Counter[str] = Counter()
        for name, n in vector:
            for feature in (*self.of_class[name], ""):
                by_feature[feature] += n
        for feature, n in by_feature.items():
            self.squares[feature] += count * n * n
            self.mixed[feature] += count * n * by_feature[""]

    def looks(self, lanes: _Lanes, vectors: Mapping[_Vector, int]) -> list[list[float]]:
        """Return, by look, what was observed, and what each exchange gives."""
        sums = lanes.sums(vectors, {name: (*features, "") for name, features in self.of_class.items()})
        nothing = [0] * lanes.count
        grown = [self.observed[""], *sums.get("", nothing)]
        whole, every = self.squares[""], self.decisions[""]
        outcome, largest, pattern, points = ([0.0] * (lanes.count + 1) for _ in range(4))
        for feature in sorted(self.decisions):
            share = self.decisions[feature]
            # Each unit counts every·d - share·(d of the unit as a whole): 0 in sum where the shares are the same.
            spread = every * every * self.squares[feature]
            spread += whole * share * share - 2 * every * share * self.mixed[feature]
            if not feature or spread <= 0:
                continue
            moved = [
                every * n - share * m
                for n, m in zip([self.observed[feature], *sums.get(feature, nothing)], grown, strict=True)
            ]
            points = list(map(max, points, map(abs, moved)))
            relative = [n * n / spread for n in moved]
            if feature.startswith("outcome "):
                outcome = list(map(max, outcome, relative))
            else:
                largest = list(map(max, largest, relative))
                pattern = [a + b for a, b in zip(pattern, relative, strict=True)]
        return [outcome, largest, pattern, points]


def _chance(
    units: Sequence[Exchanged], outcomes: Mapping[str, str], *, lanes: _Lanes, pool_below: int
) -> tuple[float, float, float]:
    """Return the mean and the 95th percentile of the divergence by chance, and by how much the observed one exceeds it.

    What a rule answered otherwise on the same facts is none of chance: there it gives the same class twice.
    """
    before: Counter[str] = Counter()
    now: Counter[str] = Counter()
    for each in units:
        before.update(each.before)
        now.update(each.now)
    total = before + now
    vectors = Counter(filter(None, (_normalised(each.differences(by_chance=True)) for each in units)))
    own = {name: (name,) for name in total}
    pooled = {name: (name if total[name] >= 2 * pool_below else f"rest {outcomes[name]}",) for name in total}
    found = []
    for cells in (own, pooled):
        drawn = lanes.sums(vectors, cells)
        divergences = sorted(_divergences(_by_cell(total, cells), drawn, lanes.count))
        mean, upper = sum(divergences) / len(divergences), divergences[-(len(divergences) // 20) - 1]
        a, b = _by_cell(before, cells), _by_cell(now, cells)
        observed = js_divergence([(a[each], b[each]) for each in _by_cell(total, cells)])
        found.append((mean, upper, excess_of(observed, mean)))
    return found[0][0], found[0][1], max(each[2] for each in found)


def _by_cell(counts: Mapping[str, int], cells: Mapping[str, Sequence[str]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for name, n in counts.items():
        found[cells[name][0]] += n
    return found


def _divergences(total: Mapping[str, int], drawn: Mapping[str, Sequence[int]], count: int) -> list[float]:
    """Return the divergence of each lane, in which a window has (total ± drawn) / 2 of a cell."""
    sizes = [sum(total.values())] * count
    grown = [sum(each) for each in zip(*drawn.values(), strict=True)] if drawn else [0] * count
    first = [n + m for n, m in zip(sizes, grown, strict=True)]
    second = [n - m for n, m in zip(sizes, grown, strict=True)]
    found = [0.0] * count
    for name, n in sorted(total.items()):
        moved = drawn.get(name, repeat(0, count))
        if n:
            found = [
                value + (js_term(n + m, n - m, a, b) if a and b else 0.0)
                for value, m, a, b in zip(found, moved, first, second, strict=True)
            ]
    return [min(1.0, each) for each in found]
