"""Windows drawn by lot from known shares, for tests that need a change, or none, for certain."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

__all__ = ["EVEN", "LONG_TAIL", "drawn", "shifted"]

EVEN = [1.0] * 30
"""Thirty classes that are equally likely."""

LONG_TAIL = [1 / (rank + 1) for rank in range(30)]
"""Thirty classes, a few of which hold most of the cases."""


def drawn(
    before: Sequence[float], after: Sequence[float], *, sizes: tuple[int, int], by: random.Random
) -> list[tuple[int, int]]:
    """Return the counts of two windows of these sizes."""
    first = Counter(by.choices(range(len(before)), before, k=sizes[0]))
    second = Counter(by.choices(range(len(after)), after, k=sizes[1]))
    return [(first[place], second[place]) for place in range(len(before))]


def shifted(weights: Sequence[float], place: int, *, by: float) -> list[float]:
    """Return the shares after one class has gained so much, and the others have lost it in proportion."""
    shares = [each / sum(weights) for each in weights]
    left = (1 - shares[place] - by) / (1 - shares[place])
    return [share + by if at == place else share * left for at, share in enumerate(shares)]
