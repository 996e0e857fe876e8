"""Subjects that decided several times are dealt out whole: right about chance where single decisions are not."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.drift.clusters import cluster_test
from loom.drift.permutation import LOOKS, permutation_test
from tests.drift.samples import EVEN, LONG_TAIL, drawn, shifted

Subject = dict[str, int]

names = st.sampled_from(["a yes", "a no", "b yes", "b no", "c yes", "c no"])
subjects = st.lists(st.dictionaries(names, st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=20)
SAID = {f"{kind} {said}": said for kind in "abc" for said in ("yes", "no")}


@given(subjects, subjects, st.randoms(use_true_random=False))
def test_neither_order_nor_which_window_comes_first_count(
    before: list[Subject], now: list[Subject], order: random.Random
) -> None:
    found = cluster_test(before, now, SAID, permutations=99)
    assert cluster_test(order.sample(before, len(before)), now, SAID, permutations=99) == found
    assert cluster_test(now, before, SAID, permutations=99) == found
    assert set(found.looks) == set(LOOKS)
    assert found.p_value >= min(found.looks.values()) >= 1 / 100


@given(subjects)
def test_the_same_subjects_on_both_sides_are_as_near_as_chance_lays_them(given: list[Subject]) -> None:
    assert cluster_test(given, given, SAID, permutations=99).p_value == 1


@pytest.mark.parametrize("shares", [EVEN, LONG_TAIL], ids=["even", "long tail"])
def test_where_each_subject_decides_once_it_says_what_the_test_of_single_decisions_says(shares: list[float]) -> None:
    table = drawn(shares, shifted(shares, 0, by=0.05), sizes=(200, 200), by=random.Random(3))
    sides = [[{str(place): 1} for place, pair in enumerate(table) for _ in range(pair[at])] for at in (0, 1)]
    outcomes = {str(place): "" for place in range(30)}
    found = cluster_test(sides[0], sides[1], outcomes, permutations=4_999)
    single = permutation_test(table, permutations=4_999)
    assert found.looks["pattern"] == pytest.approx(single.looks["pattern"], abs=0.03)
    assert found.looks["points"] == pytest.approx(single.looks["points"], abs=0.03)
    assert found.mean == pytest.approx(single.mean, abs=0.002)


def test_subjects_that_repeat_themselves_do_not_pass_for_many_cases() -> None:
    """Each meets six steps with one intent: 130 people, dealt out one decision at a time, look like 600."""
    by, whole, single = random.Random(5), 0, 0
    for _ in range(100):
        sides = [[{f"{by.choice('uvwxyz')} yes": by.randint(1, 6)} for _ in range(130)] for _ in range(2)]
        outcomes = {f"{each} yes": "yes" for each in "uvwxyz"}
        whole += cluster_test(sides[0], sides[1], outcomes, permutations=199).p_value < 0.05
        counts: list[Counter[str]] = [Counter(), Counter()]
        for side, counter in zip(sides, counts, strict=True):
            for subject in side:
                counter.update(subject)
        table = [(counts[0][each], counts[1][each]) for each in outcomes]
        single += permutation_test(table, permutations=199).p_value < 0.05
    assert whole <= 12  # five in a hundred, and three standard deviations
    assert single > 40


def test_a_change_among_subjects_that_decide_several_times_is_found() -> None:
    by, found = random.Random(7), 0
    for _ in range(40):
        sides = []
        for share in (0.85, 0.7):
            side = []
            for _ in range(130):
                steps = next((step for step in range(1, 7) if by.random() > share), 7)
                said = {f"{step} yes": 1 for step in range(1, steps)}
                side.append(said | ({f"{steps} no": 1} if steps < 7 else {}))
            sides.append(side)
        outcomes = {f"{step} {said}": said for step in range(1, 8) for said in ("yes", "no")}
        found += cluster_test(sides[0], sides[1], outcomes, permutations=199).p_value < 0.05
    assert found >= 38


def test_many_subjects_with_little_in_common_are_drawn_less_often_and_it_says_so() -> None:
    sides = [[{f"{side} {number} {each} yes": 1 for each in range(4)} for number in range(300)] for side in range(2)]
    outcomes = {name: "yes" for side in sides for subject in side for name in subject}
    found = cluster_test(sides[0], sides[1], outcomes, permutations=4_999)
    assert found.permutations == 999
    assert found.p_value == 1


def test_a_p_value_is_the_same_on_any_machine_for_ever() -> None:
    by = random.Random(1)
    sides = [[{f"{by.choice('abc')} {by.choice(['yes', 'no'])}": by.randint(1, 3)} for _ in range(60)] for _ in "xy"]
    found = cluster_test(sides[0], sides[1], SAID, permutations=999)
    assert found.seed == "28eb8836bee0d1935f5d13e1059c21ba2c659b0d2aad82b0995f7e6ddc91665b"
    assert [round(1_000 * each) for each in (found.p_value, *found.looks.values())] == [202, 135, 135, 249, 230]
