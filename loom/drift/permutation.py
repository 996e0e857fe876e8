"""The permutation test: how often windows that were filled by lot lie at least as far apart as the two at hand.

All decisions of both windows are laid together and dealt out again, as many to each window as it had. How far apart two
windows lie is looked at in two ways, as a change of many classes by a little each and a change of one class alone show
best in different ones: by the divergence of the whole pattern, and by the largest divergence that one class has when it
is set against all others. What counts is the rarer of the two, and how often chance gives one that is as rare (the
min-p test: Tippett 1931, Westfall and Young 1993); so the test keeps its level exactly, with both looked at.

The lot is drawn with a seed taken from the counts, and with integers only, so that the same two windows have the same
p-value on any machine. Neither names nor order of the classes, nor which window comes first, can change it.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import getitem, itemgetter
from random import Random

from loom.drift.distance import Pairs, js_term, oriented, totals
from loom.policies.canonical import canonical

__all__ = ["Permutations", "permutation_test", "seed_of"]

_DOMAIN = b"loom/drift/permutation/v1\n"
_FIXED_POINT = 1 << 44
"""Divergences are added as integers: in whatever order, equal tables have equal sums, and a tie is a tie.

There are fewer digits than a float has, so that the last one, in which mathematical libraries differ, decides nothing.
"""

_FIRST, _SECOND = itemgetter(0), itemgetter(1)


@dataclass(frozen=True, slots=True)
class Permutations:
    """What came of the test: the p-value, how it was got, and how far apart chance alone lays such windows.

    `p_pattern` and `p_class` are the p-values of the two ways to look alone. Each is (1 + as extreme ones) /
    (1 + `permutations`), which is never 0 and never promises too much (Phipson and Smyth 2010). `mean` and `upper` are
    the mean and the 95th percentile of the divergence under no change, in bits.
    """

    p_value: float
    p_pattern: float
    p_class: float
    permutations: int
    seed: str
    mean: float
    upper: float


def permutation_test(pairs: Pairs, *, permutations: int) -> Permutations:
    """Return the test of a table with so many permutations; raise `WindowError` where a window is empty."""
    ordered = oriented(pairs)
    seed = seed_of(ordered)
    random = Random(int(seed, 16))  # noqa: S311 - to be the same again, not to be secret
    dealer = _Dealer(ordered, random)
    patterns, classes = zip(dealer.observed, *(dealer.deal() for _ in range(permutations)), strict=True)
    by_pattern, by_class = _ranks(patterns), _ranks(classes)
    rarer = [min(each) for each in zip(by_pattern, by_class, strict=True)]
    all_of_them = permutations + 1
    chance = sorted(patterns[1:])
    return Permutations(
        p_value=sum(each <= rarer[0] for each in rarer) / all_of_them,
        p_pattern=by_pattern[0] / all_of_them,
        p_class=by_class[0] / all_of_them,
        permutations=permutations,
        seed=seed,
        mean=sum(chance) / permutations / _FIXED_POINT,
        upper=chance[math.ceil(0.95 * permutations) - 1] / _FIXED_POINT,
    )


def seed_of(pairs: Pairs) -> str:
    """Return the SHA-256 over the counts, as 64 hex digits: sorted and without names, the smaller window first."""
    counts = [list(pair) for pair in oriented(pairs)]
    return hashlib.sha256(_DOMAIN + canonical(counts)).hexdigest()


def _ranks(found: Sequence[int]) -> list[int]:
    """Return for each how many are at least as large, itself among them."""
    ordered = sorted(found)
    return [len(ordered) - bisect_left(ordered, each) for each in found]


class _Dealer:
    """Deals all cases out again, and returns how far the two windows then lie apart, in both ways, in fixed point.

    A window of n among N cases is a subset drawn by lot. Each case is first taken or left with about the right chance,
    which for a whole class is one draw of bits and their count; then single cases are added or put back, by lot, until
    there are n. By symmetry every subset of n is as likely as any other, whatever the first chance was.
    """

    def __init__(self, pairs: Pairs, random: Random) -> None:
        first, second = sizes = totals(pairs)
        sums = [a + b for a, b in pairs]
        alone = sums.count(1)
        # Classes of one case are as good as one class of so many: what they add is a matter of how many are taken.
        self._sums = [each for each in sums if each > 1] + ([alone] if alone else [])
        tables = {each: _Terms(each, sizes) for each in set(sums) if each > 1}
        self._terms = [tables[each] for each in sums if each > 1] + ([_Singles(alone, sizes)] if alone else [])
        taken = [a for a, b in pairs if a + b > 1] + ([sum(a for a, b in pairs if a + b == 1)] if alone else [])
        self.observed = self._apart(taken)
        self._size, self._all = first, first + second
        self._starts = [0, *accumulate(self._sums)]
        self._bits = random.getrandbits
        self._width = self._all.bit_length()
        self._chance = _chance(first, second)

    def deal(self) -> tuple[int, int]:
        """Return the divergence of the whole pattern and the largest of one class, of windows filled by lot."""
        taken = self._taken()
        self._repair(taken)
        return self._apart(taken)

    def _apart(self, taken: Sequence[int]) -> tuple[int, int]:
        found = list(map(getitem, self._terms, taken))
        return sum(map(_FIRST, found)), max(map(_SECOND, found))

    def _taken(self) -> list[int]:
        """Return how many cases of each class are taken at first, each case with the chance that the digits spell."""
        bits, digits = self._bits, self._chance
        if digits == (True,):
            return [bits(each).bit_count() for each in self._sums]
        taken = []
        for each in self._sums:
            chosen = 0
            for digit in digits:
                chosen = chosen | bits(each) if digit else chosen & bits(each)
            taken.append(chosen.bit_count())
        return taken

    def _repair(self, taken: list[int]) -> None:
        """Add or put back single cases by lot. The first cases of a class are those that are taken, by convention."""
        missing = self._size - sum(taken)
        step = 1 if missing > 0 else -1
        starts, every, width, bits = self._starts, self._all, self._width, self._bits
        while missing:
            case = bits(width)
            if case >= every:
                continue
            place = bisect_right(starts, case) - 1
            if (case - starts[place] < taken[place]) == (step < 0):
                taken[place] += step
                missing -= step


def _chance(size: int, other: int) -> tuple[bool, ...]:
    """Return binary digits of the chance to be taken, the last one first: none is a chance of 0, one is a half.

    It is rounded down, and lower still where few are taken: to add one by lot is quick, to put one of few back is not.
    """
    every = size + other
    places = max(8, every.bit_length() // 2 + 2)
    wanted = size if 8 * size >= every else max(0, size - 2 * math.isqrt(size))
    digits = (wanted << places) // every
    while digits and not digits & 1:
        digits, places = digits >> 1, places - 1
    return tuple(bool(digits >> place & 1) for place in range(places)) if digits else ()


class _Terms(dict[int, tuple[int, int]]):
    """What a class adds to the divergence, and its divergence against all others; computed when first needed.

    The key is how many of its cases the smaller window has.
    """

    def __init__(self, total: int, sizes: tuple[int, int]) -> None:
        super().__init__()
        self.total = total
        self.sizes = sizes

    def __missing__(self, taken: int) -> tuple[int, int]:
        terms = self[taken] = self.terms(taken)
        return terms

    def terms(self, taken: int) -> tuple[int, int]:
        """Return both for a class of which so many cases are taken."""
        return _fixed(taken, self.total - taken, *self.sizes)


class _Singles(_Terms):
    """The same for all classes of one case together."""

    def terms(self, taken: int) -> tuple[int, int]:
        """Return both for so many classes that are taken."""
        left = self.total - taken
        (adds, alone), (adds_left, alone_left) = _fixed(1, 0, *self.sizes), _fixed(0, 1, *self.sizes)
        return taken * adds + left * adds_left, max(alone if taken else 0, alone_left if left else 0)


def _fixed(a: int, b: int, first: int, second: int) -> tuple[int, int]:
    adds = js_term(a, b, first, second)
    others = js_term(first - a, second - b, first, second)
    return round(adds * _FIXED_POINT), round((adds + others) * _FIXED_POINT)
