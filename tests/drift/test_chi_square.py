"""The chi-square test: what SciPy says, and that pooling loses nothing."""

from __future__ import annotations

import json
import math
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.drift.chi_square import chi_square, chi_square_p, gamma_q, pool
from loom.drift.distance import totals
from loom.errors import WindowError

SAID = json.loads((Path(__file__).parent / "golden" / "scipy.json").read_text(encoding="utf-8"))

pairs = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=40).filter(
    lambda table: all(sum(column) for column in zip(*table, strict=True))
)
least = st.integers(1, 12)


@pytest.mark.parametrize(("a", "x", "expected"), SAID["gamma_q"])
def test_the_incomplete_gamma_function_is_what_scipy_says(a: float, x: float, expected: float) -> None:
    assert gamma_q(a, x) == pytest.approx(expected, abs=1e-9, rel=1e-9)


@pytest.mark.parametrize("said", SAID["tables"], ids=lambda said: f"{len(said['pairs'])} classes")
def test_without_pooling_it_is_what_scipy_says(said: dict[str, Any]) -> None:
    found = chi_square([(a, b) for a, b in said["pairs"]], pool_below=0)
    statistic, degrees, p_value = said["chi_square"]
    assert found.statistic == pytest.approx(statistic, rel=1e-9, abs=1e-9)
    assert found.degrees == degrees
    assert found.p_value == pytest.approx(p_value, abs=1e-9)
    assert found.pooled == 0


def test_a_statistic_of_nothing_is_sure_and_a_huge_one_impossible() -> None:
    assert chi_square_p(0, 5) == 1
    assert chi_square_p(1e6, 5) == 0
    assert gamma_q(1.0, 700.0) == pytest.approx(math.exp(-700), rel=1e-9)


@given(st.floats(0.5, 500), st.floats(0, 2_000), st.floats(0, 100))
def test_a_larger_statistic_is_never_likelier(a: float, x: float, more: float) -> None:
    assert 0 <= gamma_q(a, x + more) <= gamma_q(a, x) + 1e-12 <= 1 + 1e-12


@given(pairs, least)
def test_pooling_keeps_the_totals_and_leaves_no_rare_class(table: list[tuple[int, int]], below: int) -> None:
    found = pool(table, below=below)
    assert totals(found.cells) == totals(table)
    share = Fraction(min(totals(table)), sum(totals(table)))
    rare = [cell for cell in found.cells if sum(cell) * share < below]
    assert not rare or len(found.cells) == 1
    assert len(found.cells) == sum(any(pair) for pair in table) - len(found.pooled) + bool(found.pooled)


@given(pairs, least)
def test_only_rare_classes_are_pooled_and_those_that_fill_the_pool(table: list[tuple[int, int]], below: int) -> None:
    found = pool(table, below=below)
    share = Fraction(min(totals(table)), sum(totals(table)))
    rare = {place for place, pair in enumerate(table) if any(pair) and sum(pair) * share < below}
    assert rare <= set(found.pooled)
    if not rare:
        assert found.pooled == ()
    elif sum(sum(table[place]) for place in rare) * share >= below:
        assert set(found.pooled) == rare


@given(pairs, least, st.randoms(use_true_random=False))
def test_neither_order_nor_names_nor_which_window_comes_first_count(
    table: list[tuple[int, int]], below: int, order: random.Random
) -> None:
    found = chi_square(table, pool_below=below)
    for other in (order.sample(table, len(table)), [(b, a) for a, b in table]):
        again = chi_square(other, pool_below=below)
        assert (again.statistic, again.degrees, again.pooled) == (found.statistic, found.degrees, found.pooled)


def test_which_of_two_equally_rare_classes_fills_the_pool_does_not_depend_on_which_window_comes_first() -> None:
    table = [(1, 0), (10, 2), (2, 10), (30, 31)]
    found = chi_square(table, pool_below=6)
    assert found.pooled == 2
    assert chi_square([(b, a) for a, b in table], pool_below=6) == found


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.integers(1, 5))
def test_equal_shares_have_a_statistic_of_nothing(counts: list[int], times: int) -> None:
    found = chi_square([(each, each * times) for each in counts])
    assert found.statistic == 0
    assert found.p_value == 1


def test_one_class_leaves_nothing_to_test() -> None:
    found = chi_square([(100, 200)])
    assert (found.statistic, found.degrees, found.p_value) == (0, 0, 1)


def test_an_empty_window_is_an_error() -> None:
    with pytest.raises(WindowError):
        chi_square([(5, 0)])
