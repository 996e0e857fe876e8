"""The distance of two distributions over the same classes: the Jensen–Shannon divergence, to the base of 2.

Lin, "Divergence measures based on the Shannon entropy" (1991); its square root is a metric (Endres and Schindelin,
2003). A table is one pair of counts for each class: how often it occurs in the first window and in the second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from loom.errors import WindowError

__all__ = ["Pairs", "is_turned", "js_distance", "js_divergence", "js_term", "js_terms", "oriented", "totals"]

Pairs: TypeAlias = Sequence[tuple[int, int]]
"""How often each class occurs in two windows. The order of the classes does not count."""

_SMALL = 0.02


def js_divergence(pairs: Pairs) -> float:
    """Return the divergence in bits, 0 for equal distributions, 1 for such as share no class.

    Raises `WindowError` where one of the two has no count at all.
    """
    return min(1.0, math.fsum(js_terms(pairs)))


def js_distance(pairs: Pairs) -> float:
    """Return the square root of the divergence, 0..1."""
    return math.sqrt(js_divergence(pairs))


def js_terms(pairs: Pairs) -> list[float]:
    """Return what each class adds to the divergence, in bits; never negative, 0 where the shares are equal."""
    first, second = totals(pairs)
    return [js_term(a, b, first, second) for a, b in pairs]


def js_term(a: int, b: int, first: int, second: int) -> float:
    """Return what a class adds that occurs `a` times among `first` and `b` times among `second`.

    With p = a/first, q = b/second and d = (p-q)/(p+q) this is (p+q)/4 · ((1+d)·log2(1+d) + (1-d)·log2(1-d)). As d is
    one quotient of integers, equal shares give exactly 0, and a difference of one case among millions is not lost.
    """
    p, q = a * second, b * first
    if p == q:
        return 0.0
    weight = (p + q) / (4 * first * second)
    return weight * _spread((p - q) / (p + q)) / math.log(2)


def totals(pairs: Pairs) -> tuple[int, int]:
    """Return how many cases the two windows hold; raise `WindowError` where one holds none, or less."""
    first, second = sum(a for a, _ in pairs), sum(b for _, b in pairs)
    least = min((min(pair) for pair in pairs), default=0)
    if first <= 0 or second <= 0 or least < 0:
        raise WindowError(
            f"windows hold [{first}] and [{second}] cases, and a class [{least}] at least; expected at least [1] case "
            "in each and no negative counts: compare windows in which something was decided"
        )
    return first, second


def is_turned(pairs: Pairs) -> bool:
    """Tell whether the second window comes first in the canonical form of a table."""
    turned = [(b, a) for a, b in pairs]
    return _in_order(turned) < _in_order(pairs)


def oriented(pairs: Pairs) -> list[tuple[int, int]]:
    """Return a table in its canonical form: sorted, without classes that never occur, the smaller window first."""
    turned = is_turned(pairs)
    return sorted((b, a) if turned else (a, b) for a, b in pairs if a + b)


def _in_order(pairs: Pairs) -> tuple[int, list[tuple[int, int]]]:
    return sum(a for a, _ in pairs), sorted(pairs)


def _spread(d: float) -> float:
    """Return (1+d)·ln(1+d) + (1-d)·ln(1-d); near 0 by its series, as the two parts would cancel each other."""
    if abs(d) >= 1:
        return 2 * math.log(2)
    if abs(d) < _SMALL:
        square = d * d
        return square * (1 + square * (1 / 6 + square * (1 / 15 + square * (1 / 28 + square / 45))))
    return (1 + d) * math.log1p(d) + (1 - d) * math.log1p(-d)
