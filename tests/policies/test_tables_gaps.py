"""Facts that are missing, facts that would have to be others, and values as databases give them."""

from __future__ import annotations

import itertools
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.errors import AdmissionError
from loom.policies import Table
from loom.policies.tables import Change
from tests.policies.test_tables_properties import FACTS, tables

DOMAIN: dict[str, list[Any]] = {
    "n": list(range(-3, 12)),
    "d": [format(Decimal(quarter) / 4, "f") for quarter in range(-8, 11)],
    "b": [False, True],
    "s": ["", "a", "ab", "abc", "b", "é", "ax", "abx", "bx", "éx", "abcx", "x"],
    "v": ["red", "green"],
}
"""Values enough to find every class of the tables that hypothesis makes."""

LOAN: dict[str, Any] = {
    "format": "loom.table/1",
    "name": "loan",
    "facts": {
        "income": {"type": "integer", "min": 0, "max": 500_000},
        "ratio": {"type": "decimal", "min": "0", "max": "2"},
        "married": {"type": "boolean"},
        "purpose": {"type": "string", "values": ["home", "other"]},
    },
    "limits": [{"name": "broke", "when": [["ratio", ">", "1.5"]], "effect": "deny", "why": "no"}],
    "rules": [
        {"name": "rich", "when": [["income", ">=", 100_000], ["ratio", "<", "0.9"]], "effect": "allow", "why": "r"},
        {"name": "home", "when": [["purpose", "=", "home"], ["ratio", "<=", "0.4"]], "effect": "allow", "why": "h"},
        {"name": "middle", "when": [["income", ">=", 60_000]], "effect": "require_approval", "tier": "vp", "why": "m"},
    ],
    "otherwise": {"name": "else", "effect": "deny", "why": "else"},
}
CASE = {"income": 59_990, "ratio": "0.9", "married": True, "purpose": "other"}


def loan() -> Table:
    return Table.of(LOAN)


@settings(max_examples=150, deadline=None)
@given(tables(), st.data())
def test_a_gap_is_decided_exactly_where_every_way_to_fill_it_has_one_effect(written: Any, data: st.DataObject) -> None:
    table = Table.of(written, checked=False)
    case = {name: data.draw(st.sampled_from(DOMAIN[name])) for name in FACTS}
    missing = data.draw(st.lists(st.sampled_from(sorted(FACTS)), max_size=2, unique=True))
    given_facts = {name: value for name, value in case.items() if name not in missing}

    said = table.partial(given_facts)

    effects = {
        filled: table.evaluate_json({**given_facts, **dict(zip(missing, filled, strict=True))}).effect
        for filled in itertools.product(*(DOMAIN[name] for name in missing))
    }
    if len(set(effects.values())) == 1:
        assert (said.state, said.effect) == ("decided", next(iter(effects.values())))
        return
    assert said.state == "open"
    decisive = {
        name
        for place, name in enumerate(missing)
        for one, two in itertools.combinations(effects, 2)
        if effects[one] != effects[two] and all(one[i] == two[i] for i in range(len(missing)) if i != place)
    }
    assert set(said.depends_on) == decisive
    assert decisive


def test_what_is_not_asked_of_a_fact_leaves_the_case_decided() -> None:
    said = loan().partial({"income": 70_000, "ratio": "1.2", "purpose": "other"})

    assert (said.state, said.effect, said.rule, said.tier) == ("decided", "require_approval", "middle", "vp")
    assert said.words == "decided: require_approval"


def test_an_open_case_says_on_what_it_depends() -> None:
    said = loan().partial({"ratio": "0.5", "purpose": "other"})

    assert said.words == "open: depends on [income]"
    assert loan().partial({}).words == "open: depends on [income, ratio, purpose]"
    assert loan().partial({"ratio": "1.6"}).words == "decided: deny, whatever [income, purpose] are"


@pytest.mark.parametrize(
    ("facts", "problem"), [({"income": None}, "null [income]"), ({"ratio": 1}, "ill_typed [ratio]")]
)
def test_null_and_ill_typed_are_no_gaps(facts: dict[str, Any], problem: str) -> None:
    assert loan().partial(facts).words == f"unusable: {problem}"


