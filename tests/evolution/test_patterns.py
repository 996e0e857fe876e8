"""What granted exceptions have in common that refused ones have not, found the same way every time."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from loom.evolution import ExceptionCase, mine

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def case(number: int, *, granted: bool | None = True, **facts: JsonValue) -> ExceptionCase:
    return ExceptionCase(
        decision_id=f"{number:064x}",
        policy="discount",
        reason="over the limit",
        rule="over",
        facts=facts,
        granted=granted,
        at=BEGIN + timedelta(days=number),
    )


def test_what_is_granted_and_never_refused_is_a_pattern() -> None:
    cases = [case(n, industry="health", percent=11 + n % 5) for n in range(12)]
    cases += [case(100 + n, granted=False, industry="retail", percent=14) for n in range(8)]
    [pattern] = mine(cases)
    assert pattern.conditions == {"industry": "health"}
    assert (pattern.occurrences, pattern.refusals, pattern.confidence) == (12, 0, 1.0)
    assert pattern.ranges == {"percent": (11, 15)}
    assert pattern.worthwhile
    assert pattern.first_seen == BEGIN
    assert pattern.words() == "industry is health, percent is 11 to 15"


def test_refusals_of_the_same_shape_speak_against_it() -> None:
    cases = [case(n, industry="health") for n in range(12)]
    cases += [case(100 + n, granted=False, industry="health") for n in range(4)]
    [pattern] = mine(cases)
    assert (pattern.refusals, pattern.confidence) == (4, 0.75)
    assert not pattern.worthwhile


def test_ten_cases_are_not_enough_and_eleven_are() -> None:
    assert not mine([case(n, industry="health") for n in range(10)])[0].worthwhile
    assert mine([case(n, industry="health") for n in range(11)])[0].worthwhile


def test_two_kinds_under_one_reason_are_two_patterns() -> None:
    cases = [case(n, industry="health", vip=False) for n in range(15)]
    cases += [case(50 + n, industry="retail", vip=True) for n in range(12)]
    cases += [case(100 + n, granted=False, industry="retail", vip=False) for n in range(20)]
    first, second = mine(cases)[:2]
    assert {first.occurrences, second.occurrences} == {15, 12}
    assert {first.refusals, second.refusals} == {0}


def test_a_factor_is_what_four_of_five_share_and_a_condition_what_all_do() -> None:
    cases = [case(n, industry="health", region="north" if n < 9 else "south", tier="gold") for n in range(12)]
    [pattern] = mine(cases)
    assert pattern.conditions == {"industry": "health", "tier": "gold"}
    assert "region" not in pattern.factors  # nine of twelve are fewer than 80 %


facts = st.fixed_dictionaries(
    {"industry": st.sampled_from(["a", "b", "c"]), "vip": st.booleans(), "percent": st.integers(0, 50)}
)


@given(st.lists(st.tuples(facts, st.none() | st.booleans()), max_size=60), st.integers())
def test_the_order_of_the_cases_does_not_matter_and_the_counts_are_right(
    drawn: list[tuple[dict[str, JsonValue], bool | None]], seed: int
) -> None:
    cases = [case(n, granted=granted, **given) for n, (given, granted) in enumerate(drawn)]
    shuffled = random.Random(seed).sample(cases, len(cases))
    patterns = mine(cases)
    assert mine(shuffled) == patterns
    granted, refused, unsaid = (sum(each.granted is said for each in cases) for said in (True, False, None))
    assert sum(pattern.occurrences for pattern in patterns) <= granted
    for pattern in patterns:
        assert 0 < pattern.confidence <= 1
        assert pattern.refusals <= refused
        assert pattern.unsaid <= unsaid
        assert pattern.confidence == pattern.occurrences / (pattern.occurrences + pattern.refusals)
        assert all(pattern.factors[name] == value for name, value in pattern.conditions.items())
