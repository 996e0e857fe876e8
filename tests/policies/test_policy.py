"""Policies at work: evaluating, and whether the code at hand still gives a version."""

from __future__ import annotations

import decimal
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from loom.errors import PolicyCodeChangedError, PolicyRuleError
from loom.journal.admission import json_value
from loom.policies import Evaluation, Policy, version_hash
from tests.policies.catalogue import CATALOGUE, DiscountFacts, DiscountParams, discount, order, score, silent
from tests.policies.sources import HEADER, PLAIN, load, plain, rule

FACTS = DiscountFacts(industry="healthcare", arr_usd=1, percent=15)


@given(percent=st.integers(-(2**60), 2**60))
def test_every_evaluation_names_each_rule_either_as_hit_or_as_missed(percent: int) -> None:
    evaluation = discount.evaluate(DiscountFacts(industry="x", arr_usd=1, percent=percent))
    assert {evaluation.rule, *(miss.rule for miss in evaluation.why_not)} == {"within-limit", "over-limit"}
    assert evaluation.allowed == (percent <= 10)


@given(percent=st.integers(), arr=st.integers(), industry=st.text())
def test_facts_as_a_model_as_a_mapping_and_as_text_give_the_same(percent: int, arr: int, industry: str) -> None:
    facts = {"industry": industry, "arr_usd": arr, "percent": percent}
    by_model = discount.evaluate(DiscountFacts(industry=industry, arr_usd=arr, percent=percent))
    assert discount.evaluate(facts) == by_model
    assert discount.evaluate_json(json.dumps(facts)) == by_model
    assert discount.evaluate_json(json.dumps(facts).encode()) == by_model


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"percent": None}, "fact [percent] is null"),
        ({"percent": True}, "fact [percent] is not of its type or out of its bounds"),
        ({"percent": 1.0}, "fact [percent] is not of its type or out of its bounds"),
        ({"percent": "15"}, "fact [percent] is not of its type or out of its bounds"),
        ({"percent": float("nan")}, "fact [percent] is not of its type or out of its bounds"),
        ({"more": 1}, "fact [more] is unknown"),
        ({"industry": 1, "arr_usd": 1.5}, "fact [arr_usd, industry] is not of its type or out of its bounds"),
        ({"industry": "\ud800"}, "the facts are not an object of JSON"),
        ({"industry": b"x"}, "the facts are not JSON"),
    ],
)
def test_facts_that_cannot_be_judged_are_indeterminate_and_named(change: dict[str, object], why: str) -> None:
    evaluation = discount.evaluate({**FACTS.model_dump(), **change})
    assert (evaluation.effect, evaluation.rule, evaluation.why) == ("indeterminate", "facts", why)
    assert not any((evaluation.allowed, evaluation.needs_approval, evaluation.denied))


def test_a_missing_fact_is_named_by_its_path() -> None:
    evaluation = order.evaluate({"items": [{"count": 1}], "level": "low"})
    assert evaluation.why == "fact [day, items.0.price] is missing"
    assert evaluation.details == {"missing": "day, items.0.price"}


@pytest.mark.parametrize("facts", ["", "[]", "nul", "3", b"\xff", "[" * 100_000])
def test_text_that_is_not_an_object_is_indeterminate(facts: str | bytes) -> None:
    assert discount.evaluate(facts).rule == "facts"


def test_unknown_facts_are_left_out_when_asked_for() -> None:
    facts = {**FACTS.model_dump(), "recorded_for_another_version": 1}
    assert discount.evaluate_json(facts, ignore_unknown=True) == discount.evaluate(FACTS)
    assert discount.evaluate_json(json.dumps(facts), ignore_unknown=True) == discount.evaluate(FACTS)
    assert discount.evaluate_json(facts).details == {"unknown": "recorded_for_another_version"}


def test_facts_of_another_model_are_an_error_of_the_caller() -> None:
    class Other(BaseModel):
        percent: int = 1

    with pytest.raises(PolicyRuleError, match=r"facts of type \[Other\]; expected \[DiscountFacts\]"):
        discount.evaluate(Other())


def test_no_matching_rule_is_indeterminate_with_every_miss() -> None:
    evaluation = silent.evaluate(FACTS)
    assert (evaluation.effect, evaluation.rule) == ("indeterminate", "none")
    assert [(miss.rule, miss.why) for miss in evaluation.why_not] == [("never", "never")]