def test_too_many_combinations_are_not_looked_at() -> None:
    facts = {f"f{number}": {"type": "integer"} for number in range(9)}
    rules = [
        {"name": f"r{name}{at}", "when": [[name, "=", at]], "effect": "deny", "why": "w"}
        for name in facts
        for at in (1, 5, 9)
    ]
    table = Table.of(
        {**LOAN, "facts": facts, "limits": [], "rules": rules, "otherwise": {**LOAN["otherwise"], "effect": "allow"}},
        checked=False,
    )

    assert table.partial({}).words == "open: not looked at"
    assert table.nearest(dict.fromkeys(facts, 1)).state == "not_looked_at"


# --- the nearest case ---------------------------------------------------------------------------


def distance(name: str, old: Any, new: Any, unit: Fraction) -> Fraction:
    return abs(Fraction(new) - Fraction(old)) / unit if name in "nd" else Fraction(1)


@settings(max_examples=150, deadline=None)
@given(tables(), st.data())
def test_the_nearest_case_is_the_one_that_a_search_through_all_cases_finds(written: Any, data: st.DataObject) -> None:
    """Whole numbers of steps alone are looked at, so that there is a nearest one."""
    table = Table.of(written, checked=False)
    case = {name: data.draw(st.sampled_from(DOMAIN[name])) for name in FACTS}
    free = data.draw(st.lists(st.sampled_from(sorted(FACTS)), min_size=1, max_size=3, unique=True))

    said = table.nearest(case, want="allow", free=free, step={"d": Decimal("0.25")} if "d" in free else {})

    if table.evaluate_json(case).effect == "allow":
        assert said.state == "already"
        return
    allowed = []
    for filled in itertools.product(*(DOMAIN[name] for name in free)):
        other = {**case, **dict(zip(free, filled, strict=True))}
        if table.evaluate_json(other).effect == "allow":
            changed = [name for name in free if other[name] != case[name]]
            units = {name: unit(written, name) for name in changed if name in "nd"}
            far = sum(
                (distance(name, case[name], other[name], units.get(name, Fraction(1))) for name in changed), Fraction()
            )
            allowed.append((len(changed), far))
    if not allowed:
        assert said.state == "none"
        return
    assert said.state == "found"
    assert (len(said.changes), said.distance) == min(allowed)
    after = table.evaluate_json({**case, **{change.fact: change.new for change in said.changes}})
    assert (after.effect, after.rule) == ("allow", said.rule)


def unit(written: Any, name: str) -> Fraction:
    """Return the largest constant: the facts of these tables have one bound at most, and so no span."""
    values = [
        written["parameters"][each["param"]]["value"] if isinstance(each, dict) else each
        for row in (*written["limits"], *written["rules"])
        for fact, _, value in row["when"]
        if fact == name
        for each in (value if isinstance(value, list) else [value])
    ]
    return max((abs(Fraction(each)) for each in values), default=Fraction(0)) or Fraction(1)


def test_the_nearest_case_changes_as_few_facts_as_it_can_and_those_as_little() -> None:
    said = loan().nearest(CASE, want="require_approval")

    assert [change.words for change in said.changes] == ["income: 60000"]
    assert said.changes == (Change("income", 59_990, 60_000),)
    assert said.rule == "middle"
    assert loan().nearest({**CASE, "income": 70_000}, want="require_approval").state == "already"


def test_a_decimal_without_a_step_has_an_open_bound_and_says_so() -> None:
    case = {**CASE, "income": 120_000}

    without = loan().nearest(case, free=["ratio"])
    stepped = loan().nearest(case, free=["ratio"], step={"ratio": Decimal("0.01")})

    assert [change.words for change in without.changes] == ["ratio: below 0.9"]
    assert [change.words for change in stepped.changes] == ["ratio: 0.89"]


