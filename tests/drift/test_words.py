"""What a split says in words: where most of a change comes from, and never more than is known."""

from __future__ import annotations

from typing import Any

import pytest

from loom.drift import PolicySplit
from loom.drift.words import split_in_words


def split(**changes: Any) -> PolicySplit:
    given: dict[str, Any] = {
        "total": 0.3,
        "population": 0.1,
        "policy": 0.1,
        "interaction": 0.1,
        "acted": 0.0,
        "reason": None,
        "situations": 0.1,
        "situations_p": 0.02,
        "answered_otherwise": 7.0,
        "transitions": {"allow → deny": 5.0, "deny → allow": 2.0},
        "versions": {"policy_v1_9af01c22": 50},
        "baseline_decisions": 50,
        "baseline_evaluated": 50,
        "current_decisions": 40,
        "rejudged": 38,
        "not_rejudged": {"erased": 2},
    }
    return PolicySplit(**{**given, **changes})


@pytest.mark.parametrize(
    ("population", "policy", "words"),
    [
        (0.3, 0.0, "Of what could be judged again, all of it is who came"),
        (0.0, 0.3, "Of what could be judged again, all of it is how they were answered"),
        (0.2, 0.1, "Mostly who came changed"),
        (0.1, 0.2, "Mostly how they were answered changed"),
        (0.15, 0.15, "Both changed, who came and how they were answered"),
    ],
)
def test_it_says_which_part_is_most_of_it(population: float, policy: float, words: str) -> None:
    said = next(split_in_words(split(population=population, policy=policy, interaction=0.3 - population - policy)))
    assert said.startswith(f"{words}: of 0.300 bits")
    assert f"{population:.3f} (situations alone: p = 0.02)" in said


def test_all_of_it_is_said_only_where_everything_was_judged_again_and_done_as_the_policy_said() -> None:
    whole = {"population": 0.3, "policy": 0.0, "interaction": 0.0, "rejudged": 40, "not_rejudged": {}}
    assert next(split_in_words(split(**whole))).startswith("All of it is who came: of 0.300 bits")
    first, second, *_ = split_in_words(split(**whole, acted=0.02))
    assert first.startswith("In what the policy said, all of it is who came: of 0.300 bits")
    assert second == (
        "That is about what the policy said. What was done moved by 0.020 bits more: after the evaluation, "
        "people answered or code acted otherwise, and part of that may be chance."
    )


def test_nothing_that_changed_is_said_to_be_nothing() -> None:
    said = next(split_in_words(split(total=0.0, population=0.0, policy=0.0, interaction=0.0)))
    assert said.startswith("Who came and what the policy said to it did not change")


def test_it_says_what_would_have_been_answered_otherwise_and_how_much_could_not_be_asked() -> None:
    _, otherwise, coverage = split_in_words(split())
    assert otherwise == (
        "The baseline's policy (policy_v1_9af01c22) would have answered 7 of 38 cases otherwise: "
        "allow → deny 5, deny → allow 2."
    )
    assert coverage == "38 of 40 current decisions could be judged again; 2 not, as they were erased."


def test_where_it_cannot_be_told_it_says_why_and_what_is_known() -> None:
    unknown = split(total=None, population=None, policy=None, interaction=None, reason="too few")
    first, coverage = split_in_words(unknown)
    assert first == (
        "Population and policy cannot be separated: too few. Who came, taken alone, moved by 0.100 bits (p = 0.02)."
    )
    assert coverage.startswith("38 of 40")
