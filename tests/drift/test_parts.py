"""Drift in three parts: what was planted is found in its part and in no other, and nothing where nothing was."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import product

import pytest

from loom.drift import DriftParams
from loom.drift.parts import DriftParts, pooled, three_parts
from loom.drift.split import Answers

PARAMS = DriftParams(permutations=199)
OUTCOMES = {f"{situation}{effect}{done}": done for situation, effect, done in product("abcd", "AD", ("yes", "no"))}


def window(
    draw: random.Random, count: int, *, came: str = "aabbccdd", allowed: float = 0.6, consent: float = 0.7
) -> Counter[tuple[str, str | None, str]]:
    """Return decisions: who comes, how often the rule allows it, and how often people do as the rule says."""
    found: Counter[tuple[str, str | None, str]] = Counter()
    for _ in range(count):
        situation = draw.choice(came)
        chance = min(1.0, allowed + 0.05 * "abcd".index(situation))
        effect = "A" if draw.random() < chance else "D"
        done = ("yes" if effect == "A" else "no") if draw.random() < consent else ("no" if effect == "A" else "yes")
        found[situation, effect, f"{situation}{effect}{done}"] += 1
    return found


def compared(seed: int, **planted: float | str) -> DriftParts:
    draw = random.Random(seed)
    return three_parts(window(draw, 400), window(draw, 400, **planted), OUTCOMES, PARAMS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("planted", "where"),
    [
        ({"came": "aaaabbcd"}, "who came"),
        ({"allowed": 0.35}, "what the rule said"),
        ({"consent": 0.45}, "what people did"),
    ],
)
def test_what_was_planted_is_found_in_its_part(planted: dict[str, float | str], where: str) -> None:
    found = [compared(seed, **planted) for seed in range(20)]
    hits: Counter[str] = Counter(part.name for parts in found for part in parts.all if part.detected)

    assert hits[where] >= 19
    for name in ("who came", "what the rule said", "what people did"):
        if name != where:
            assert hits[name] <= 4, hits


def test_where_nothing_was_planted_each_part_is_found_as_rarely_as_alpha_says() -> None:
    found = [compared(seed) for seed in range(1_000, 1_150)]
    hits: Counter[str] = Counter(part.name for parts in found for part in parts.all if part.detected)

    # 150 draws at 5 %: above 16 lies 0.1 % of chance.
    assert all(hits[name] <= 16 for name in ("who came", "what the rule said", "what people did")), hits


def test_a_shift_is_the_difference_of_shares_within_strata_weighed_by_what_can_be_compared() -> None:
    draw = random.Random(5)
    strata: dict[tuple[str, ...], tuple[Counter[str], Counter[str]]] = {
        (name,): (
            Counter({"yes": draw.randrange(5, 40), "no": draw.randrange(5, 40)}),
            Counter({"yes": draw.randrange(5, 40), "no": draw.randrange(5, 40)}),
        )
        for name in "abcde"
    }
    found = pooled({**strata, ("only before",): (Counter(yes=50), Counter())})

    weights = {key: a.total() * b.total() / (a.total() + b.total()) for key, (a, b) in strata.items()}
    expected = sum(
        weights[key] * (b["yes"] / b.total() - a["yes"] / a.total()) for key, (a, b) in strata.items()
    ) / sum(weights.values())
    [yes] = [each for each in found.shifts if each.label == "yes"]
    assert yes.change == pytest.approx(expected)
    assert found.strata == 5
    assert found.decisions == (sum(a.total() for a, _ in strata.values()), sum(b.total() for _, b in strata.values()))


def test_the_p_value_of_one_stratum_is_that_of_drawing_its_labels_by_lot() -> None:
    """The normal approximation against the hypergeometric distribution itself, counted out."""
    a, b = Counter(yes=60, no=40), Counter(yes=42, no=58)
    found = pooled({("s",): (a, b)})

    n, m, k = 100, 100, 102
    ways = [math.comb(n, i) * math.comb(m, k - i) for i in range(2, 101)]
    seen = abs(60 - n * k / 200)
    exact = sum(way for i, way in zip(range(2, 101), ways, strict=True) if abs(i - n * k / 200) >= seen) / math.comb(
        200, k
    )
    assert found.p_value is not None
    assert found.p_value == pytest.approx(exact, rel=0.5)
    assert found.p_value < 0.05


def test_changes_that_cancel_out_over_strata_are_still_seen() -> None:
    strata: dict[tuple[str, ...], tuple[Counter[str], Counter[str]]] = {
        ("a",): (Counter(yes=80, no=20), Counter(yes=20, no=80)),
        ("b",): (Counter(yes=20, no=80), Counter(yes=80, no=20)),
    }
    found = pooled(strata)

    assert found.shifts == ()
    assert found.p_value is not None
    assert found.p_value < 0.001


def test_too_little_is_neither_yes_nor_no_and_one_label_everywhere_is_no() -> None:
    few = three_parts(Counter({("a", "A", "aAyes"): 20}), Counter({("a", "A", "aAno"): 20}), OUTCOMES, PARAMS)
    same = three_parts(Counter({("a", "A", "aAyes"): 80}), Counter({("a", "A", "aAyes"): 90}), OUTCOMES, PARAMS)
    apart = three_parts(Counter({("a", "A", "aAyes"): 80}), Counter({("b", "A", "bAyes"): 90}), OUTCOMES, PARAMS)

    assert {each.state for each in few.all} == {"insufficient_data"}
    assert {each.state for each in same.all} == {"not_detected"}
    assert [each.state for each in apart.all] == ["detected", "insufficient_data", "insufficient_data"]


def test_without_a_rule_that_was_asked_people_are_compared_in_equal_situations() -> None:
    before: Answers = {("a", None, "aAyes"): 80, ("a", None, "aAno"): 20}
    now: Answers = {("a", None, "aAyes"): 40, ("a", None, "aAno"): 60}
    found = three_parts(before, now, OUTCOMES, PARAMS)

    assert (found.not_evaluated, found.rule_said.state, found.people_did.state) == (
        200,
        "insufficient_data",
        "detected",
    )
    assert {each.label: round(each.change, 3) for each in found.people_did.shifts} == {"yes": -0.4, "no": 0.4}
