"""Decision tables: what each operator says at its borders, what is told about the rules that lost, and bad facts."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from loom.errors import PolicyTableError
from loom.journal.admission import MAX_INTEGER
from loom.policies import Evaluation, Table

INTEGER = {"type": "integer"}
DECIMAL = {"type": "decimal"}
BOOLEAN = {"type": "boolean"}
STRING = {"type": "string"}


def row(name: str, *when: list[Any], effect: str = "allow", **more: Any) -> dict[str, Any]:
    """Return a row as plain data."""
    return {"name": name, "when": list(when), "effect": effect, "why": f"because of {name}", **more}


OTHERWISE = {"name": "else", "effect": "deny", "why": "nothing else holds"}


def written(**more: Any) -> dict[str, Any]:
    """Return a table as plain data: one integer, one rule about it, and otherwise no; `more` replaces parts."""
    return {
        "format": "loom.table/1",
        "name": "small",
        "facts": {"x": INTEGER},
        "rules": [row("low", ["x", "<=", 5])],
        "otherwise": OTHERWISE,
        **more,
    }


def table(**more: Any) -> Table:
    """Return a table that the linter may complain about."""
    return Table.of(written(**more), checked=False)


def one(kind: dict[str, Any], operator: str, operand: Any, **parameters: Any) -> Table:
    """Return a table with the one condition [x operator operand], and nothing otherwise."""
    rules = [row("hit", ["x", operator, operand])]
    return table(facts={"x": kind}, rules=rules, otherwise=None, parameters=parameters)


LONG = "123456789012345678901234567890.000000000000000000000000000001"

BORDERS: list[tuple[dict[str, Any], str, Any, list[Any], list[Any]]] = [
    (INTEGER, "=", 5, [5], [4, 6, -5]),
    (INTEGER, "!=", 5, [4, 6], [5]),
    (INTEGER, "<", 5, [4, -MAX_INTEGER], [5, 6]),
    (INTEGER, "<=", 5, [4, 5], [6, MAX_INTEGER]),
    (INTEGER, ">", 5, [6, MAX_INTEGER], [5, 4]),
    (INTEGER, ">=", 5, [5, 6], [4, -MAX_INTEGER]),
    (INTEGER, "in", [1, 3], [1, 3], [0, 2, 4]),
    (INTEGER, "not in", [1, 3], [0, 2, 4], [1, 3]),
    (INTEGER, "between", [-1, 3], [-1, 0, 3], [-2, 4]),
    (INTEGER, "between", [3, 3], [3], [2, 4]),
    (INTEGER, ">", MAX_INTEGER - 1, [MAX_INTEGER], [MAX_INTEGER - 1]),
    (DECIMAL, "=", "0.10", ["0.1", "0.10", "00.100"], ["0.11", "0.1000000000000001"]),
    (DECIMAL, "=", "0", ["-0", "0.000", "-0.0"], ["0.0000001", "-0.0000001"]),
    (DECIMAL, "!=", "0.1", ["0.2", "0.1000000001"], ["0.1", "0.100"]),
    (DECIMAL, "<", "0.3", ["0.29999", "-7"], ["0.3", "0.30", "0.30001"]),
    (DECIMAL, "<=", "0.3", ["0.3", "0.300"], ["0.3000000000000000000000000001"]),
    (DECIMAL, ">", "-0.5", ["-0.4999", "0"], ["-0.5", "-0.50", "-1"]),
    (DECIMAL, ">=", "-0.5", ["-0.5", "-0.4999"], ["-0.5001"]),
    (DECIMAL, "in", ["1", "2.5"], ["1.0", "2.50"], ["2", "1.01"]),
    (DECIMAL, "not in", ["1", "2.5"], ["2", "1.01"], ["1.0", "2.50"]),
    (DECIMAL, "between", ["0.1", "0.2"], ["0.1", "0.15", "0.20"], ["0.0999", "0.2001"]),
    (DECIMAL, ">", LONG[:-1] + "0", [LONG], [LONG[:-1] + "0"]),
    (DECIMAL, "=", LONG, [LONG], [LONG[:-1] + "2"]),
    (BOOLEAN, "=", True, [True], [False]),
    (BOOLEAN, "!=", True, [False], [True]),
    (BOOLEAN, "in", [False], [False], [True]),
    (BOOLEAN, "not in", [False], [True], [False]),
    (STRING, "=", "abc", ["abc"], ["", "ab", "abcd", "ABC", " abc"]),
    (STRING, "!=", "abc", ["", "ab", "abcd", "ABC"], ["abc"]),
    (STRING, "in", ["a", "b"], ["a", "b"], ["ab", "", "A"]),
    (STRING, "not in", ["a", "b"], ["ab", "", "A"], ["a", "b"]),
    (STRING, "starts with", "ab", ["ab", "abc"], ["a", "", "Ab", " ab", "xab"]),
    (STRING, "starts with", "", ["", "anything"], []),
    (STRING, "=", "", [""], ["a", " "]),
    (STRING, "=", "é", ["é"], ["e\u0301"]),
]


@pytest.mark.parametrize(
    ("kind", "operator", "operand", "inside", "outside"),
    BORDERS,
    ids=[f"{k['type']} {o} {v}"[:50] for k, o, v, *_ in BORDERS],
)
def test_an_operator_holds_up_to_its_border_and_not_beyond(
    kind: dict[str, Any], operator: str, operand: Any, inside: list[Any], outside: list[Any]
) -> None:
    under_test = one(kind, operator, operand)
    for value in inside:
        assert (under_test.evaluate({"x": value}).rule, value) == ("hit", value)
        assert under_test.verdict({"x": value}) == ("allow", "hit", None)
    for value in outside:
        assert (under_test.evaluate({"x": value}).rule, value) == ("none", value)
        assert under_test.verdict({"x": value}) == ("indeterminate", "none", None)


@pytest.mark.parametrize(
    ("kind", "operator", "operand", "inside", "outside"),
    BORDERS,
    ids=[f"{k['type']} {o} {v}"[:50] for k, o, v, *_ in BORDERS],
)
def test_a_parameter_in_place_of_a_value_says_the_same(
    kind: dict[str, Any], operator: str, operand: Any, inside: list[Any], outside: list[Any]
) -> None:
    operands = operand if isinstance(operand, list) else [operand]
    parameters = {f"p{place}": {**kind, "value": value} for place, value in enumerate(operands)}
    refs: list[Any] = [{"param": name} for name in parameters]
    under_test = one(kind, operator, refs if isinstance(operand, list) else refs[0], **parameters)
    plain = one(kind, operator, operand)
    for value in (*inside, *outside):
        assert under_test.verdict({"x": value}) == plain.verdict({"x": value})
    assert under_test.version_hash != plain.version_hash


# --- why and why not ----------------------------------------------------------------------------


DISCOUNT = written(
    facts={"percent": {**INTEGER, "min": 0}, "vip": BOOLEAN, "rate": DECIMAL, "sector": STRING},
    parameters={"limit": {**INTEGER, "value": 10, "min": 0, "max": 50}},
    limits=[row("never", ["percent", ">", 90], effect="deny")],
    rules=[
        row("within", ["percent", "<=", {"param": "limit"}]),
        row("vip", ["vip", "=", True], ["percent", "between", [11, 30]], exception="they are dear to us"),
        row("odd", ["sector", "in", ["arms", "gold"]], ["rate", "not in", ["0.1"]], effect="deny"),
        row("ask", ["sector", "starts with", "pub"], ["vip", "!=", True], effect="require_approval", tier="vp"),
    ],
)
CASE = {"percent": 20, "vip": False, "rate": "0.10", "sector": "public"}


def said(evaluation: Evaluation) -> dict[str, str]:
    return {miss.rule: miss.why for miss in evaluation.why_not}


def test_every_other_row_is_named_with_the_condition_that_failed_in_it() -> None:
    evaluation = Table.of(DISCOUNT).evaluate(CASE)
    assert (evaluation.effect, evaluation.rule, evaluation.tier) == ("require_approval", "ask", "vp")
    assert evaluation.why == "because of ask"
    assert said(evaluation) == {
        "never": "percent is 20, not > 90",
        "within": "percent is 20, not <= 10 (limit)",
        "vip": "vip is false, not true",
        "odd": "sector is public, not in [arms, gold]",
        "else": "a rule before it holds",
    }


def test_the_first_condition_that_fails_is_the_one_that_is_told() -> None:
    evaluation = Table.of(DISCOUNT).evaluate({**CASE, "vip": True, "percent": 40, "sector": "gold"})
    assert evaluation.rule == "else"
    assert said(evaluation)["vip"] == "percent is 40, not between 11 and 30"
    assert said(evaluation)["odd"] == "rate is 0.10, not not in [0.1]"
    assert "else" not in said(evaluation)


def test_an_exception_is_told_with_its_reason() -> None:
    evaluation = Table.of(DISCOUNT).evaluate({**CASE, "vip": True})
    assert (evaluation.rule, evaluation.is_exception, evaluation.exception_reason) == (
        "vip",
        True,
        "they are dear to us",
    )
    assert said(evaluation)["ask"] == "vip is true, not != true"


def test_a_rule_that_holds_too_lost_because_another_came_first() -> None:
    rules = [row("a", ["x", ">", 0]), row("b", ["x", ">", 1]), row("c", ["x", ">", 9])]
    assert said(table(rules=rules).evaluate({"x": 5})) == {
        "b": "[a] holds and comes first",
        "c": "x is 5, not > 9",
        "else": "a rule before it holds",
    }


def test_a_small_decimal_is_told_as_it_would_be_written() -> None:
    evaluation = one(DECIMAL, ">", "1").evaluate({"x": "0.0000001"})
    assert said(evaluation) == {"hit": "x is 0.0000001, not > 1"}


def test_a_long_text_is_not_repeated_in_full_for_every_rule() -> None:
    rules = [row(f"r{place}", ["x", "=", f"value {place}"]) for place in range(50)]
    evaluation = table(facts={"x": STRING}, rules=rules).evaluate({"x": "y" * 100_000})
    assert evaluation.rule == "else"
    assert len(evaluation.model_dump_json()) < 50_000


# --- hard limits, first and unique --------------------------------------------------------------


@pytest.mark.parametrize("hit_policy", ["first", "unique"])
def test_a_hard_limit_comes_before_every_rule(hit_policy: str) -> None:
    limits = [row("negative", ["x", "<", 0], effect="deny"), row("odd", ["x", "<", -5], effect="indeterminate")]
    under_test = table(limits=limits, rules=[row("low", ["x", "<=", 5])], hit_policy=hit_policy)
    assert under_test.verdict({"x": -1}) == ("deny", "negative", None)
    assert under_test.verdict({"x": -9}) == ("deny", "negative", None)
    assert said(under_test.evaluate({"x": -1}))["low"] == "[negative] holds and comes first"
    assert under_test.evaluate({"x": -1}).effect == "deny"
    assert under_test.verdict({"x": 0}) == ("allow", "low", None)


def test_a_hard_limit_settles_a_case_in_which_several_unique_rules_hold() -> None:
    limits = [row("negative", ["x", "<", 0], effect="deny")]
    under_test = table(limits=limits, rules=[row("a", ["x", "<", 5]), row("b", ["x", "<", 6])], hit_policy="unique")
    assert under_test.verdict({"x": -1}) == ("deny", "negative", None)
    assert under_test.evaluate({"x": -1}).rule == "negative"
    assert under_test.verdict({"x": 1}) == ("indeterminate", "none", None)


def test_first_takes_the_earliest_rule_that_holds() -> None:
    rules = [row("a", ["x", ">", 5], effect="deny"), row("b", ["x", ">", 3]), row("c", ["x", ">", 5])]
    assert [table(rules=rules).verdict({"x": x}).rule for x in (6, 4, 3)] == ["a", "b", "else"]


def test_unique_refuses_to_choose_and_names_the_rules_that_hold() -> None:
    rules = [row("a", ["x", ">", 5]), row("b", ["x", ">", 3]), row("c", ["x", "<", 0])]
    under_test = table(rules=rules, hit_policy="unique")
    evaluation = under_test.evaluate({"x": 6})
    assert (evaluation.effect, evaluation.rule) == ("indeterminate", "none")
    assert evaluation.why == "rules [a, b] hold at once"
    assert said(evaluation) == {
        "a": "it holds too, and only one rule may",
        "b": "it holds too, and only one rule may",
        "c": "x is 6, not < 0",
        "else": "several rules hold",
    }
    assert [under_test.verdict({"x": x}).rule for x in (4, -1, 1)] == ["b", "c", "else"]


def test_without_an_otherwise_row_what_no_rule_is_about_is_indeterminate() -> None:
    for hit_policy in ("first", "unique"):
        evaluation = table(otherwise=None, hit_policy=hit_policy).evaluate({"x": 6})
        assert (evaluation.effect, evaluation.rule, evaluation.why) == (
            "indeterminate",
            "none",
            "no rule matches these facts",
        )
        assert said(evaluation) == {"low": "x is 6, not <= 5"}


def test_a_table_may_be_its_otherwise_row_alone() -> None:
    assert table(rules=[], facts={}).evaluate({}).rule == "else"


def test_a_rule_without_conditions_always_holds() -> None:
    assert table(rules=[row("always")], facts={}, otherwise=None).evaluate({}).rule == "always"


@pytest.mark.parametrize("effect", ["allow", "require_approval", "deny", "indeterminate"])
def test_a_rule_may_have_any_effect(effect: str) -> None:
    assert table(rules=[row("low", ["x", "<=", 5], effect=effect)]).verdict({"x": 1}) == (effect, "low", None)


# --- facts --------------------------------------------------------------------------------------

ILL_TYPED: list[tuple[dict[str, Any], Any]] = [
    (INTEGER, True),
    (INTEGER, False),
    (INTEGER, 1.0),
    (INTEGER, "1"),
    (INTEGER, [1]),
    (INTEGER, {}),
    (INTEGER, MAX_INTEGER + 1),
    (INTEGER, -MAX_INTEGER - 1),
    (INTEGER, Decimal(1)),
    (INTEGER, float("nan")),
    ({**INTEGER, "min": 0}, -1),
    ({**INTEGER, "max": 9}, 10),
    (DECIMAL, 1),
    (DECIMAL, 0.5),
    (DECIMAL, Decimal("0.5")),
    (DECIMAL, True),
    (DECIMAL, ""),
    (DECIMAL, "-"),
    (DECIMAL, "+1"),
    (DECIMAL, "1e3"),
    (DECIMAL, " 1"),
    (DECIMAL, "1 "),
    (DECIMAL, "1\n"),
    (DECIMAL, ".5"),
    (DECIMAL, "5."),
    (DECIMAL, "NaN"),
    (DECIMAL, "Infinity"),
    (DECIMAL, "1_000"),
    (DECIMAL, "1,5"),
    (DECIMAL, "٣"),
    (DECIMAL, "1" * 31),
    (DECIMAL, "0." + "1" * 31),
    (DECIMAL, "--1"),
    ({**DECIMAL, "min": "0.5"}, "0.49"),
    ({**DECIMAL, "max": "0.5"}, "0.51"),
    (BOOLEAN, 0),
    (BOOLEAN, 1),
    (BOOLEAN, "true"),
    (BOOLEAN, 1.0),
    (BOOLEAN, []),
    (STRING, 1),
    (STRING, True),
    (STRING, b"a"),
    (STRING, ["a"]),
    (STRING, "\ud800"),
    ({**STRING, "values": ["a", "b"]}, "c"),
    ({**STRING, "values": ["a", "b"]}, "A"),
]


@pytest.mark.parametrize(("kind", "value"), ILL_TYPED, ids=[f"{k['type']} {v!r:.20}" for k, v in ILL_TYPED])
def test_a_fact_that_is_ill_typed_or_out_of_bounds_is_indeterminate_and_never_the_otherwise_row(
    kind: dict[str, Any], value: Any
) -> None:
    under_test = table(facts={"x": kind}, rules=[])
    evaluation = under_test.evaluate({"x": value})
    assert (evaluation.effect, evaluation.rule) == ("indeterminate", "facts")
    assert evaluation.why == "fact [x] is not of its type or out of its bounds"
    assert evaluation.details == {"ill_typed": "x"}
    assert under_test.verdict({"x": value}) == ("indeterminate", "facts", None)


@pytest.mark.parametrize(
    ("facts", "why", "details"),
    [
        ({}, "fact [a, b] is missing", {"missing": "a, b"}),
        ({"a": 1}, "fact [b] is missing", {"missing": "b"}),
        ({"a": None, "b": 1}, "fact [a] is null", {"null": "a"}),
        (
            {"a": None, "b": True},
            "fact [b] is not of its type or out of its bounds; fact [a] is null",
            {"ill_typed": "b", "null": "a"},
        ),
        ({"a": 1, "b": 1, "c": 1}, "fact [c] is unknown", {"unknown": "c"}),
        ({"B": 1, "a": 1}, "fact [b] is missing; fact [B] is unknown", {"missing": "b", "unknown": "B"}),
    ],
)
def test_facts_that_cannot_be_judged_are_named_with_what_is_wrong(
    facts: dict[str, Any], why: str, details: dict[str, str]
) -> None:
    under_test = table(facts={"a": INTEGER, "b": INTEGER}, rules=[])
    evaluation = under_test.evaluate(facts)
    assert (evaluation.effect, evaluation.rule, evaluation.why) == ("indeterminate", "facts", why)
    assert evaluation.details == details
    assert evaluation.why_not == ()
    assert under_test.evaluate(json.dumps(facts)) == evaluation


def test_a_bad_fact_is_indeterminate_even_where_no_condition_looks_at_it_or_a_limit_would_hold() -> None:
    under_test = table(facts={"x": INTEGER, "more": STRING}, limits=[row("never", effect="deny")])
    assert under_test.evaluate({"x": 1}).rule == "facts"
    assert under_test.verdict({"x": 1}).rule == "facts"
    assert under_test.verdict({"x": 1, "more": "m"}).rule == "never"


@pytest.mark.parametrize(
    "facts",
    ["", "[]", "nul", "3", '"x"', b"\xff", "[" * 100_000, '{"x": 1, "x": 2}', '{"x": NaN}', '{"x": 1', "\ufeff{}"],
    ids=lambda facts: repr(facts)[:20],
)
def test_text_that_is_not_an_object_of_json_is_indeterminate(facts: str | bytes) -> None:
    evaluation = table().evaluate(facts)
    assert (evaluation.effect, evaluation.rule) == ("indeterminate", "facts")


@pytest.mark.parametrize("facts", [None, 3, [], [("x", 1)], {1}, pytest.param(object(), id="object")], ids=repr)
def test_what_is_no_mapping_at_all_is_indeterminate(facts: Any) -> None:
    assert table().evaluate(facts).why == "the facts are not an object of JSON"


@pytest.mark.parametrize(
    "key", ["", "\ud800", 1, None, (), 10**5000, "a" * 1000, "x\n"], ids=lambda key: type(key).__name__
)
def test_a_strange_name_among_the_facts_is_unknown_and_breaks_nothing(key: Any) -> None:
    evaluation = table().evaluate({"x": 1, key: 1})
    assert (evaluation.effect, evaluation.rule, list(evaluation.details)) == ("indeterminate", "facts", ["unknown"])
    assert table().verdict({"x": 1, key: 1}).rule == "low"


def test_unknown_facts_are_left_out_when_asked_for() -> None:
    facts = {"x": 1, "recorded_for_another_version": 1}
    assert table().evaluate_json(facts, ignore_unknown=True) == table().evaluate({"x": 1})
    assert table().evaluate_json(json.dumps(facts), ignore_unknown=True) == table().evaluate({"x": 1})
    assert table().verdict(facts).rule == "low"


def test_a_mapping_that_makes_up_what_it_is_asked_for_is_not_believed() -> None:
    from collections import Counter

    assert table().evaluate(Counter()).details == {"missing": "x"}
    assert table().verdict(Counter()).rule == "facts"


def test_facts_may_be_a_mapping_or_a_model_or_text_and_say_the_same() -> None:
    class Facts(BaseModel):
        percent: int
        vip: bool
        rate: Decimal
        sector: str

    under_test = Table.of(DISCOUNT)
    by_mapping = under_test.evaluate(CASE)
    assert under_test.evaluate(Facts(percent=20, vip=False, rate=Decimal("0.10"), sector="public")) == by_mapping
    assert under_test.evaluate(json.dumps(CASE)) == by_mapping
    assert under_test.evaluate(json.dumps(CASE).encode()) == by_mapping


def test_a_model_of_other_facts_is_told_what_is_wrong_instead_of_raising() -> None:
    class Others(BaseModel):
        percent: float = 0.5
        more: int = 1

    evaluation = Table.of(DISCOUNT).evaluate(Others())
    assert evaluation.details == {"ill_typed": "percent", "missing": "rate, sector, vip", "unknown": "more"}


def test_bounds_of_a_fact_are_inside_them() -> None:
    kind = {**INTEGER, "min": 0, "max": 9}
    assert [table(facts={"x": kind}).verdict({"x": x}).rule for x in (-1, 0, 9, 10)] == [
        "facts",
        "low",
        "else",
        "facts",
    ]
    kind = {**DECIMAL, "min": "0.5", "max": "0.5"}
    under_test = table(facts={"x": kind}, rules=[])
    assert [under_test.verdict({"x": x}).rule for x in ("0.49", "0.50", "0.51")] == ["facts", "else", "facts"]


BOUNDED = written(
    parameters={"limit": {**INTEGER, "value": 10, "min": 0, "max": 50}},
    rules=[row("low", ["x", "<=", {"param": "limit"}])],
)


# --- parameters ---------------------------------------------------------------------------------


def test_other_parameters_make_another_version_that_answers_otherwise() -> None:
    old = Table.of(DISCOUNT)
    new = old.with_params(limit=20)
    assert (old.parameters, new.parameters) == ({"limit": 10}, {"limit": 20})
    assert (old.verdict(CASE).rule, new.verdict(CASE).rule) == ("ask", "within")
    assert old.version_hash != new.version_hash
    assert new.with_params(limit=10).version_hash == old.version_hash
    assert new.about == old.about


@pytest.mark.parametrize("value", [0, 50])
def test_a_parameter_may_be_set_up_to_its_bounds(value: int) -> None:
    assert Table.of(DISCOUNT).with_params(limit=value).parameters == {"limit": value}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (-1, "is below [0]"),
        (51, "is above [50]"),
        (True, "is not of type [integer]"),
        ("10", "is not of type"),
        (1.5, "float at [$.parameters.limit.value]"),
        (None, "parameters.limit.value"),
    ],
)
def test_a_parameter_may_not_leave_its_bounds_or_its_type(value: Any, problem: str) -> None:
    with pytest.raises(PolicyTableError) as refused:
        Table.of(DISCOUNT).with_params(limit=value)
    assert problem in str(refused.value)


def test_a_parameter_that_is_not_there_cannot_be_set() -> None:
    with pytest.raises(PolicyTableError, match=r"has no parameters \[more\]; expected some of \[limit\]"):
        Table.of(DISCOUNT).with_params(more=1)


def test_parameters_that_make_an_error_of_a_rule_are_refused() -> None:
    parameters = {"low": {**INTEGER, "value": 1}, "high": {**INTEGER, "value": 5}}
    rules = [row("mid", ["x", "between", [{"param": "low"}, {"param": "high"}]])]
    with pytest.raises(PolicyTableError, match="ends before it begins"):
        Table.of(written(parameters=parameters, rules=rules)).with_params(low=6)
