"""The permutation test: how often windows that were filled by lot lie at least as far apart as the two at hand.

All decisions of both windows are laid together and dealt out again, as many to each window as it had. How far apart two
windows lie is looked at in four ways, as each kind of change shows best in one of them: by the divergence of the whole
pattern; by the same after rare classes were pooled, as many rare classes that move alike are drowned by chance
otherwise; by the largest divergence that one class has when it is set against all others; and by the largest change of
a share in points, as a change of many points in a large class is otherwise compared with what the small classes do.
Which classes are rare depends on both windows together, so dealing does not change it.

What counts is the rarest of these, and how often chance gives one that is as rare (the min-p test: Tippett 1931,
Westfall and Young 1993); so the test keeps its level exactly, however often it looks.

The lot is drawn with a seed taken from the counts, and with integers only, so that the same two windows have the same
p-value on any machine. Neither names nor order of the classes, nor which window comes first, can change it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import getitem, itemgetter
from random import Random
from typing import NamedTuple

from loom.drift.distance import Pairs, is_turned, js_term, totals
from loom.drift.lot import Lot, excess_of, ranks, rarest
from loom.policies.canonical import canonical

__all__ = ["LOOKS", "Permutations", "permutation_test", "seed_of"]

LOOKS = ("pattern", "pooled", "class", "points")
"""The ways to look at two windows that are filled by lot."""

_DOMAIN = b"loom/drift/permutation/v2\n"
_FIXED_POINT = 1 << 44
"""Divergences are added as integers: in whatever order, equal tables have equal sums, and a tie is a tie.