ONLY_SOMETIMES = "if facts.x == 1:\n    {}\nreturn first_match(otherwise('r', allow(), why='w'))"


@pytest.mark.parametrize(
    ("body", "error", "cause"),
    [
        ("x = 1 // 0", "ZeroDivisionError", "by zero"),
        ("x = {'a': 1}[facts.name]", "KeyError", "'zz'"),
        ("x = range(10**9)", "ValueError", "range has [1000000000] numbers; expected at most [100000]"),
        ("return first_match(case('a', facts.x, allow(), why='w', why_not='n'))", "TypeError", "expected [bool]: comp"),
        ("return first_match(otherwise('a', deny(), why=facts.name[:0]))", "ValidationError", "at least 1 character"),
        ("c = otherwise('a', deny(), why='w')\n    return first_match(c, c)", "ValueError", "are not all different"),
        ("return first_match(otherwise(facts.name[:0], deny(), why='w'))", "ValueError", "is blank or taken by loom"),
    ],
)
def test_a_rule_that_raises_on_some_facts_carries_the_cause_in_its_evaluation(
    body: str, error: str, cause: str, tmp_path: Path
) -> None:
    policy = plain(tmp_path, rule(ONLY_SOMETIMES.format(body)))
    assert policy.evaluate({"x": 2, "name": "zz"}).allowed
    evaluation = policy.evaluate({"x": 1, "name": "zz"})
    assert (evaluation.effect, evaluation.rule) == ("indeterminate", "error")
    assert evaluation.why.startswith(f"the rule raised {error} [")
    assert cause in evaluation.why
    assert evaluation.details["error"] == error
    assert cause in str(evaluation.details["cause"])
    json_value(evaluation.model_dump(mode="json"))  # it can be journaled


def test_a_cause_is_bounded_and_can_be_journaled_whatever_it_says(tmp_path: Path) -> None:
    policy = plain(tmp_path, rule(ONLY_SOMETIMES.format("y = int(facts.name)")))
    evaluation = policy.evaluate(policy.facts_model(x=1, name="\x00\ud800" + "y" * 5_000))
    assert len(evaluation.why) < 600
    json_value(evaluation.model_dump(mode="json"))


def test_a_rule_that_returns_nothing_is_indeterminate(tmp_path: Path) -> None:
    evaluation = plain(tmp_path, rule("pass")).evaluate({"x": 1, "name": "zz"})
    assert (evaluation.effect, evaluation.rule) == ("indeterminate", "error")
    assert evaluation.why == "the rule returned NoneType instead of an evaluation"


def test_a_rule_sees_the_constants_that_were_captured_whatever_becomes_of_the_module(tmp_path: Path) -> None:
    module: Any = load(tmp_path, HEADER + PLAIN)
    before = module.plain.evaluate({"x": 3})
    module.LIMIT = -1_000
    module.double = lambda x: -1_000
    module.first_match = None
    assert module.plain.evaluate({"x": 3}) == before


def test_a_rule_cannot_change_its_facts(tmp_path: Path) -> None:
    policy = plain(
        tmp_path, rule('xs = facts.items\nxs += [1]\nreturn first_match(otherwise("r", allow(), why=f"{xs}"))')
    )
    facts = policy.facts_model(x=1, items=[7])
    assert policy.evaluate(facts).why == "[7, 1]"
    assert policy.evaluate(facts).why == "[7, 1]"
    assert facts.items == [7]


def test_decimals_are_computed_alike_whatever_the_process_has_set(tmp_path: Path) -> None:
    policy = plain(tmp_path, rule('return first_match(otherwise("r", allow(), why=f"{Decimal(1) / Decimal(3)}"))'))
    before = policy.evaluate({"x": 1})
    with decimal.localcontext(decimal.Context(prec=3)):
        assert policy.evaluate({"x": 1}) == before
    assert before.why == "0.3333333333333333333333333333"


