"""What stands out: how soon a rubber stamp is found, and how seldom somebody honest is."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from loom.people.oversight_evidence import evidence_in
from loom.people.oversight_figures import Look, facts_of
from loom.people.oversight_reading import Answer
from loom.people.oversight_rule import OversightParams, oversight
from tests.people.answering import answers_of, honest, rubber_stamp

PEOPLE = 400
SEED = 20_261_122
"""Not the one that the parameters were tuned with, which was 1."""
LINE = OversightParams().horizon / OversightParams().alpha


def found_after(answers: Sequence[Answer], *, others: Sequence[Answer] = ()) -> int | None:
    """Return after how many answers the policy first asks for a look."""
    for number in range(1, len(answers) + 1):
        facts = facts_of(answers[:number], others, {}, OversightParams())
        if oversight.evaluate(facts).needs_approval:
            return number
    return None


@pytest.mark.parametrize("waits_s", [0.0, 7_200.0], ids=["as they come", "from a full inbox"])
def test_a_rubber_stamp_is_found_within_thirty_answers(waits_s: float) -> None:
    dice = random.Random(SEED)
    found = [found_after(rubber_stamp(dice, 30, waits_s=waits_s)) for _ in range(PEOPLE)]
    missed = sum(each is None for each in found)
    assert missed == 0
    assert max(each or 0 for each in found) <= 20


def test_somebody_honest_who_becomes_a_rubber_stamp_is_found_within_thirty_answers() -> None:
    dice = random.Random(SEED + 1)
    for _ in range(20):
        before = honest(dice, 150)
        after = [
            each._replace(asked_at=each.asked_at + shift, answered_at=each.answered_at + shift, position=150 + place)
            for shift in [before[-1].answered_at - before[0].asked_at]
            for place, each in enumerate(rubber_stamp(dice, 30), 1)
        ]
        at = found_after([*before, *after])
        assert at is not None
        assert at > 150


def test_of_honest_people_at_most_one_in_twenty_stands_out_within_two_hundred_answers() -> None:
    dice, others = random.Random(SEED + 2), honest(random.Random(SEED + 3), 1_000)
    alarms = 0
    for _ in range(PEOPLE):
        answers = honest(dice, 200)
        quick = [each.granted and (each.answered_at - each.asked_at).total_seconds() < 5.0 for each in answers]
        alarms += evidence_in(quick, tolerated=0.1, suspected=0.5) >= LINE  # at any of the 200 answers
        alarms += oversight.evaluate(facts_of(answers, others, {}, OversightParams())).rule == "never_denies"
    assert alarms / PEOPLE <= 0.05


def test_false_alarms_keep_to_alpha_for_the_quickest_who_is_tolerated() -> None:
    """Doob's bound needs no model of times: every tenth answer is quick, by chance."""
    dice = random.Random(SEED + 4)
    runs = 2_000
    alarms = sum(
        evidence_in((dice.random() < 0.1 for _ in range(200)), tolerated=0.1, suspected=0.5) >= LINE
        for _ in range(runs)
    )
    assert 0 < alarms / runs <= 0.02  # a detector that never sounds would keep to it, too


def test_who_takes_time_and_never_denies_stands_out_where_others_deny() -> None:
    dice = random.Random(SEED + 5)
    slow = list(answers_of(dice, "sam", 100, median_s=60.0, sigma=0.5, denies=0.0))
    others = honest(random.Random(SEED + 6), 500)
    assert oversight.evaluate(facts_of(slow, others, {}, OversightParams())).rule == "never_denies"
    assert oversight.evaluate(facts_of(slow, (), {}, OversightParams())).rule == "nothing_stands_out"


def test_second_looks_that_disagree_stand_out_and_those_that_agree_do_not() -> None:
    answers = honest(random.Random(SEED + 7), 60)

    def judged(agrees: bool) -> str:  # noqa: FBT001
        looks = {each.position: Look(each.approval_id, each.position, agrees) for each in answers[:15]}
        return oversight.evaluate(facts_of(answers, (), looks, OversightParams())).rule

    assert judged(False) == "second_looks_disagree"
    assert judged(True) == "nothing_stands_out"


def test_the_version_of_the_rule_is_the_one_that_was_released() -> None:
    assert oversight.version_hash == "c02a4eb301ceaee9ea320639d3877763c4a000ef224ceafcb33d94d67dfcde73"
