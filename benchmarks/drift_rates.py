"""`python -m benchmarks.drift_rates [--trials N]`: how often drift is cried where there is none, and found where it is.

Windows of 500 are drawn by lot from known shares of 30 classes, in two designs: as two samples, and as two looks at the
same subjects with fresh draws. Each rate stands with its standard error. Personas that walk until they drop give
several decisions each, of which some have no partner. Alpha is 0.05. At last, how long one test takes.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from math import sqrt

from loom.drift import DriftParams
from loom.drift.flips import Exchanged, flip_test
from loom.drift.judging import measure
from loom.drift.pairing import Naming, Sightings, pair_up
from loom.drift.permutation import permutation_test
from loom.drift.reading import Case

EVEN = [1.0] * 30
LONG_TAIL = [1 / (rank + 1) for rank in range(30)]
HALF = [0.5, *[0.5 / 29] * 29]
SIZE = 500
QUICK = 999
"""Draws for the rates: with so many, p < 0.05 means the same as with more."""

SHARES = (("30 even classes", EVEN), ("long tail", LONG_TAIL), ("half in one class", HALF))
SHIFTS = (
    ("even, any class (3 % before)", EVEN, 0),
    ("long tail, last class (1 % before)", LONG_TAIL, 29),
    ("long tail, second class (13 % before)", LONG_TAIL, 1),
    ("long tail, first class (25 % before)", LONG_TAIL, 0),
    ("half in one class, another (2 %)", HALF, 1),
    ("half in one class, that one (50 %)", HALF, 0),
)
OUTCOMES = {str(place): "yes" if place % 2 else "no" for place in range(30)}
"""Every second class is a refusal, so that pooling and looking at outcomes have something to do."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift_rates", description=__doc__)
    parser.add_argument("--trials", type=int, default=1_000, help="pairs of windows for each rate")
    given = parser.parse_args()
    for name, test in (("two samples", as_samples), ("the same subjects, fresh draws", as_pairs)):
        print(f"no change, {SIZE} against {SIZE}, {name}: share of alarms (aim: at most 7 %)")
        for shares_name, shares in SHARES:
            print(f"  {shares_name:<38} {rate(test, shares, shares, trials=given.trials)}")
        print(f"one class up by 15 points, {SIZE} against {SIZE}, {name}: share found (aim: at least 95 %)")
        for shift_name, shares, place in SHIFTS:
            print(f"  {shift_name:<38} {rate(test, shares, shifted(shares, place), trials=given.trials)}")
    print("personas that walk six steps until they drop, about 500 decisions against 500")
    for name, again in (("other personas either time", False), ("the same personas, fresh draws", True)):
        for attributes in (("step", "intent"), ("step",), ("intent",)):
            alarms = walks(attributes, again=again, later=0.85, trials=given.trials)
            found = walks(attributes, again=again, later=0.70, trials=given.trials)
            what = f"{name}, by {' and '.join(attributes)}"
            print(f"  {what:<52} alarms {alarms}   15 points fewer go on {found}")
    print(f"one test with {DriftParams().permutations:,} draws")
    for classes, size in ((30, 500), (30, 100_000), (5_000, 20_000)):
        print(f"  {f'{classes:,} classes, {size:,} against {size:,}':<38} {seconds(classes, size)}")


def as_samples(before: Sequence[float], after: Sequence[float], by: random.Random) -> float:
    """Return the p-value of two windows of other cases."""
    table = drawn(before, after, SIZE, by)
    return permutation_test(table, permutations=QUICK, groups=[OUTCOMES[str(each)] for each in range(30)]).p_value


def as_pairs(before: Sequence[float], after: Sequence[float], by: random.Random) -> float:
    """Return the p-value of two windows of the same subjects, drawn again each time."""
    places = [str(place) for place in range(len(before))]
    sides = by.choices(places, before, k=SIZE), by.choices(places, after, k=SIZE)
    units = [Exchanged({old: 1}, {new: 1}) for old, new in zip(*sides, strict=True)]
    return flip_test(units, OUTCOMES, permutations=QUICK).p_value


def rate(
    test: Callable[[Sequence[float], Sequence[float], random.Random], float],
    before: Sequence[float],
    after: Sequence[float],
    *,
    trials: int,
) -> str:
    """Return how often p was below 0.05."""
    by = random.Random(2026)  # noqa: S311 - to be the same again
    return _share([test(before, after, by) < 0.05 for _ in range(trials)])


def walks(attributes: Sequence[str], *, again: bool, later: float, trials: int) -> str:
    """Return how often p was below 0.05 where personas go on with 85 % at each step, and later with another share."""
    by, params = random.Random(2026), DriftParams(permutations=199)  # noqa: S311
    found = []
    for _ in range(trials):
        names = [f"a{number}" for number in range(130)]
        others = names if again else [f"b{number}" for number in range(130)]
        intents = {name: by.choice("uvwxyz") for name in (*names, *others)}
        sides = []
        for walking, chance in ((names, 0.85), (others, later)):
            sightings = Sightings(Naming(exact=("step",)))
            sightings.feed([each for name in walking for each in _walk(name, intents[name], chance, attributes, by)])
            sides.append(sightings)
        pairing = pair_up(*sides, minimum_subjects=params.minimum_subjects)
        counted = [Counter(s.precedent for each in side.by_subject.values() for s in each) for side in sides]
        counts = {each: (counted[0][each], counted[1][each]) for each in sorted({*counted[0], *counted[1]})}
        outcomes = {each: each.rpartition(" ")[2] for each in counts}
        measured = measure(counts, outcomes, params, pairing)
        found.append(measured.permutation is not None and measured.permutation.p_value < 0.05)
    return _share(found)


def _walk(name: str, intent: str, chance: float, attributes: Sequence[str], by: random.Random) -> list[Case]:
    """Return the decisions of a persona until it drops, or has come through."""
    cases = []
    for step in "123456":
        goes_on = by.random() < chance
        situation = " ".join({"step": step, "intent": intent}[each] for each in attributes)
        cases.append(
            Case(
                position=0,
                policy="walk",
                effect=None,
                situation=situation,
                precedent=f"{situation} {'CONTINUE' if goes_on else 'DROP'}",
                facts={"step": step},
                erased=False,
                journal=name,
            )
        )
        if not goes_on:
            break
    return cases


def seconds(classes: int, size: int) -> str:
    """Return how long a test takes in either design, the median of three."""
    shares = [1.0] * 30 if classes == 30 else [1 / (rank + 1) for rank in range(classes)]
    by, draws = random.Random(1), DriftParams().permutations  # noqa: S311
    table = drawn(shares, shares, size, by)
    names = [str(each) for each in range(classes)]
    said = dict.fromkeys(names, "")
    sides = by.choices(names, shares, k=size), by.choices(names, shares, k=size)
    units = [Exchanged({old: 1}, {new: 1}) for old, new in zip(*sides, strict=True)]
    took: dict[str, list[float]] = {"as samples": [], "in pairs": []}
    for _ in range(3):
        began = time.perf_counter()
        permutation_test(table, permutations=draws)
        took["as samples"].append(time.perf_counter() - began)
        began = time.perf_counter()
        flip_test(units, said, permutations=draws)
        took["in pairs"].append(time.perf_counter() - began)
    return ", ".join(f"{sorted(each)[1]:.2f} s {name}" for name, each in took.items())


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


def _share(found: Sequence[bool]) -> str:
    share = sum(found) / len(found)
    return f"{share:6.1%} ± {sqrt(share * (1 - share) / len(found)):.1%}"


if __name__ == "__main__":
    main()
