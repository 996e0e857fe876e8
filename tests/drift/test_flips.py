"""The sign-flip test: blind to order and to which window is the baseline, exact, and right about chance."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.drift.flips import FLIP_LOOKS, Exchanged, flip_test
from loom.drift.permutation import Permutations
from tests.drift.samples import EVEN, LONG_TAIL, shifted

HALF = [0.5, *[0.5 / 29] * 29]

Pair = tuple[str, str]

names = st.sampled_from(["a yes", "a no", "b yes", "b no", "c yes", "c no"])
decided = st.dictionaries(names, st.integers(1, 3), max_size=3)
units = st.lists(st.builds(Exchanged, decided, decided), min_size=1, max_size=30).filter(
    lambda given: any(each.before for each in given) and any(each.now for each in given)
)


def said(name: str) -> str:
    return name.rpartition(" ")[2]


def flipped(given: Sequence[Exchanged], permutations: int = 199) -> Permutations:
    classes = {name for each in given for side in (each.before, each.now) for name in side}
    return flip_test(given, {name: said(name) for name in classes}, permutations=permutations)


def turned(forth: int, back: int, same: int) -> list[Exchanged]:
    """Return pairs, each of a situation of its own: so many were refused, so many granted, the rest as before."""
    found = [Exchanged({f"{each} yes": 1}, {f"{each} no": 1}) for each in range(forth)]
    found += [Exchanged({f"{each} no": 1}, {f"{each} yes": 1}) for each in range(forth, forth + back)]
    return found + [Exchanged({f"{each} yes": 1}, {f"{each} yes": 1}) for each in range(1_000, 1_000 + same)]


@given(units, st.randoms(use_true_random=False))
def test_neither_the_order_of_units_nor_which_window_comes_first_count(
    given: list[Exchanged], order: random.Random
) -> None:
    found = flipped(given)
    assert flipped(order.sample(given, len(given))) == found
    again = flipped([Exchanged(each.now, each.before) for each in given])
    assert (again.p_value, again.looks, again.seed) == (found.p_value, found.looks, found.seed)
    assert again.mean == pytest.approx(found.mean)
    assert again.excess == pytest.approx(found.excess)


@given(units)
def test_a_p_value_is_a_share_of_the_exchanges_and_never_0(given: list[Exchanged]) -> None:
    found = flipped(given)
    assert set(found.looks) == set(FLIP_LOOKS)
    for p_value in (found.p_value, *found.looks.values()):
        assert 1 / 200 <= p_value <= 1
        assert p_value * 200 == pytest.approx(round(p_value * 200))
    assert found.p_value >= min(found.looks.values())
    assert 0 <= found.mean <= 1
    assert 0 <= found.upper <= 1
    assert 0 <= found.excess <= 1


@given(st.lists(decided.filter(bool), min_size=1, max_size=20))
def test_where_nothing_differs_nothing_is_found(given: list[dict[str, int]]) -> None:
    found = flipped([Exchanged(each, each) for each in given])
    assert (found.p_value, found.excess) == (1, 0)


@pytest.mark.parametrize(("forth", "back"), [(8, 1), (5, 3), (4, 4), (6, 0)])
def test_it_agrees_with_all_exchanges_tried_one_by_one(forth: int, back: int) -> None:
    signs = [1] * forth + [-1] * back
    sums = [abs(sum(a * b for a, b in zip(signs, flips, strict=True))) for flips in product((1, -1), repeat=len(signs))]
    exact = sum(each >= abs(forth - back) for each in sums) / len(sums)
    found = flipped(turned(forth, back, same=20), 20_000).looks["outcome"]
    assert found == pytest.approx(exact, abs=4 * sqrt(exact * (1 - exact) / 20_000) + 1e-4)


def test_an_exchange_is_as_likely_as_none_and_units_are_exchanged_by_themselves() -> None:
    found = flipped(turned(40, 0, same=0), 4_999)
    assert found.looks["outcome"] == 1 / 5_000
    assert found.p_value == 1 / 5_000


@pytest.mark.parametrize(("of", "turning"), [(500, 92), (1_200, 260)])
def test_the_same_people_under_another_policy_are_found_however_sparse_the_classes_are(of: int, turning: int) -> None:
    found = flipped(turned(turning, 0, same=of - turning), 999)
    assert found.p_value == 1 / 1_000
    assert found.excess > 0.05


def test_pairs_that_turn_as_often_one_way_as_the_other_are_what_chance_gives() -> None:
    found = flipped(turned(46, 46, same=408), 999)
    assert found.p_value == 1
    assert found.excess == 0


def test_what_is_certain_is_none_of_chance() -> None:
    certain = [
        Exchanged(each.before, each.now, (((*each.before,)[0], (*each.now,)[0]),)) for each in turned(46, 46, same=0)
    ]
    found = flipped([*certain, *turned(0, 0, same=408)], 999)
    assert found.p_value == 1  # the test says what exchanging gives; the fact is counted beside it
    assert found.mean == 0
    assert found.excess == pytest.approx(92 / 500)


def test_a_class_that_turns_one_way_is_found_where_another_turns_the_other_way() -> None:
    one = [Exchanged({"a yes": 1}, {"a no": 1}) for _ in range(20)]
    other = [Exchanged({"b no": 1}, {"b yes": 1}) for _ in range(20)]
    found = flipped([*one, *other], 999)
    assert found.looks["outcome"] == 1
    assert found.looks["class"] == 1 / 1_000
    assert found.p_value < 0.01


def test_more_decisions_of_the_same_kind_are_no_change() -> None:
    """Each subject decided twice as often in the current window, with the same shares."""
    before = [{"a yes": 2, "b no": 1}] * 60
    found = flipped([Exchanged(each, {"a yes": 4, "b no": 2}) for each in before], 999)
    assert found.p_value == 1
    assert found.excess == 0


def test_subjects_that_go_further_are_exchanged_with_all_that_they_did() -> None:
    """Half of them drop at the first step in one window and go on for four in the other: by chance, either way."""
    by, alarms = random.Random(4), 0
    for _ in range(200):
        given = []
        for _ in range(60):
            short, far = {"a no": 1}, {"a yes": 1, "b yes": 1, "c yes": 1, "d yes": 1}
            old, new = by.sample([short, far], 2)
            given.append(Exchanged(old, new))
        alarms += flipped(given, 199).p_value < 0.05
    assert alarms <= 18  # five in a hundred, and three standard deviations


def drawn(before: Sequence[float], after: Sequence[float], *, size: int, by: random.Random) -> list[Exchanged]:
    """Return so many pairs, each drawn anew either time."""
    classes = [f"{place} {'yes' if place % 2 else 'no'}" for place in range(len(before))]
    sides = by.choices(classes, before, k=size), by.choices(classes, after, k=size)
    return [Exchanged({old: 1}, {new: 1}) for old, new in zip(*sides, strict=True)]


@pytest.mark.parametrize("shares", [EVEN, LONG_TAIL, HALF], ids=["even", "long tail", "half in one class"])
def test_the_same_policy_with_fresh_draws_gives_at_most_7_percent_of_alarms(shares: list[float]) -> None:
    by = random.Random(2026)
    alarms = sum(flipped(drawn(shares, shares, size=500, by=by), 199).p_value < 0.05 for _ in range(200))
    assert alarms <= 14


@pytest.mark.parametrize(("shares", "place"), [(EVEN, 0), (LONG_TAIL, 0), (LONG_TAIL, 1), (HALF, 0), (HALF, 1)])
def test_a_shift_of_15_points_among_the_same_subjects_is_found_in_at_least_95_percent(
    shares: list[float], place: int
) -> None:
    by = random.Random(2026)
    after = shifted(shares, place, by=0.15)
    found = sum(flipped(drawn(shares, after, size=500, by=by), 199).p_value < 0.05 for _ in range(200))
    assert found >= 190


def test_a_p_value_is_the_same_on_any_machine_for_ever() -> None:
    found = flipped(drawn(EVEN, EVEN, size=200, by=random.Random(1)), 999)
    assert found.seed == "2ba35a0ba1c602bc934ca045c673f4935b7f15ca4176294246d17a9cee88119e"
    assert [round(1_000 * each) for each in (found.p_value, *found.looks.values())] == [201, 695, 171, 90, 646]


def test_the_seed_is_taken_from_the_differences_alone() -> None:
    one, other = turned(10, 2, same=5), turned(10, 2, same=900)
    assert flipped(one).seed == flipped(other).seed
    assert flipped(turned(10, 3, same=5)).seed != flipped(one).seed
