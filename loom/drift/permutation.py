"""The permutation test: how often windows that were filled by lot lie at least as far apart as the two at hand.

All decisions of both windows are laid together and dealt out again, as many to each window as it had. The lot is drawn
with a seed taken from the counts, and with integers only, so that the same two windows have the same p-value on any
machine. Neither the names of the classes, nor their order, nor which window comes first can change it.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import getitem
from random import Random

from loom.drift.distance import Pairs, js_term, oriented, totals
from loom.policies.canonical import canonical

__all__ = ["Permutations", "permutation_test", "seed_of"]

_DOMAIN = b"loom/drift/permutation/v1\n"
_FIXED_POINT = 1 << 60
"""Divergences are added as integers: in whatever order, equal tables have equal sums, and a tie is a tie."""


@dataclass(frozen=True, slots=True)
class Permutations:
    """What came of the test: the p-value, how it was got, and how far apart chance alone lays such windows.

    `p_value` is (1 + `exceeding`) / (1 + `permutations`), which is never 0 and never promises too much (Phipson and
    Smyth 2010). `mean` and `upper` are the mean and the 95th percentile of the divergence under no change, in bits.
    """

    p_value: float
    exceeding: int
    permutations: int
    seed: str
    mean: float
    upper: float


def permutation_test(pairs: Pairs, *, permutations: int) -> Permutations:
    """Return the test of a table by its Jensen–Shannon divergence; raise `WindowError` where a window is empty."""
    ordered = oriented(pairs)
    sizes = totals(ordered)
    seed = seed_of(pairs)
    observed = sum(_fixed(a, b, *sizes) for a, b in ordered)
    random = Random(int(seed, 16))  # noqa: S311 - to be the same again, not to be secret
    deal = _Dealer([a + b for a, b in ordered], sizes, random)
    dealt = sorted(deal() for _ in range(permutations))
    exceeding = permutations - bisect_right(dealt, observed - 1)
    return Permutations(
        p_value=(1 + exceeding) / (1 + permutations),
        exceeding=exceeding,
        permutations=permutations,
        seed=seed,
        mean=sum(dealt) / permutations / _FIXED_POINT,
        upper=dealt[math.ceil(0.95 * permutations) - 1] / _FIXED_POINT,
    )


def seed_of(pairs: Pairs) -> str:
    """Return the SHA-256 over the counts, as 64 hex digits: sorted and without names, the smaller window first."""
    counts = [list(pair) for pair in oriented(pairs)]
    return hashlib.sha256(_DOMAIN + canonical(counts)).hexdigest()


class _Dealer:
    """Deals all cases out again, and returns how far the two windows then lie apart, in fixed point.

    A window of n among N cases is a subset drawn by lot. Each case is first taken or left with about the right chance,
    which for a whole class is one draw of bits and their count; then single cases are added or put back, by lot, until
    there are n. By symmetry every subset of n is as likely as any other, whatever the first chance was.
    """

    def __init__(self, sums: Sequence[int], sizes: tuple[int, int], random: Random) -> None:
        alone = Counter(sums)[1]
        # Classes of one case are as good as one class of so many: what they add is a matter of how many are taken.
        self._sums = [each for each in sums if each > 1] + ([alone] if alone else [])
        self._terms: list[_Terms] = [_Terms(each, sizes) for each in sums if each > 1]
        if alone:
            self._terms.append(_Singles(alone, sizes))
        self._size = sizes[0]
        self._starts = [0, *accumulate(self._sums)]
        self._all = sum(sizes)
        self._bits = random.getrandbits
        self._width = self._all.bit_length()
        self._chance = _chance(*sizes)

    def __call__(self) -> int:
        taken = self._taken()
        self._repair(taken)
        return sum(map(getitem, self._terms, taken))

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


class _Terms(dict[int, int]):
    """What a class adds to the divergence, by how many of its cases the smaller window has; computed when needed."""

    def __init__(self, total: int, sizes: tuple[int, int]) -> None:
        super().__init__()
        self.total = total
        self.sizes = sizes

    def __missing__(self, taken: int) -> int:
        term = self[taken] = self.term(taken)
        return term

    def term(self, taken: int) -> int:
        return _fixed(taken, self.total - taken, *self.sizes)


class _Singles(_Terms):
    """The same for all classes of one case together."""

    def term(self, taken: int) -> int:
        return taken * _fixed(1, 0, *self.sizes) + (self.total - taken) * _fixed(0, 1, *self.sizes)


def _fixed(a: int, b: int, first: int, second: int) -> int:
    return round(js_term(a, b, first, second) * _FIXED_POINT)