There are fewer digits than a float has, so that the last one, in which mathematical libraries differ, decides nothing.
"""

_ADDS, _ALONE, _POINTS = itemgetter(0), itemgetter(1), itemgetter(2)


@dataclass(frozen=True, slots=True)
class Permutations:
    """The result of the test: the p-value, that of each statistic, and the divergence of such windows by chance alone.

    Each is (1 + as extreme ones) / (1 + `permutations`), which is never 0 and never promises too much (Phipson and
    Smyth 2010). `mean` and `upper` are the mean and the 95th percentile of the divergence under no change, in bits.
    `excess` says how far the windows lie apart beyond what chance gives, as a share of what is left to 1.
    """

    p_value: float
    looks: dict[str, float]
    permutations: int
    seed: str
    mean: float
    upper: float
    excess: float


def permutation_test(
    pairs: Pairs, *, permutations: int, groups: Sequence[str] | None = None, pool_below: int = 5
) -> Permutations:
    """Return the test of a table with so many permutations; raise `WindowError` where a window is empty.

    `groups` says of each class what its outcome is: rare classes are pooled with those of the same outcome, and each
    outcome as a whole is looked at like a class.
    """
    totals(pairs)
    grouped = _grouped(pairs, ["" for _ in pairs] if groups is None else groups)
    seed = hashlib.sha256(_DOMAIN + canonical([[list(pair) for pair in each] for each in grouped])).hexdigest()
    random = Random(int(seed, 16))  # noqa: S311 - to be the same again, not to be secret
    dealer = _Dealer(grouped, random, pool_below=pool_below)
    drawn = list(zip(dealer.observed, *(dealer.deal() for _ in range(permutations)), strict=True))
    by_look = [ranks(each) for each in drawn]
    every = permutations + 1
    patterns, pooled = drawn[0], drawn[1]
    chance = sorted(patterns[1:])
    mean = sum(chance) / permutations / _FIXED_POINT
    return Permutations(
        p_value=rarest(by_look) / every,
        looks={name: found[0] / every for name, found in zip(LOOKS, by_look, strict=True)},
        permutations=permutations,
        seed=seed,
        mean=mean,
        upper=chance[math.ceil(0.95 * permutations) - 1] / _FIXED_POINT,
        excess=max(
            excess_of(patterns[0] / _FIXED_POINT, mean),
            excess_of(pooled[0] / _FIXED_POINT, sum(pooled[1:]) / permutations / _FIXED_POINT),
        ),
    )


def seed_of(pairs: Pairs) -> str:
    """Return the SHA-256 over the counts of classes of one outcome: sorted, without names, the smaller window first."""
    counts = [[list(pair) for pair in each] for each in _grouped(pairs, ["" for _ in pairs])]
    return hashlib.sha256(_DOMAIN + canonical(counts)).hexdigest()


def _grouped(pairs: Pairs, groups: Sequence[str]) -> list[list[tuple[int, int]]]:
    """Return a table in its one form: by outcome and sorted, without names, the smaller window first."""
    turned = is_turned(pairs)
    found: dict[str, list[tuple[int, int]]] = {}
    for (a, b), group in zip(pairs, groups, strict=True):
        if a + b:
            found.setdefault(group, []).append((b, a) if turned else (a, b))
    ways = [sorted(sorted(each) for each in found.values())]
    if sum(a for a, _ in pairs) == sum(b for _, b in pairs):  # then only the whole table says which way round it is
        ways.append(sorted(sorted((b, a) for a, b in each) for each in found.values()))
    return min(ways)


class _Seen(NamedTuple):
    """What a class is with so many cases taken: what it adds, alone against all others, and the change of its share."""

    adds: int
    alone: int
    points: int


class _Dealer:
    """Deals all cases out again, and returns how far the two windows then lie apart, in each way, as integers."""

    def __init__(self, grouped: Sequence[Pairs], random: Random, *, pool_below: int = 5) -> None:
        first, second = sizes = totals([pair for each in grouped for pair in each])
        every_case = first + second
        self.sums: list[int] = []
        self._terms: list[_Terms] = []
        self._groups: list[tuple[int, int, int, _Terms, _Terms]] = []
        taken: list[int] = []
        tables: dict[int, _Terms] = {}
        for each in grouped:
            common = [(a, b) for a, b in each if (a + b) * first >= pool_below * every_case and a + b > 1]
            rare = [(a, b) for a, b in each if (a + b) * first < pool_below * every_case and a + b > 1]
            start = len(self.sums)
            for a, b in (*common, *rare):
                self.sums.append(a + b)
                self._terms.append(tables.setdefault(a + b, _Terms(a + b, sizes)))
                taken.append(a)
            # Classes of one case are as good as one class of so many: what they add is a matter of how many are taken.
            if alone := sum(a + b == 1 for a, b in each):
                self.sums.append(alone)
                self._terms.append(_Singles(alone, sizes))
                taken.append(sum(a for a, b in each if a + b == 1))
            every, pool = sum(self.sums[start:]), sum(self.sums[start + len(common) :])
            self._groups.append((start, start + len(common), len(self.sums), _Terms(every, sizes), _Terms(pool, sizes)))
        self.lot = Lot(self.sums, first, random)
        self.observed = self._apart(taken)

    def deal(self) -> tuple[int, int, int, int]:
        """Return how far windows that are filled by lot lie apart, as `LOOKS` names it."""
        return self._apart(self.lot.draw())

    def _apart(self, taken: Sequence[int]) -> tuple[int, int, int, int]:
        found = list(map(getitem, self._terms, taken))
        alone, points, pooled = max(map(_ALONE, found)), max(map(_POINTS, found)), 0
        for start, rare, end, outcome, pool in self._groups:
            in_pool = sum(taken[rare:end])
            whole, rest = outcome[in_pool + sum(taken[start:rare])], pool[in_pool]
            pooled += sum(map(_ADDS, found[start:rare])) + rest.adds
            alone = max(alone, whole.alone, rest.alone)
            points = max(points, whole.points, rest.points)
        return sum(map(_ADDS, found)), pooled, alone, points


class _Terms(dict[int, _Seen]):
    """What a class is worth in each way to look; computed when first needed.

    The key is how many of its cases the smaller window has.
    """

    def __init__(self, total: int, sizes: tuple[int, int]) -> None:
        super().__init__()
        self.total = total
        self.sizes = sizes

    def __missing__(self, taken: int) -> _Seen:
        seen = self[taken] = self.seen(taken)
        return seen

    def seen(self, taken: int) -> _Seen:
        """Return all of it for a class of which so many cases are taken."""
        return _fixed(taken, self.total - taken, *self.sizes)


class _Singles(_Terms):
    """The same for all classes of one case together."""

    def seen(self, taken: int) -> _Seen:
        """Return all of it for so many classes that are taken."""
        left = self.total - taken
        one, other = _fixed(1, 0, *self.sizes), _fixed(0, 1, *self.sizes)
        seen = [each for each, there in ((one, taken), (other, left)) if there]
        return _Seen(
            taken * one.adds + left * other.adds,
            max((each.alone for each in seen), default=0),
            max((each.points for each in seen), default=0),
        )


def _fixed(a: int, b: int, first: int, second: int) -> _Seen:
    adds = js_term(a, b, first, second)
    others = js_term(first - a, second - b, first, second)
    return _Seen(round(adds * _FIXED_POINT), round((adds + others) * _FIXED_POINT), abs(a * second - b * first))
