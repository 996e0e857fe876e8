"""Two cases are alike by an explicit rule, whose keys are the same everywhere and for good."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from loom.errors import AdmissionError
from loom.policies.evaluation import Facts
from loom.precedents import Bin, EquivalenceRule, SetOf

GOLDEN = Path(__file__).parent / "golden" / "keys.json"
RULE = EquivalenceRule(
    "discount",
    attributes=("industry", "strategic", Bin("percent", low=0, high=50), SetOf("products"), "deal.region"),
    outcome=("granted", Bin("given", low=0, high=50, bins=10)),
)
FACTS: dict[str, Any] = {
    "industry": "healthcare",
    "strategic": True,
    "percent": 15,
    "products": ["pumps", "valves"],
    "deal": {"region": "emea", "size": 3},
    "note": "of no account",
}
OUTCOME: dict[str, Any] = {"granted": True, "given": 12.5}

_scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text("abc", max_size=3)


def with_fact(**changes: Any) -> dict[str, Any]:
    return {**FACTS, **changes}


def golden_cases() -> dict[str, dict[str, str]]:
    cases = {
        "plain": (FACTS, OUTCOME),
        "denied": (FACTS, {**OUTCOME, "granted": False}),
        "below and above": (with_fact(percent=-3), {**OUTCOME, "given": 99}),
        "float and text": (with_fact(percent="49.99", industry="Köln 🏥", strategic=None), OUTCOME),
        "numbers": (with_fact(industry=1e300, strategic=0.1), OUTCOME),
    }
    return {name: RULE.classify(*case).model_dump() for name, case in cases.items()}


def test_keys_are_those_of_the_golden_file() -> None:
    assert golden_cases() == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_what_the_rule_does_not_name_does_not_count() -> None:
    assert RULE.situation_key(with_fact(note="else", deal={"region": "emea"})) == RULE.situation_key(FACTS)


@pytest.mark.parametrize(
    "other",
    [
        {"industry": "retail"},
        {"strategic": False},
        {"strategic": 1},
        {"strategic": None},
        {"percent": 20},
        {"products": ["pumps"]},
        {"deal": {"region": "apac"}},
    ],
    ids=str,
)
def test_what_the_rule_names_counts(other: dict[str, Any]) -> None:
    assert RULE.situation_key(with_fact(**other)) != RULE.situation_key(FACTS)


def test_the_outcome_counts_for_the_precedent_alone() -> None:
    granted, denied = RULE.classify(FACTS, OUTCOME), RULE.classify(FACTS, {**OUTCOME, "granted": False})
    assert granted.situation == denied.situation
    assert granted.precedent != denied.precedent
    assert granted.situation != granted.precedent
    assert granted.rule == RULE.hash
    assert {len(key) for key in granted.model_dump().values()} == {64}


def test_neither_the_order_of_a_set_nor_repetition_counts() -> None:
    assert RULE.situation_key(with_fact(products=["valves", "pumps", "valves"])) == RULE.situation_key(FACTS)
    ordered = EquivalenceRule("ordered", attributes=("products",))
    assert ordered.situation_key(with_fact(products=["valves", "pumps"])) != ordered.situation_key(FACTS)


def test_a_number_is_the_same_number_however_it_is_written() -> None:
    rule = EquivalenceRule("exact", attributes=("n",))
    assert rule.situation_key({"n": 15}) == rule.situation_key({"n": 15.0})
    assert rule.situation_key({"n": 0}) == rule.situation_key({"n": -0.0})
    assert len({rule.situation_key({"n": n}) for n in (1, True, "1", [1], None, 1.5)}) == 6


def test_models_and_plain_values_give_the_same_key() -> None:
    class Case(Facts):
        industry: str
        percent: Decimal

    rule = EquivalenceRule("model", attributes=("industry", Bin("percent", low=0, high=50)))
    case = Case(industry="retail", percent=Decimal("12.50"))
    assert rule.situation_key(case) == rule.situation_key({"industry": "retail", "percent": 12.5})


@pytest.mark.parametrize(
    ("value", "index", "outside"),
    [
        (0, 0, None),
        (9.99, 0, None),
        (10, 1, None),
        ("10.0", 1, None),
        (49.999, 4, None),
        (50, 4, None),
        (50.001, 4, "above"),
        (1e308, 4, "above"),
        (-0.001, 0, "below"),
    ],
)
def test_values_fall_into_parts_and_say_when_they_lie_outside(value: object, index: int, outside: str | None) -> None:
    bin_ = Bin("percent", low=0, high=50)
    assert (bin_.index(value), bin_.outside(value)) == (index, outside)
    described = RULE.describe(with_fact(percent=value))["percent"]
    assert described.startswith(f"{index * 10} to {index * 10 + 10} (part {index + 1} of 5)")
    assert described.endswith(f"{outside} the range" if outside else "5)")


@pytest.mark.parametrize("tenth", range(10))
def test_a_border_is_where_it_is_written(tenth: int) -> None:
    assert Bin("share", low=0, high=1, bins=10).index(tenth / 10) == tenth


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(1, 50))
def test_every_finite_number_falls_into_a_part_in_order(value: float, low: float, width: float, bins: int) -> None:
    assume(low + width > low)
    bin_ = Bin("n", low=low, high=low + width, bins=bins)
    assert 0 <= bin_.index(value) < bins
    assert bin_.index(low - 1) <= bin_.index(value) <= bin_.index(low + width)


@given(st.dictionaries(st.sampled_from("abcd"), _scalars, min_size=4), st.permutations("abcd"))
def test_no_order_of_facts_or_attributes_changes_a_key(facts: dict[str, Any], order: list[str]) -> None:
    key = EquivalenceRule("r", attributes="abcd").situation_key(facts)
    shuffled = EquivalenceRule("r", attributes=order)
    assert shuffled.situation_key({name: facts[name] for name in order}) == key
    assert shuffled.hash == EquivalenceRule("r", attributes="abcd").hash


@given(_scalars, _scalars)
def test_different_values_have_different_keys(one: Any, other: Any) -> None:
    rule = EquivalenceRule("r", attributes=("a",))
    alike = (type(one), one) == (type(other), other)
    assert (rule.situation_key({"a": one}) == rule.situation_key({"a": other})) == alike


@given(st.lists(_scalars, max_size=6).flatmap(lambda items: st.tuples(st.just(items), st.permutations(items))))
def test_a_set_is_the_same_in_any_order(both: tuple[list[Any], list[Any]]) -> None:
    rule = EquivalenceRule("r", attributes=(SetOf("a"),))
    assert rule.situation_key({"a": both[0]}) == rule.situation_key({"a": both[1]})


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (with_fact(percent=math.nan), r"\$\.percent\] is \[nan\]"),
        (with_fact(industry=math.inf), r"\$\.industry\] is \[inf\]"),
        (with_fact(percent=True), r"\[\$\.percent\] is \[True\]; expected \[a number"),
        (with_fact(percent=None), "expected .a number"),
        (with_fact(percent="twelve"), "expected .a number"),
        (with_fact(percent="1e5"), "expected .a number"),
        (with_fact(products="pumps"), r"\[\$\.products\] is \['pumps'\]; expected \[a list\]"),
        (with_fact(deal={}), r"\[\$\.deal\.region\] is missing"),
        (with_fact(deal=3), r"\[\$\.deal\.region\] is missing"),
        ({}, "is missing; expected"),
        (with_fact(industry=b"bytes"), "bytes"),
        (with_fact(industry="\ud800"), "surrogate"),
        (with_fact(industry=2**60), "integer"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_facts_without_a_key_are_refused_by_name(facts: dict[str, Any], said: str) -> None:
    with pytest.raises(AdmissionError, match=said):
        RULE.situation_key(facts)


@pytest.mark.parametrize(
    "make",
    [
        lambda: EquivalenceRule("", attributes=("a",)),
        lambda: EquivalenceRule("r", attributes=()),
        lambda: EquivalenceRule("r", attributes=("a", Bin("a", low=0, high=1))),
        lambda: EquivalenceRule("r", attributes=("a",), outcome=("b", "b")),
        lambda: Bin("a", low=1, high=1),
        lambda: Bin("a", low=0, high=math.inf),
        lambda: Bin("a", low=0, high=1, bins=0),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(make: Any) -> None:
    with pytest.raises(AdmissionError, match="expected"):
        make()


def test_the_hash_of_a_rule_covers_all_that_can_change_a_key() -> None:
    def rule(**changes: Any) -> str:
        given = {"name": "r", "low": 0, "high": 10, "bins": 5, "outcome": ("granted",), **changes}
        attribute = Bin("n", low=given["low"], high=given["high"], bins=given["bins"])
        return EquivalenceRule(given["name"], attributes=(attribute,), outcome=given["outcome"]).hash

    changes: list[dict[str, Any]] = [{"name": "s"}, {"low": 1}, {"high": 11}, {"bins": 4}, {"outcome": ()}]
    assert len({rule(), *(rule(**change) for change in changes)}) == 6
    assert rule(low=0.0, high=10.0) == rule()
    exact, one_set = EquivalenceRule("r", attributes=("n",)), EquivalenceRule("r", attributes=(SetOf("n"),))
    assert exact != one_set
    assert len({exact, one_set, EquivalenceRule("r", attributes=("n",))}) == 2
