"""What was done is held against what the rule said, in every combination of outcome, effect and answers."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from loom.decisions import ApprovalGiven, Decision
from loom.decisions.conduct import DEPARTURES, GRANTED, REFUSED, departure_of, granted, verdict_of
from loom.policies.evaluation import EffectName, Evaluation
from tests.projections.journals import MOMENT, decision

EFFECTS: tuple[EffectName | None, ...] = ("allow", "require_approval", "deny", "indeterminate", None)
ANSWERS = ((), (True,), (False,), (False, True), (True, False))


def decided(outcome: dict[str, JsonValue], effect: EffectName | None, answers: tuple[bool, ...]) -> Decision:
    evaluation = None if effect is None else Evaluation(effect=effect, rule="r", why="so")
    approvals = tuple(
        ApprovalGiven(
            approval_id=str(number),
            approver="vp",
            granted=answer,
            by="vera",
            answered_at=MOMENT + timedelta(seconds=number),
        )
        for number, answer in enumerate(answers)
    )
    return decision(
        "d",
        outcome=outcome,
        evaluation=evaluation,
        approvals=approvals,
        is_exception=False,
        exception_reason=None,
        precedent_class=None,
    )


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ({"granted": True, "percent": 15}, True),
        ({"approved": False}, False),
        ({"denied": False}, True),
        ({"rejected": True}, False),
        ({"granted": True, "denied": True}, None),
        ({"executed": True, "approved": False}, True),
        ({"executes": False}, None),  # what is asked for a second time is not done a second time
        ({"executes": False, "granted": False}, False),
        ({"decision": "Refused", "percent": 3}, False),
        ({"verdict": "ACCEPT", "executes": False}, True),
        ({"decision": "usual"}, None),
        ({"was": "refused"}, None),
        ({"decision": "approved", "granted": False}, None),
        ({"granted": 1}, None),
        ({"granted": "yes"}, None),
        ({}, None),
    ],
)
def test_an_outcome_says_what_it_says_by_a_boolean(outcome: dict[str, JsonValue], said: object) -> None:
    assert granted(outcome) is said


def test_every_combination_departs_exactly_where_it_should() -> None:
    for effect, answers, said in product(EFFECTS, ANSWERS, (True, False, None)):
        made = decided({} if said is None else {"granted": said}, effect, answers)
        consent = bool(answers) and answers[-1]
        denied = bool(answers) and not answers[-1]
        expected = None
        if said is True:
            expected = (
                "granted_though_denied"
                if effect == "deny"
                else "granted_though_indeterminate"
                if effect == "indeterminate"
                else "granted_over_a_denial"
                if denied
                else "granted_without_consent"
                if effect == "require_approval" and not consent
                else None
            )
        elif said is False and effect == "allow" and not denied:
            expected = "refused_though_allowed"
        assert departure_of(made) == expected, (effect, answers, said)
        if said is not None:
            assert verdict_of(made) == ("granted" if said else "denied")


def test_one_of_two_who_were_asked_denied_and_it_was_granted_all_the_same() -> None:
    both = decided({"granted": True}, "require_approval", (False, True))
    legal, finance = both.approvals
    made = both.replace(approvals=(legal.model_copy(update={"approver": "legal"}), finance))
    assert departure_of(made) == "granted_over_a_denial"


def test_the_clock_grants_nothing() -> None:
    made = decided({"granted": True}, "require_approval", (True,))
    by_the_clock = made.replace(approvals=(made.approvals[0].model_copy(update={"by": None}),))
    assert departure_of(by_the_clock) == "granted_without_consent"


@given(
    st.dictionaries(st.sampled_from(sorted(GRANTED | REFUSED | {"executed", "other"})), st.booleans() | st.integers()),
    st.sampled_from(EFFECTS),
    st.sampled_from(ANSWERS),
)
def test_a_departure_is_always_one_that_has_words_and_is_never_said_of_what_the_outcome_does_not_say(
    outcome: dict[str, JsonValue], effect: EffectName | None, answers: tuple[bool, ...]
) -> None:
    made = decided(outcome, effect, answers)
    departure = departure_of(made)
    assert departure is None or departure in DEPARTURES
    assert departure is None or granted(outcome) is not None
    assert departure is None or departure.startswith("granted" if verdict_of(made) == "granted" else "refused")
