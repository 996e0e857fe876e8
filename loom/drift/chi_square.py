"""Pearson's chi-square test that two windows have one distribution, with rare classes pooled.

The test uses a normal approximation, which is not valid for classes with very small expected counts; so those are
counted together as one (Cochran 1954). The p-value is the regularised upper incomplete gamma function (DLMF 8.2, 8.9,
8.11).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from loom.drift.distance import Pairs, is_turned, totals

__all__ = ["ChiSquare", "Pooled", "chi_square", "chi_square_p", "gamma_q", "pool"]

_MOST_STEPS = 100_000
_TINY = 1e-300
_CLOSE = 1e-16


@dataclass(frozen=True, slots=True)
class Pooled:
    """A table whose rare classes are one: `cells` are the remaining ones, the pool last; `pooled` are their indexes."""

    cells: tuple[tuple[int, int], ...]
    pooled: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ChiSquare:
    """The statistic, its degrees of freedom, the p-value, and how many classes were counted as one.

    With less than two cells left there is nothing to test: 0 degrees, and a p-value of 1.
    """

    statistic: float
    degrees: int
    p_value: float
    pooled: int


def chi_square(pairs: Pairs, *, pool_below: int = 5) -> ChiSquare:
    """Return the test of a table; classes that are expected less than `pool_below` times in a window are pooled.

    Raises `WindowError` where a window is empty.
    """
    first, second = totals(pairs)
    found = pool(pairs, below=pool_below)
    if len(found.cells) < 2:
        return ChiSquare(statistic=0.0, degrees=0, p_value=1.0, pooled=len(found.pooled))
    # Σ (observed-expected)² / expected over both columns, in one quotient of integers for each class.
    whole = math.fsum((a * second - b * first) ** 2 / (a + b) for a, b in found.cells)
    statistic = whole / (first * second)
    degrees = len(found.cells) - 1
    return ChiSquare(statistic, degrees, chi_square_p(statistic, degrees), len(found.pooled))


def pool(pairs: Pairs, *, below: int) -> Pooled:
    """Count rare classes as one, until the pool is no longer rare itself; classes that never occur are left out.

    Neither names, nor order, nor which window comes first matter: of classes that are as rare, those go first that
    have fewer cases in the smaller window.
    """
    first, second = totals(pairs)
    there = [place for place, (a, b) in enumerate(pairs) if a + b]
    turned = is_turned(pairs)
    rarest = sorted(there, key=lambda place: (sum(pairs[place]), pairs[place][:: -1 if turned else 1]))
    share = Fraction(min(first, second), first + second)
    held = chosen = 0
    for place in rarest:
        total = sum(pairs[place])
        if total * share >= below and (chosen == 0 or held * share >= below):
            break
        held, chosen = held + total, chosen + 1
    pooled = tuple(sorted(rarest[:chosen]))
    kept = [pairs[place] for place in there if place not in set(pooled)]
    if pooled:
        kept.append((sum(pairs[place][0] for place in pooled), sum(pairs[place][1] for place in pooled)))
    return Pooled(tuple(kept), pooled)


def chi_square_p(statistic: float, degrees: int) -> float:
    """Return the probability of a statistic at least so large if nothing changed."""
    return gamma_q(degrees / 2, statistic / 2)


def gamma_q(a: float, x: float) -> float:
    """Return the regularised upper incomplete gamma function Q(a, x) for a > 0 and x >= 0."""
    if x <= 0:
        return 1.0
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    value = 1 - front * _series(a, x) if x < a + 1 else front * _fraction(a, x)
    return min(1.0, max(0.0, value))


def _series(a: float, x: float) -> float:
    """Return Σ xⁿ / (a·(a+1)·…·(a+n)), which converges fast below a + 1."""
    term = total = 1 / a
    for step in range(1, _MOST_STEPS):
        term *= x / (a + step)
        total += term
        if term < total * _CLOSE:
            break
    return total


def _fraction(a: float, x: float) -> float:
    """Return the continued fraction of Γ(a, x) by the modified method of Lentz, which converges fast above a + 1."""
    b = x + 1 - a
    c, d = 1 / _TINY, 1 / b
    value = d
    for step in range(1, _MOST_STEPS):
        factor = step * (a - step)
        b += 2
        d = 1 / _away_from_zero(factor * d + b)
        c = _away_from_zero(b + factor / c)
        value *= d * c
        if abs(d * c - 1) < _CLOSE * 10:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
