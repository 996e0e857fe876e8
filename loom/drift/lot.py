"""Fill a window at random: a subset of given size, of items of several kinds, each subset with equal probability."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from random import Random

__all__ = ["Lot", "excess_of", "ranks", "rarest"]


class Lot:
    """Draws how many things of each kind are in a window of `size`, of as many as `sums` says there are.

    Each thing is first taken or left with about the right chance, which for a whole kind is one draw of bits and their
    count; then single ones are added or put back, by lot, until there are `size`. By symmetry every subset of that size
    is as likely as any other, whatever the first chance was.
    """

    def __init__(self, sums: Sequence[int], size: int, random: Random) -> None:
        self.sums = sums
        self._size, self._all = size, sum(sums)
        self._starts = [0, *accumulate(sums)]
        self._bits = random.getrandbits
        self._width = self._all.bit_length()
        self._chance = _chance(size, self._all - size)

    def draw(self) -> list[int]:
        """Return how many of each kind are in the window."""
        taken = self._taken()
        self._repair(taken)
        return taken

    def _taken(self) -> list[int]:
        """Return how many cases of each class are taken at first, each case with the chance that the digits spell."""
        bits, digits = self._bits, self._chance
        if digits == (True,):
            return [bits(each).bit_count() for each in self.sums]
        taken = []
        for each in self.sums:
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


def excess_of(observed: float, expected: float) -> float:
    """Return by how much a divergence exceeds what chance gives, 0..1: 0 at chance, 1 at the most there can be."""
    return min(1.0, max(0.0, (observed - expected) / (1 - expected))) if expected < 1 else 0.0


def ranks(found: Sequence[float]) -> list[int]:
    """Return for each how many are at least as large, itself among them."""
    ordered = sorted(found)
    return [len(ordered) - bisect_left(ordered, each) for each in found]


def rarest(by_look: Sequence[Sequence[int]]) -> int:
    """Return how many draws, the first one among them, have a look that is as rare as the rarest of the first."""
    least = [min(each) for each in zip(*by_look, strict=True)]
    return sum(each <= least[0] for each in least)
