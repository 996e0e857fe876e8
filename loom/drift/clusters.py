"""The permutation test where subjects decided several times: whole subjects are permuted.

Decisions of one subject are correlated: a persona with one intent meets six steps with it. If its decisions were
permuted one by one, they would count as six cases, and two windows of different people would differ by more than such a
test expects. So subjects are pooled and distributed again, as many to each window as it had, each with all its
decisions. The statistics are the same as for single decisions.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from loom.drift.distance import js_term
from loom.drift.lot import Lot, excess_of, ranks, rarest
from loom.drift.permutation import LOOKS, Permutations
from loom.policies.canonical import canonical

__all__ = ["cluster_test"]

_DOMAIN = b"loom/drift/clusters/v1\n"
_MOST_WORK = 20_000_000
_LEAST_DRAWS = 999
_DIGITS = 10
"""Divergences are compared as far as mathematical libraries agree."""

_Kind: TypeAlias = tuple[tuple[str, int], ...]
_Seen: TypeAlias = tuple[float, float, float, float]


def cluster_test(
    before: Sequence[Mapping[str, int]],
    now: Sequence[Mapping[str, int]],
    outcomes: Mapping[str, str],
    *,
    permutations: int,
    pool_below: int = 5,
) -> Permutations:
    """Return the test of two windows of subjects, each with its decisions by class; no subject is without any.

    Of many subjects with much in common to none there are fewer draws, at least 999, so that it takes seconds. Neither
    their order nor which window comes first changes it.
    """
    sides = [Counter(tuple(sorted(each.items())) for each in side) for side in (before, now)]
    sides.sort(key=lambda each: (each.total(), sorted(each.items())))
    kinds = sorted({*sides[0], *sides[1]})
    written = [[[list(entry) for entry in kind], sides[0][kind], sides[1][kind]] for kind in kinds]
    seed = hashlib.sha256(_DOMAIN + canonical(written)).hexdigest()
    table = _Table.of(kinds, sides, outcomes, pool_below=pool_below)
    lot = Lot([sides[0][kind] + sides[1][kind] for kind in kinds], sides[0].total(), Random(int(seed, 16)))  # noqa: S311
    work = sum(map(len, kinds)) + 10 * len(table.totals)
    draws = min(permutations, max(_LEAST_DRAWS, _MOST_WORK // work))
    observed = table.apart([sides[0][kind] for kind in kinds])
    drawn = list(zip(observed, *(table.apart(lot.draw()) for _ in range(draws)), strict=True))
    by_look = [ranks([round(each, _DIGITS) for each in found]) for found in drawn]
    chance = sorted(drawn[0][1:])
    mean = math.fsum(chance) / draws
    return Permutations(
        p_value=rarest(by_look) / (draws + 1),
        looks={name: found[0] / (draws + 1) for name, found in zip(LOOKS, by_look, strict=True)},
        permutations=draws,
        seed=seed,
        mean=mean,
        upper=chance[math.ceil(0.95 * draws) - 1],
        excess=max(excess_of(observed[0], mean), excess_of(observed[1], math.fsum(drawn[1][1:]) / draws)),
    )


@dataclass(frozen=True, slots=True)
class _Table:
    """What kinds of subjects there are, by classes and by what classes are part of."""

    kinds: list[list[tuple[int, int]]]
    totals: list[int]
    entropy: list[float]
    """x log x, for every number of decisions that a class can have."""
    cells: list[tuple[list[int], int]]
    """Which classes make a cell, and how many decisions it has: a common one by itself, rare ones by outcome."""
    outcomes: list[tuple[list[int], int]]

    @classmethod
    def of(
        cls,
        kinds: Sequence[_Kind],
        sides: Sequence[Counter[_Kind]],
        outcomes: Mapping[str, str],
        *,
        pool_below: int,
    ) -> _Table:
        """Return the table; which classes are rare is asked of both windows together."""
        total: Counter[str] = Counter()
        for kind in kinds:
            for name, n in kind:
                total[name] += n * (sides[0][kind] + sides[1][kind])
        place = {name: at for at, name in enumerate(sorted(total))}
        cells: dict[str, list[int]] = {}
        by_outcome: dict[str, list[int]] = {}
        for name, at in place.items():
            rare = total[name] < 2 * pool_below
            cells.setdefault(f"rest {outcomes[name]}" if rare else f"class {name}", []).append(at)
            by_outcome.setdefault(outcomes[name], []).append(at)
        totals = [total[name] for name in place]
        return cls(
            [[(place[name], n) for name, n in kind] for kind in kinds],
            totals,
            [x * math.log2(x) if x else 0.0 for x in range(max(totals, default=0) + 1)],
            [(each, sum(totals[at] for at in each)) for each in cells.values()],
            [(each, sum(totals[at] for at in each)) for each in by_outcome.values()],
        )

    def apart(self, taken: Sequence[int]) -> _Seen:
        """Return how far windows lie apart, as `LOOKS` names it, of which the first has so many of each kind."""
        counts = [0] * len(self.totals)
        for kind, many in zip(self.kinds, taken, strict=True):
            if many:
                for at, n in kind:
                    counts[at] += many * n
        first = sum(counts)
        second = sum(self.totals) - first
        pooled = alone = points = 0.0
        for part, is_cell in ((self.cells, True), (self.outcomes, False)):
            for members, total in part:
                a = sum([counts[at] for at in members])
                adds = js_term(a, total - a, first, second)
                alone = max(alone, adds + js_term(first - a, second - total + a, first, second))
                points = max(points, abs(a / first - (total - a) / second))
                pooled += adds if is_cell else 0.0
        return self._divergence(counts, first, second), min(1.0, pooled), alone, points

    def _divergence(self, counts: Sequence[int], first: int, second: int) -> float:
        """Return the divergence of all classes, by entropies: there may be thousands, and this is done for each draw.

        With a of `first`, b of `second` and s = a·second + b·first it is ½(Σ a log a / first + Σ b log b / second) -
        Σ s log s / (2·first·second) + what the sizes of the windows add.
        """
        others = [total - a for a, total in zip(counts, self.totals, strict=True)]
        both = [a * second + b * first for a, b in zip(counts, others, strict=True)]
        ours = sum(map(self.entropy.__getitem__, counts)) / first - math.log2(first)
        theirs = sum(map(self.entropy.__getitem__, others)) / second - math.log2(second)
        whole = 2 * first * second
        mixed = sum([s * math.log2(s) for s in both if s]) / whole - math.log2(whole)
        return min(1.0, max(0.0, (ours + theirs) / 2 - mixed))