def test_what_no_values_of_the_free_facts_can_reach_is_none() -> None:
    assert loan().nearest(CASE, free=["married"]).state == "none"
    assert loan().nearest({**CASE, "ratio": None}).state == "unusable"


def test_a_step_may_jump_over_what_would_be_allowed() -> None:
    case = {**CASE, "income": 120_000}

    said = loan().nearest(case, free=["ratio"], step={"ratio": Decimal(1)})

    assert said.state == "none"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"free": ["nope"]}, "asks for no facts"),
        ({"step": {"ratio": 0.1}}, "step"),
        ({"step": {"ratio": 0}}, "step"),
        ({"step": {"purpose": 1}}, "step"),
    ],
)
def test_what_makes_no_sense_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(AdmissionError, match=message):
        loan().nearest(CASE, **more)


# --- values as they come ------------------------------------------------------------------------


class Purpose(Enum):
    HOME = "home"


@pytest.mark.parametrize(
    ("name", "raw", "canonical"),
    [
        ("income", 5, 5),
        ("income", 5.0, 5),
        ("income", Decimal("5.00"), 5),
        ("income", numpy.int64(5), 5),
        ("income", numpy.float64(5), 5),
        ("income", 5.5, 5.5),
        ("income", float("inf"), float("inf")),
        ("income", Decimal("sNaN"), Decimal("sNaN")),
        ("income", 2.0**60, 2.0**60),
        ("income", "5", "5"),
        ("ratio", Decimal("0.50"), "0.50"),
        ("ratio", Decimal("1E+1"), "10"),
        ("ratio", "1E-2", "0.01"),
        ("ratio", "0.5", "0.5"),
        ("ratio", "much", "much"),
        ("ratio", 1, "1"),
        ("ratio", True, True),
        ("ratio", numpy.int32(2), "2"),
        ("married", 1, True),
        ("married", 0, False),
        ("married", numpy.bool_(True), True),
        ("married", 2, 2),
        ("purpose", Purpose.HOME, "home"),
        ("purpose", None, None),
        ("nobody asks", 0.5, 0.5),
    ],
)
def test_an_exact_value_becomes_what_the_table_asks_for_and_others_stay(
    name: str, raw: object, canonical: object
) -> None:
    found = loan().facts({name: raw})[name]

    assert type(found) is type(canonical)
    assert str(found) == str(canonical)


@pytest.mark.parametrize("raw", [0.1, numpy.float64(0.1), float("nan"), 1.0])
def test_a_float_for_a_decimal_is_refused_with_what_to_write(raw: float) -> None:
    with pytest.raises(AdmissionError, match=r'write Decimal\("[0-9.]+"\) or "[0-9.]+"'):
        loan().facts({"ratio": raw})


@settings(max_examples=200)
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=6))
def test_a_decimal_keeps_its_value(value: Decimal) -> None:
    text = loan().facts({"ratio": value})["ratio"]

    assert isinstance(text, str)
    assert Decimal(text) == value


def test_facts_that_were_converted_are_judged_as_their_canonical_form() -> None:
    raw = {"income": Decimal(120_000), "ratio": Decimal("0.8"), "married": 1, "purpose": Purpose.HOME}

    assert loan().evaluate_json(loan().facts(raw)).rule == "rich"
    assert loan().evaluate_json(raw).effect == "indeterminate", "an evaluation of recorded facts converts nothing"


def test_where_a_limit_is_included_the_nearest_value_is_the_limit_itself_and_no_bound() -> None:
    table = Table.of(
        {
            "format": "loom.table/1",
            "name": "limit",
            "facts": {"share": {"type": "decimal"}},
            "rules": [{"name": "over", "when": [["share", ">", "36"]], "effect": "deny", "why": "too much"}],
            "otherwise": {"name": "sound", "effect": "allow", "why": "well"},
        }
    )
    [change] = table.nearest({"share": "40"}).changes
    assert (change.new, change.bound) == ("36", None)
    [change] = table.nearest({"share": "30"}, want="deny").changes
    assert (change.new, change.bound) == ("36", "above")
