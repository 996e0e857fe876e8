"""The permutation test: exact, the same every time, blind to names, and right about chance."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from math import comb, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.drift.distance import js_divergence, oriented
from loom.drift.permutation import LOOKS, Permutations, _Dealer, permutation_test, seed_of
from loom.errors import WindowError
from tests.drift.samples import EVEN, LONG_TAIL, drawn, shifted

pairs = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=20).filter(
    lambda table: all(sum(column) for column in zip(*table, strict=True))
)


def by_lot(table: Sequence[tuple[int, int]], permutations: int = 199) -> Permutations:
    return permutation_test(table, permutations=permutations)


@given(pairs, st.randoms(use_true_random=False))
def test_neither_order_nor_names_nor_which_window_comes_first_count(
    table: list[tuple[int, int]], order: random.Random
) -> None:
    found = by_lot(table)
    assert by_lot(order.sample(table, len(table))) == found
    assert by_lot([(b, a) for a, b in table]) == found
    assert by_lot([*table, (0, 0)]) == found


@given(pairs)
def test_a_p_value_is_a_share_of_the_permutations_and_never_0(table: list[tuple[int, int]]) -> None:
    found = by_lot(table)
    for p_value in (found.p_value, *found.looks.values()):
        assert 1 / 200 <= p_value <= 1
        assert p_value * 200 == pytest.approx(round(p_value * 200))
    assert set(found.looks) == set(LOOKS)
    assert found.p_value >= min(found.looks.values())
    assert 0 <= found.excess <= 1
    assert 0 <= found.mean <= 1
    assert 0 <= found.upper <= 1


@given(st.lists(st.integers(1, 30), min_size=1, max_size=15))
def test_windows_with_equal_shares_are_as_near_as_chance_ever_lays_them(counts: list[int]) -> None:
    assert by_lot([(each, each) for each in counts]).p_value == 1


@given(pairs)
def test_the_seed_is_taken_from_the_counts_alone(table: list[tuple[int, int]]) -> None:
    assert len(bytes.fromhex(seed_of(table))) == 32
    assert seed_of(table) == seed_of(oriented(table)) == by_lot(table).seed
    assert seed_of([*table, (1, 0)]) != seed_of(table)


def test_a_p_value_is_the_same_on_any_machine_for_ever() -> None:
    table = drawn(EVEN, EVEN, sizes=(200, 200), by=random.Random(1))
    found = permutation_test(table, permutations=999)
    assert found.seed == "4f197d5cfa3ad131eedc9a89c69253be2f8d7bba0b25934caf8cc48f3c27a1d1"
    assert [round(1_000 * each) for each in (found.p_value, *found.looks.values())] == [214, 137, 117, 168, 445]


@pytest.mark.parametrize(
    "table", [[(3, 1), (1, 4)], [(2, 0), (1, 1), (0, 4), (1, 2)], [(1, 5), (1, 1), (0, 1), (0, 1)]]
)
def test_it_agrees_with_all_permutations_tried_one_by_one(table: list[tuple[int, int]]) -> None:
    cases = [place for place, pair in enumerate(table) for _ in range(sum(pair))]
    size, observed = sum(a for a, _ in table), js_divergence(table)
    as_far = 0
    for chosen in combinations(range(len(cases)), size):
        taken = Counter(cases[each] for each in chosen)
        dealt = [(taken[place], sum(pair) - taken[place]) for place, pair in enumerate(table)]
        as_far += js_divergence(dealt) >= observed - 1e-12
    exact = as_far / comb(len(cases), size)
    found = permutation_test(table, permutations=20_000).looks["pattern"]
    assert found == pytest.approx(exact, abs=4 * sqrt(exact * (1 - exact) / 20_000) + 1e-4)


@pytest.mark.parametrize("sizes", [(50, 50), (30, 70), (11, 200), (6, 600), (300, 310)])
def test_every_subset_is_as_likely_as_any_other(sizes: tuple[int, int]) -> None:
    """How many cases of a class are taken follows the hypergeometric distribution: mean and variance, by class."""
    first, second = sizes
    every, deals = first + second, 6_000
    sums = [1, 1, 1, 2, 5, every // 4, every // 3]
    sums.append(every - sum(sums))
    filled = [min(each, max(0, first - sum(sums[:place]))) for place, each in enumerate(sums)]
    dealer = _Dealer([[(a, each - a) for a, each in zip(filled, sums, strict=True)]], random.Random(5))
    seen: list[Counter[int]] = [Counter() for _ in dealer.sums]
    for _ in range(deals):
        taken = dealer.lot.draw()
        assert sum(taken) == first
        for counter, each in zip(seen, taken, strict=True):
            counter[each] += 1
    for counter, total in zip(seen, dealer.sums, strict=True):
        for value in range(min(total, first) + 1):
            exact = comb(total, value) * comb(every - total, first - value) / comb(every, first)
            margin = 5 * sqrt(exact * (1 - exact) / deals) + 1e-3
            assert counter[value] / deals == pytest.approx(exact, abs=margin)


def test_classes_of_one_case_are_dealt_as_if_each_were_alone() -> None:
    table = [(1, 0)] * 12 + [(0, 1)] * 15 + [(8, 9)]
    found = permutation_test(table, permutations=999)
    assert found.looks["pattern"] > 0.1
    assert found.mean == pytest.approx(js_divergence(table), abs=0.05)


def test_a_change_that_nobody_can_miss_has_the_smallest_p_value() -> None:
    assert by_lot([(100, 0), (0, 100)]).p_value == 1 / 200


def test_a_change_of_one_large_class_is_seen_where_the_whole_pattern_hides_it() -> None:
    whole = pattern = 0
    by = random.Random(11)
    before = [0.4, *[0.6 / 29] * 29]
    for _ in range(100):
        found = by_lot(drawn(before, shifted(before, 0, by=0.15), sizes=(500, 500), by=by))
        whole += found.p_value < 0.05
        pattern += found.looks["pattern"] < 0.05
    assert whole > pattern + 10


def test_rare_classes_that_move_alike_are_found_as_what_they_are_together() -> None:
    """Each of 240 rare classes gains a little, 12 common ones lose: pooled it is plain, one by one it is not."""
    by = random.Random(6)
    before, after = [5.0] * 12 + [0.20] * 240, [3.7] * 12 + [0.27] * 240
    found = [permutation_test(drawn(before, after, sizes=(250, 250), by=by), permutations=999) for _ in range(40)]
    pooled, pattern = (sum(each.looks[name] < 0.05 for each in found) for name in ("pooled", "pattern"))
    assert sum(each.p_value < 0.05 for each in found) > pattern + 10
    assert pooled > pattern + 10


def test_an_outcome_that_moves_in_rare_classes_is_found() -> None:
    """Each case is in a class of its own, or nearly: only what they were decided is common to them."""
    by = random.Random(8)
    classes = [(f"{case} {said}", said) for case in range(600) for said in ("yes", "no")]
    weights = {"before": [0.5, 0.5], "after": [0.7, 0.3]}
    counts = {
        name: Counter(by.choices([each for each, _ in classes], [share for _ in range(600) for share in shares], k=300))
        for name, shares in weights.items()
    }
    table = [(counts["before"][name], counts["after"][name]) for name, _ in classes]
    apart = permutation_test(table, permutations=999, groups=[said for _, said in classes])
    assert apart.p_value < 0.01
    assert permutation_test(table, permutations=999).p_value > 0.05


@given(pairs, st.randoms(use_true_random=False))
def test_outcomes_may_have_any_names_and_any_order(table: list[tuple[int, int]], order: random.Random) -> None:
    said = [str(place % 3) for place in range(len(table))]
    found = permutation_test(table, permutations=199, groups=said)
    places = order.sample(range(len(table)), len(table))
    renamed = {"0": "c", "1": "a", "2": "b"}
    again = permutation_test(
        [table[each][::-1] for each in places], permutations=199, groups=[renamed[said[each]] for each in places]
    )
    assert again == found


def test_an_empty_window_is_an_error() -> None:
    with pytest.raises(WindowError):
        by_lot([(5, 0)])


@pytest.mark.parametrize("shares", [EVEN, LONG_TAIL], ids=["even", "long tail"])
def test_where_nothing_changed_it_cries_wolf_in_at_most_7_percent_of_200_pairs(shares: list[float]) -> None:
    by = random.Random(2026)
    alarms = sum(by_lot(drawn(shares, shares, sizes=(200, 200), by=by), 199).p_value < 0.05 for _ in range(200))
    assert alarms <= 14


HALF = [0.5, *[0.5 / 29] * 29]


@pytest.mark.parametrize(
    ("shares", "place"),
    [(EVEN, 0), (LONG_TAIL, 0), (LONG_TAIL, 1), (LONG_TAIL, 10), (LONG_TAIL, 29), (HALF, 0), (HALF, 1)],
)
def test_a_shift_of_15_points_in_one_class_is_found_in_at_least_95_percent(shares: list[float], place: int) -> None:
    by = random.Random(2026)
    after = shifted(shares, place, by=0.15)
    found = sum(by_lot(drawn(shares, after, sizes=(500, 500), by=by), 199).p_value < 0.05 for _ in range(200))
    assert found >= 190


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(41, 2_000), st.integers(2, 12), st.randoms(use_true_random=False))
def test_windows_of_very_different_size_are_dealt_whole(
    first: int, second: int, classes: int, by: random.Random
) -> None:
    table = drawn([1.0] * classes, [1.0] * classes, sizes=(first, second), by=by)
    dealer = _Dealer([oriented(table)], random.Random(3))
    for _ in range(20):
        taken = dealer.lot.draw()
        assert sum(taken) == first
        assert all(0 <= each <= total for each, total in zip(taken, dealer.sums, strict=True))
