"""Evaluations, the models that rules read, and the words that rules are written with."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from loom.policies import (
    Effect,
    Evaluation,
    Facts,
    Params,
    RuleMiss,
    allow,
    case,
    deny,
    first_match,
    indeterminate,
    otherwise,
    require_approval,
)

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
TEXTS = st.text(min_size=1)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)
MISSES = st.lists(st.builds(RuleMiss, rule=TEXTS, why=TEXTS), max_size=3).map(tuple)
EVALUATIONS = st.builds(
    Evaluation,
    effect=st.sampled_from(["allow", "deny", "indeterminate"]),
    rule=TEXTS,
    why=TEXTS,
    why_not=MISSES,
    details=st.dictionaries(NAMES, SCALARS, max_size=3),
) | st.builds(
    Evaluation,
    effect=st.just("require_approval"),
    rule=TEXTS,
    why=TEXTS,
    tier=TEXTS,
    is_exception=st.just(True),  # noqa: FBT003, RUF100
    exception_reason=TEXTS,
)


@given(EVALUATIONS)
def test_an_evaluation_comes_back_from_json_as_it_went(evaluation: Evaluation) -> None:
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation
    assert Evaluation.model_validate(evaluation.model_dump(mode="json")) == evaluation


@given(EVALUATIONS)
def test_an_evaluation_says_at_most_one_thing(evaluation: Evaluation) -> None:
    said = (evaluation.allowed, evaluation.needs_approval, evaluation.denied)
    assert sum(said) == (0 if evaluation.effect == "indeterminate" else 1)


@pytest.mark.parametrize(
    "change",
    [
        {"effect": "maybe"},
        {"rule": ""},
        {"why": ""},
        {"tier": "boss"},
        {"exception_reason": "because"},
        {"details": {"x": float("nan")}},
        {"details": {"x": float("inf")}},
        {"details": {"$x": 1}},
        {"details": {"x": [1]}},
        {"unknown": 1},
        {"why_not": [{"rule": "a"}]},
    ],
)
def test_an_evaluation_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Evaluation.model_validate({"effect": "allow", "rule": "r", "why": "w", **change})


def test_an_evaluation_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Evaluation(effect="deny", rule="r", why="w").effect = "allow"  # type: ignore[misc]


class Limits(Params):
    limit: int = 1
    share: float = 0.5
    name: str = "a"


class Case(Facts):
    count: int


@pytest.mark.parametrize("value", [True, 1.0, "1", None])
def test_what_is_not_an_integer_is_not_taken_for_one(value: Any) -> None:
    with pytest.raises(ValidationError):
        Limits(limit=value)
    with pytest.raises(ValidationError):
        Case(count=value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_a_number_is_not_taken_for_one(value: float) -> None:
    with pytest.raises(ValidationError):
        Limits(share=value)


def test_parameters_and_facts_are_frozen_and_closed() -> None:
    with pytest.raises(ValidationError):
        Limits().limit = 2  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Limits.model_validate({"limit": 1, "more": 2})


def test_a_default_outside_its_bounds_is_refused() -> None:
    class Wrong(Params):
        limit: int = "many"  # type: ignore[assignment]

    with pytest.raises(ValidationError):
        Wrong()


EFFECTS: list[tuple[Effect, dict[str, object]]] = [
    (allow(), {"effect": "allow"}),
    (allow(exception="e"), {"effect": "allow", "is_exception": True, "exception_reason": "e"}),
    (require_approval(), {"effect": "require_approval", "tier": None}),
    (require_approval("vp"), {"effect": "require_approval", "tier": "vp", "is_exception": False}),
    (deny(), {"effect": "deny"}),
    (indeterminate(), {"effect": "indeterminate"}),
]


@pytest.mark.parametrize(("effect", "expected"), EFFECTS)
def test_an_effect_becomes_the_evaluation_of_its_case(effect: Effect, expected: dict[str, object]) -> None:
    evaluation = first_match(otherwise("r", effect, why="w", details={"n": 1}))
    assert expected.items() <= evaluation.model_dump().items()
    assert evaluation.details == {"n": 1}


@given(st.lists(st.booleans(), max_size=8))
def test_the_first_case_that_holds_is_the_hit_and_every_other_one_a_miss(holds: list[bool]) -> None:
    rows = [case(f"r{n}", each, allow(), why="holds", why_not=f"fails {n}") for n, each in enumerate(holds)]
    evaluation = first_match(*rows)
    hit = f"r{holds.index(True)}" if any(holds) else "none"
    assert evaluation.rule == hit
    assert [miss.rule for miss in evaluation.why_not] == [row.rule for row in rows if row.rule != hit]
    for miss in evaluation.why_not:
        number = int(miss.rule[1:])
        assert miss.why == (f"[{hit}] holds and comes first" if holds[number] else f"fails {number}")


@pytest.mark.parametrize("name", ["none", "facts", "error", "", "  "])
def test_a_case_may_not_take_a_name_of_looms(name: str) -> None:
    with pytest.raises(ValueError, match="choose another"):
        otherwise(name, allow(), why="w")


def test_a_condition_that_is_no_bool_is_refused() -> None:
    with pytest.raises(TypeError, match=r"condition of rule \[r\] is of type \[int\]"):
        case("r", 1, allow(), why="w", why_not="n")  # type: ignore[arg-type]


def test_two_cases_of_one_name_are_refused() -> None:
    row = otherwise("r", allow(), why="w")
    with pytest.raises(ValueError, match="not all different"):
        first_match(row, row)


class Threshold(Params):
    limit: int = 3


class Wrong(Params):
    limit: int = "3"  # type: ignore[assignment]


def test_what_a_rule_reads_and_answers_is_not_changed_afterwards() -> None:
    answer = Evaluation(effect="deny", rule="r", why="w", why_not=(RuleMiss(rule="a", why="b"),))
    for model, name in ((answer, "why"), (answer.why_not[0], "why"), (Threshold(), "limit")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, name, "another")


def test_a_default_of_a_parameter_is_of_its_type_and_a_detail_is_a_number() -> None:
    with pytest.raises(ValidationError, match="valid integer"):
        Wrong()
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValidationError, match="finite number"):
            Evaluation(effect="deny", rule="r", why="w", details={"share": number})
