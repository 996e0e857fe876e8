"""The Jensen–Shannon divergence: what it promises for all tables, and what SciPy says about some."""

from __future__ import annotations

import json
import math
import random
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.drift.distance import is_turned, js_distance, js_divergence, js_terms, oriented, totals
from loom.errors import WindowError

SAID = json.loads((Path(__file__).parent / "golden" / "scipy.json").read_text(encoding="utf-8"))["tables"]

pairs = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)), min_size=1, max_size=40).filter(
    lambda table: all(sum(column) for column in zip(*table, strict=True))
)
"""Tables in which neither window is empty."""


def turned(table: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(b, a) for a, b in table]


@pytest.mark.parametrize("said", SAID, ids=lambda said: f"{len(said['pairs'])} classes")
def test_it_is_what_scipy_says(said: dict[str, Any]) -> None:
    table = [(a, b) for a, b in said["pairs"]]
    assert js_distance(table) == pytest.approx(said["js_distance"], abs=1e-9)


@given(pairs)
def test_it_lies_between_0_and_1_and_no_class_takes_away_from_it(table: list[tuple[int, int]]) -> None:
    assert 0 <= js_divergence(table) <= 1
    assert min(js_terms(table)) >= 0
    assert js_distance(table) == math.sqrt(js_divergence(table))


@given(pairs)
def test_which_window_comes_first_does_not_count(table: list[tuple[int, int]]) -> None:
    assert js_divergence(table) == js_divergence(turned(table))


@given(pairs, st.randoms(use_true_random=False))
def test_names_and_order_of_the_classes_do_not_count(table: list[tuple[int, int]], order: random.Random) -> None:
    mixed = order.sample(table, len(table))
    assert js_divergence(mixed) == js_divergence(table)
    assert oriented(mixed) == oriented(table)


@given(pairs)
def test_it_is_zero_exactly_where_all_shares_are_equal(table: list[tuple[int, int]]) -> None:
    first, second = totals(table)
    equal = all(Fraction(a, first) == Fraction(b, second) for a, b in table)
    assert (js_divergence(table) == 0) == equal


@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=30).filter(any), st.integers(1, 1_000))
def test_it_is_zero_for_the_same_shares_in_windows_of_any_size(counts: list[int], times: int) -> None:
    assert js_divergence([(each, each * times) for each in counts]) == 0


@given(pairs, pairs)
def test_it_is_one_where_no_class_is_in_both(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    table = [(a, 0) for a, _ in first] + [(0, b) for _, b in second]
    assert js_divergence(table) == pytest.approx(1, abs=1e-12)


@given(pairs, st.integers(1, 50))
def test_it_is_a_matter_of_shares_and_not_of_counts(table: list[tuple[int, int]], times: int) -> None:
    assert js_divergence([(a * times, b) for a, b in table]) == pytest.approx(js_divergence(table), abs=1e-12)


def test_one_case_more_among_millions_is_not_lost() -> None:
    table = [(5_000_000, 5_000_000), (5_000_000, 5_000_001)]
    first, second = totals(table)
    p, q = Fraction(table[0][0], first), Fraction(table[0][1], second)
    exact = float((p - q) ** 2 * (1 / (p + q) + 1 / (2 - p - q))) / (4 * math.log(2))
    assert js_divergence(table) == pytest.approx(exact, rel=1e-9)
    assert js_divergence(table) > 0


@given(st.integers(1, 25_000))
def test_near_equal_shares_it_is_as_exact_as_elsewhere(apart: int) -> None:
    """Beside 40 digits, by the definition, on both sides of where the series ends."""
    whole = 500_000
    with localcontext() as context:
        context.prec = 40
        p, q = Decimal(whole + apart) / (2 * whole), Decimal(1) / 2
        exact = Decimal(0)
        for one, other in ((p, q), (1 - p, 1 - q)):
            middle = (one + other) / 2
            exact += (one * (one / middle).ln() + other * (other / middle).ln()) / (2 * Decimal(2).ln())
    assert js_divergence([(whole + apart, 1), (whole - apart, 1)]) == pytest.approx(float(exact), rel=1e-12)


@given(pairs)
def test_a_table_has_one_form_whichever_way_round_it_is_given(table: list[tuple[int, int]]) -> None:
    assert oriented(table) == oriented(turned(table))
    sizes = totals(oriented(table))
    assert sizes[0] <= sizes[1]
    assert sorted(sizes) == sorted(totals(table))
    assert not (is_turned(table) and is_turned(turned(table)))


@pytest.mark.parametrize("table", [[], [(0, 0)], [(3, 0)], [(0, 3)], [(3, -1), (1, 2)]])
def test_an_empty_window_is_an_error(table: list[tuple[int, int]]) -> None:
    with pytest.raises(WindowError, match="expected at least"):
        js_divergence(table)
