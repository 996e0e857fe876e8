"""`python -m benchmarks.drift_rates [--pairs N]`: how often drift is cried where there is none, and found where it is.

Windows are drawn by lot from known shares of 30 classes. The time is that of one permutation test as it is set up by
default; alpha is 0.05.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Sequence

from loom.drift import DriftParams
from loom.drift.permutation import permutation_test

EVEN = [1.0] * 30
LONG_TAIL = [1 / (rank + 1) for rank in range(30)]
HALF = [0.5, *[0.5 / 29] * 29]
QUICK = 999
"""Permutations for the rates: with so many, p < 0.05 means the same as with more."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift_rates", description=__doc__)
    parser.add_argument("--pairs", type=int, default=1_000, help="pairs of windows for each rate")
    given = parser.parse_args()
    print("no change, 200 against 200: share of alarms (aim: at most 7 %)")
    for name, shares in (("even", EVEN), ("long tail", LONG_TAIL), ("half in one class", HALF)):
        print(f"  {name:<38} {rates(shares, shares, size=200, pairs=given.pairs)}")
    print("one class up by 15 points, 500 against 500: share found (aim: at least 95 %)")
    for name, shares, place in (
        ("even, any class (3 % before)", EVEN, 0),
        ("long tail, last class (1 % before)", LONG_TAIL, 29),
        ("long tail, second class (13 % before)", LONG_TAIL, 1),
        ("long tail, first class (25 % before)", LONG_TAIL, 0),
        ("half in one class, that one (50 %)", HALF, 0),
    ):
        print(f"  {name:<38} {rates(shares, shifted(shares, place), size=500, pairs=given.pairs)}")
    print(f"one test with {DriftParams().permutations:,} permutations")
    for classes, size in ((30, 200), (30, 500), (30, 5_000), (30, 100_000), (5_000, 20_000)):
        print(f"  {f'{classes:,} classes, {size:,} against {size:,}':<38} {seconds(classes, size):.3f} s")


def rates(before: Sequence[float], after: Sequence[float], *, size: int, pairs: int) -> str:
    """Return how often p was below 0.05: for the test, and for the divergence of the pattern alone."""
    by = random.Random(2026)  # noqa: S311 - to be the same again
    whole = pattern = 0
    for _ in range(pairs):
        found = permutation_test(drawn(before, after, size, by), permutations=QUICK)
        whole += found.p_value < 0.05
        pattern += found.p_pattern < 0.05
    return f"{whole / pairs:6.1%}   (by the divergence of the pattern alone {pattern / pairs:.1%})"


def seconds(classes: int, size: int) -> float:
    """Return how long one test takes, the median of three."""
    shares = [1.0] * 30 if classes == 30 else [1 / (rank + 1) for rank in range(classes)]
    table = drawn(shares, shares, size, random.Random(1))  # noqa: S311
    took = []
    for _ in range(3):
        began = time.perf_counter()
        permutation_test(table, permutations=DriftParams().permutations)
        took.append(time.perf_counter() - began)
    return sorted(took)[1]


def shifted(shares: Sequence[float], place: int, by: float = 0.15) -> list[float]:
    """Return the shares after one class gained so much, and the others lost it in proportion."""
    parts = [each / sum(shares) for each in shares]
    left = (1 - parts[place] - by) / (1 - parts[place])
    return [part + by if at == place else part * left for at, part in enumerate(parts)]


def drawn(before: Sequence[float], after: Sequence[float], size: int, by: random.Random) -> list[tuple[int, int]]:
    """Return the counts of two windows of this size."""
    first = Counter(by.choices(range(len(before)), before, k=size))
    second = Counter(by.choices(range(len(after)), after, k=size))
    return [(first[place], second[place]) for place in range(len(before))]


if __name__ == "__main__":
    main()