def test_floats_are_added_from_left_to_right_under_every_python() -> None:
    assert score.evaluate({"values": [1e16, 1.0, -1e16], "sector": "toys", "weights": [1, True]}).why.startswith(
        "mean 0.0"
    )


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_a_policy_gives_its_own_document_also_after_a_journal(name: str) -> None:
    policy = CATALOGUE[name]
    read_back = json.loads(json.dumps(policy.document))
    assert version_hash(read_back) == policy.version_hash
    assert policy.gives(read_back)
    assert policy.under(read_back) is policy


def test_a_document_handed_out_is_a_copy() -> None:
    document: Any = discount.document
    document["rule"]["body"].clear()
    assert version_hash(discount.document) == discount.version_hash


def test_other_parameters_of_the_same_code_give_the_older_version() -> None:
    stricter = discount.with_params(DiscountParams(limit_percent=5))
    assert stricter.version_hash != discount.version_hash
    assert stricter.gives(discount.document)
    older = stricter.under(discount.document)
    assert older.version_hash == discount.version_hash
    facts = DiscountFacts(industry="x", arr_usd=1, percent=8)
    assert (older.evaluate(facts).effect, stricter.evaluate(facts).effect) == ("allow", "require_approval")


@pytest.mark.parametrize(("old", "new"), [("Field(10, ge=0", "Field(12, ge=0"), ("le=100", "le=200")])
def test_a_changed_bound_or_default_leaves_the_older_version_replayable(old: str, new: str, tmp_path: Path) -> None:
    before, after = plain(tmp_path), plain(tmp_path, header=HEADER.replace(old, new))
    assert before.version_hash != after.version_hash
    again = after.under(before.document)
    assert again.version_hash == before.version_hash
    assert again.params.limit == 10


@pytest.mark.parametrize(
    ("text", "header", "reason"),
    [
        (PLAIN.replace("y <= params", "y < params"), HEADER, "its rule differs"),
        (PLAIN.replace("x * 2", "x * 3"), HEADER, "its helpers differ"),
        (PLAIN.replace("LIMIT = 5", "LIMIT = 6"), HEADER, "its rule differs"),
        (PLAIN.replace('"plain"', '"other"'), HEADER, "its name differs"),
        (PLAIN, HEADER.replace("x: int", "x: int | None"), "its facts differ"),
        (PLAIN, HEADER.replace("limit: int", "limit: float"), "give other results"),
        (PLAIN, HEADER.replace("limit: int", "limit: int | None"), "give other results"),
        (PLAIN, HEADER.replace("le=100", "le=9").replace("Field(10,", "Field(9,"), "no longer valid"),
    ],
)
def test_changed_code_never_runs_in_the_name_of_a_version(text: str, header: str, reason: str, tmp_path: Path) -> None:
    document = plain(tmp_path).document
    now = plain(tmp_path, text, header=header)
    assert reason in str(now.departure(document))
    assert not now.gives(document)
    with pytest.raises(PolicyCodeChangedError, match=f"{reason}.*expected .*: restore that code"):
        now.under(document)


def test_a_golden_vector_that_comes_out_differently_is_a_departure() -> None:
    document: Any = discount.document
    document["vectors"][0]["evaluation"]["why"] = "because"
    assert "vectors give other results" in str(discount.departure(document))


@pytest.mark.parametrize("document", [{}, {"format": "loom.policy/2"}, {"format": 1.5}])
def test_a_foreign_document_is_a_departure_and_no_traceback(document: dict[str, object]) -> None:
    assert not discount.gives(document)


@pytest.mark.parametrize("part", ["parameters", "vectors"])
@pytest.mark.parametrize("value", [None, {"x": 1}, 1, "x", [1], [{"facts": {}}], 0.5])
def test_a_damaged_document_is_a_departure_and_no_traceback(part: str, value: object) -> None:
    assert not discount.gives({**discount.document, part: value})


def test_the_repr_of_a_policy_is_short() -> None:
    assert repr(discount) == f"<Policy discount {discount.version_hash[:8]}>"


def test_the_types_of_a_policy_are_known_to_a_checker() -> None:
    policy: Policy[DiscountParams, DiscountFacts] = discount
    evaluation: Evaluation = policy.evaluate(FACTS)
    assert policy.params.limit_percent == 10
    assert evaluation.needs_approval
    assert evaluation.tier == "vp_sales"
    assert evaluation.is_exception
    assert evaluation.exception_reason == "15 % asked, 10 % allowed"
