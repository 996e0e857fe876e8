"""What the linter finds in tables, and that what it says is so."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.errors import PolicyTableError
from loom.policies.evaluation import NO_MATCH
from loom.policies.tables import Finding, Table, lint
from loom.policies.tables.table import table_of


def table(rules: list[dict[str, Any]], **more: Any) -> Table:
    written = {
        "format": "loom.table/1",
        "name": "linted",
        "facts": {
            "n": {"type": "integer"},
            "d": {"type": "decimal"},
            "b": {"type": "boolean"},
            "s": {"type": "string"},
        },
        "rules": [{"effect": "allow", "why": "so", **rule} for rule in rules],
        **more,
    }
    return Table.of(written, checked=False)


def found(rules: list[dict[str, Any]], **more: Any) -> list[Finding]:
    return [each for each in lint(table(rules, **more).layout) if not each.code.startswith("unused")]


def codes(rules: list[dict[str, Any]], **more: Any) -> list[tuple[str, str]]:
    return [(each.severity, each.code) for each in found(rules, **more)]


ELSE = {"otherwise": {"name": "else", "effect": "deny", "why": "else"}}


@pytest.mark.parametrize(
    "when",
    [
        [["n", "<", 5], ["n", ">", 5]],
        [["n", ">", 4], ["n", "<", 5]],
        [["n", "=", 1], ["n", "=", 2]],
        [["n", "between", [1, 3]], ["n", "not in", [1, 2, 3]]],
        [["d", ">", "0.5"], ["d", "<=", "0.50"]],
        [["b", "=", True], ["b", "!=", True]],
        [["s", "=", "a"], ["s", "starts with", "b"]],
        [["s", "starts with", "ab"], ["s", "starts with", "ac"]],
        [["s", "in", ["a", "b"]], ["s", "not in", ["a", "b"]]],
    ],
)
def test_a_rule_whose_conditions_contradict_each_other_never_fires(when: list[Any]) -> None:
    rules: list[dict[str, Any]] = [{"name": "never", "when": when}, {"name": "rest"}]
    assert ("error", "never_fires") in codes(rules)
    with pytest.raises(PolicyTableError, match=r"rule \[never\]: no facts make all of its conditions hold"):
        Table.of(table(rules).written())


@pytest.mark.parametrize(
    "when",
    [
        [["n", ">", 4], ["n", "<", 6]],
        [["d", ">", "0.5"], ["d", "<", "0.51"]],
        [["s", "starts with", "ab"], ["s", "!=", "ab"]],
        [["n", "!=", 1], ["n", "!=", 2]],
    ],
)
def test_a_rule_that_is_narrow_fires(when: list[Any]) -> None:
    assert not [each for each in found([{"name": "narrow", "when": when}], **ELSE) if each.severity == "error"]


def test_a_rule_behind_a_wider_one_is_unreachable_and_says_which_comes_first() -> None:
    [finding] = [
        each
        for each in found(
            [{"name": "wide", "when": [["n", "<", 10]]}, {"name": "lost", "when": [["n", "<", 5]]}], **ELSE
        )
        if each.severity == "error"
    ]
    assert finding.code == "unreachable"
    assert str(finding) == "rule [lost]: [wide] comes first whenever it holds"


def test_a_rule_behind_two_that_cover_it_together_is_unreachable() -> None:
    rules: list[dict[str, Any]] = [
        {"name": "low", "when": [["n", "<", 5]]},
        {"name": "high", "when": [["n", ">=", 5]]},
        {"name": "lost", "when": [["b", "=", True]]},
    ]
    assert ("error", "unreachable") in codes(rules)


def test_a_row_for_everything_else_that_nothing_is_left_for_is_unreachable() -> None:
    rules: list[dict[str, Any]] = [
        {"name": "yes", "when": [["b", "=", True]]},
        {"name": "no", "when": [["b", "=", False]]},
    ]
    assert ("error", "unreachable") in codes(rules, **ELSE)
    assert codes(rules) == []


def test_a_gap_is_shown_by_a_case_that_no_rule_is_about() -> None:
    [gap] = found([{"name": "low", "when": [["n", "<", 5]]}])
    assert (gap.severity, gap.code) == ("warning", "gap")
    assert gap.words == "no rule covers the case where n is 5"


def test_an_overlap_is_an_error_where_only_one_rule_may_hold_and_else_a_warning() -> None:
    rules: list[dict[str, Any]] = [
        {"name": "low", "when": [["n", "<", 5]]},
        {"name": "bad", "when": [["b", "=", True]], "effect": "deny"},
    ]
    assert ("warning", "overlap") in codes(rules, **ELSE)
    assert ("error", "overlap") in codes(rules, hit_policy="unique", **ELSE)


def test_bounds_and_values_of_facts_count() -> None:
    facts = {"n": {"type": "integer", "min": 0, "max": 9}, "s": {"type": "string", "values": ["a", "b"]}}
    rules: list[dict[str, Any]] = [
        {"name": "negative", "when": [["n", "<", 0]]},
        {"name": "all", "when": [["s", "in", ["a", "b"]]]},
    ]
    assert codes(rules, facts=facts) == [("error", "never_fires")]


def test_parameters_count_with_what_they_are_set_to() -> None:
    rules: list[dict[str, Any]] = [
        {"name": "low", "when": [["n", "<", {"param": "p"}]]},
        {"name": "five", "when": [["n", "=", 5]]},
    ]
    parameters = {"p": {"type": "integer", "value": 10, "min": 0, "max": 20}}
    assert ("warning", "unreachable") in codes(rules, parameters=parameters, **ELSE)
    tuned = {"p": {**parameters["p"], "value": 5}}
    assert ("warning", "unreachable") not in codes(rules, parameters=tuned, **ELSE)
    assert table(rules, parameters=tuned, **ELSE).with_params(p=6).parameters == {"p": 6}  # within its bounds


def test_what_nobody_looks_at_is_told() -> None:
    parameters = {"p": {"type": "integer", "value": 1}}
    told = {each.code for each in lint(table([{"name": "all"}], parameters=parameters).layout)}
    assert told == {"unused_fact", "unused_parameter"}


def test_a_table_of_too_many_kinds_of_cases_says_that_it_was_not_looked_at() -> None:
    facts = {f"n{number}": {"type": "integer"} for number in range(12)}
    rules = [{"name": f"r{number}", "when": [[f"n{number}", "=", 3]]} for number in range(12)]
    assert codes(rules, facts=facts) == [("warning", "too_large")]


conditions = st.one_of(
    st.tuples(st.just("n"), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), st.integers(0, 4)),
    st.tuples(st.just("n"), st.sampled_from(["in", "not in"]), st.lists(st.integers(0, 4), min_size=1, max_size=3)),
    st.tuples(st.just("b"), st.sampled_from(["=", "!="]), st.booleans()),
    st.tuples(st.just("s"), st.sampled_from(["=", "!=", "starts with"]), st.sampled_from(["", "a", "ab", "b"])),
).map(list)
tables = st.lists(
    st.tuples(st.lists(conditions, max_size=3), st.sampled_from(["allow", "deny"])), min_size=1, max_size=4
)
cases = st.fixed_dictionaries(
    {
        "n": st.integers(-2, 7),
        "d": st.just("1"),
        "b": st.booleans(),
        "s": st.sampled_from(["", "a", "ab", "abc", "b", "ba", "z"]),
    }
)


@settings(max_examples=60)
@given(tables, st.lists(cases, min_size=50, max_size=50))
def test_what_the_linter_says_is_so(rows: list[Any], facts: list[dict[str, Any]]) -> None:
    rules = [{"name": f"r{n}", "when": when, "effect": effect} for n, (when, effect) in enumerate(rows)]
    made = table(rules)
    said = found(rules)
    never = {each.place.removeprefix("rule [").removesuffix("]") for each in said if each.severity == "error"}
    hit = {made.evaluate(each).rule for each in facts}
    assert not hit & never
    if NO_MATCH in hit:
        assert any(each.code == "gap" for each in said)


def test_what_was_registered_once_is_not_linted_again() -> None:
    made = table([{"name": "all"}, {"name": "lost"}])
    assert table_of(made.document).version_hash == made.version_hash
