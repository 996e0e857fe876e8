"""Semantics 2: a table that says `missing: three_valued` answers live where gaps cannot change the answer."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.errors import PolicyCodeChangedError, PolicyTableError
from loom.policies import Table, version_hash
from loom.policies.tables.table import table_of
from tests.policies.test_tables_gaps import CASE, DOMAIN, LOAN
from tests.policies.test_tables_properties import FACTS, tables

THREE = {"missing": "three_valued"}


def loan() -> Table:
    return Table.of({**LOAN, **THREE})


@settings(max_examples=150, deadline=None)
@given(tables(), st.data())
def test_it_answers_exactly_where_every_way_to_fill_the_gaps_gives_the_same_answer(
    written: Any, data: st.DataObject
) -> None:
    table, plain = Table.of({**written, **THREE}, checked=False), Table.of(written, checked=False)
    case = {name: data.draw(st.sampled_from(DOMAIN[name])) for name in FACTS}
    missing = data.draw(st.lists(st.sampled_from(sorted(FACTS)), max_size=2, unique=True))
    facts = {name: value for name, value in case.items() if name not in missing}

    said = table.evaluate_json(facts)

    ways = [
        plain.evaluate_json({**facts, **dict(zip(missing, filled, strict=True))})
        for filled in itertools.product(*(DOMAIN[name] for name in missing))
    ]
    assert table.verdict(facts) == (said.effect, said.rule, said.tier)
    if not missing:
        assert said == plain.evaluate_json(case)
        return
    answers = {(each.effect, each.tier, each.exception_reason) for each in ways}
    rules = {each.rule for each in ways}
    if len(answers) > 1 or "none" in rules:
        assert (said.effect, said.rule) == ("indeterminate", "facts")
        assert said.details["missing"] == ", ".join(name for name in FACTS if name in missing)
        return
    assert {(said.effect, said.tier, said.exception_reason)} == answers
    assert said.rule == (next(iter(rules)) if len(rules) == 1 else "several")
    assert {each.rule for each in said.why_not} == {row.name for row in table.layout.rows} - rules


def test_null_ill_typed_and_unknown_facts_stay_indeterminate() -> None:
    decided = {"ratio": "1.6", "purpose": "other", "married": True}

    assert loan().evaluate_json(decided).effect == "deny"
    for wrong in ({"income": None}, {"income": "much"}, {"nobody asks": 1}):
        assert loan().evaluate_json({**decided, **wrong}).rule == "facts"
    assert Table.of(LOAN).evaluate_json(decided).rule == "facts", "without the word in its document nothing changes"


def test_the_words_say_what_is_missing_and_that_it_does_not_matter() -> None:
    alone = loan().evaluate_json({**{k: v for k, v in CASE.items() if k != "married"}, "income": 70_000})
    several = loan().evaluate_json({"ratio": "1.2", "purpose": "home", "income": 10_000, "married": True})
    undecided = loan().evaluate_json({"ratio": "0.5", "purpose": "other"})

    assert (alone.rule, alone.tier, alone.why) == ("middle", "vp", "m, whatever [married] is")
    assert alone.why_not[0].condition == ("ratio", ">", "1.5")
    assert several.rule == "else"
    assert undecided.why == "fact [income, married] is missing; the answer depends on [income]"


def test_several_rules_may_give_the_one_answer() -> None:
    said = loan().evaluate_json({"income": 10_000, "purpose": "other", "married": False})

    assert (said.effect, said.rule, said.details) == ("deny", "several", {"missing": "ratio", "rules": "broke, else"})


@pytest.mark.parametrize("other", [{"tier": "head"}, {"tier": "vp", "exception": "odd"}])
def test_another_tier_or_an_exception_is_another_answer(other: dict[str, Any]) -> None:
    first = {"name": "first", "when": [["married", "=", True]], "effect": "require_approval", "tier": "vp", "why": "w"}
    rest = {"name": "else", "effect": "require_approval", "tier": "vp", "why": "else"}
    written = {**LOAN, **THREE, "limits": [], "rules": [first]}

    same, differs = (Table.of({**written, "otherwise": {**rest, **more}}) for more in ({}, other))

    facts = {"income": 1, "ratio": "1", "purpose": "home"}
    assert (same.evaluate_json(facts).tier, same.verdict(facts).rule) == ("vp", "several")
    assert differs.evaluate_json(facts).effect == "indeterminate"


def test_it_is_another_version_and_its_document_says_so() -> None:
    plain, table = Table.of(LOAN), loan()

    assert plain.document["semantics"] == 1
    assert "missing" not in plain.document
    assert (table.document["semantics"], table.document["missing"]) == (2, "three_valued")
    assert table.version_hash == version_hash(table.document) != plain.version_hash
    assert table_of(table.document).version_hash == table.version_hash
    assert Table.of(table.written()).version_hash == table.version_hash
    assert plain.under(table.document).evaluate_json({"ratio": "1.6"}).effect == "deny"
    assert Table.of({**LOAN, "missing": "indeterminate"}).version_hash == plain.version_hash
    for document in ({**table.document, "semantics": 1}, {**plain.document, "semantics": 2}, {**LOAN, "semantics": 3}):
        with pytest.raises(PolicyCodeChangedError, match="semantics"):
            table_of(document)


def test_too_many_ways_to_fill_the_gaps_are_indeterminate() -> None:
    facts = {f"f{number}": {"type": "integer"} for number in range(9)}
    rules = [
        {"name": f"{name}-{at}", "when": [[name, "=", at]], "effect": "deny", "why": "w"}
        for name in facts
        for at in (1, 5, 9)
    ]
    table = Table.of({**LOAN, **THREE, "facts": facts, "limits": [], "rules": rules}, checked=False)

    assert table.evaluate_json({}).why.endswith("there are too many ways to fill it to look at")


def test_a_rule_may_not_have_the_name_that_stands_for_several() -> None:
    rules = [{"name": "several", "when": [], "effect": "allow", "why": "w"}]

    assert Table.of({**LOAN, "rules": rules, "otherwise": None}).name == "loan"
    with pytest.raises(PolicyTableError, match="is taken by loom"):
        Table.of({**LOAN, **THREE, "rules": rules, "otherwise": None})
