"""An explanation answers in the order in which a person asks, says what is missing, and cannot steer a terminal."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.decisions import (
    Alternative,
    ApprovalEscalatedEntry,
    DecisionJournalEntry,
    Explanation,
    OutcomeObservedEntry,
    PrecedentReference,
)
from loom.decisions.explanation import ExplanationLine, ExplanationSection
from loom.identity import derived_id
from loom.journal import TurnCompletedEntry
from tests.projections.journals import MOMENT, answer, command, decision, request, whole_turn
from tests.projections.reading import asked

JOURNAL = "discount-agent/acme"
QUESTIONS = [
    "What was decided?",
    "Why?",
    "On which facts?",
    "Under which rule?",
    "After which precedents?",
    "Who agreed?",
    "What was done?",
    "What was the result?",
]

TOLD = """\
Exception by discount-agent/acme, 2026-02-02 02:40:02 UTC
decision 4d8f26a64837 · request_discount, asked for by ana (claimed) · entry 2

What was decided?
  granted     yes
  exception   over the limit of 10 percent
  confidence  0.80 of 1
  customer    told

Why?
  rationale  Three severe incidents outweigh five points for told.
             in the words of a developer
  step 1     they are large
  instead    wait: rejected because they would leave

On which facts?
  industry     healthcare
  percent      15
  deal.region  emea
  looked up    nothing

Under which rule?
  policy   discount, version policy_v1_9af01c22
  rule     over_limit → require approval by vp_sales
  because  percent 15 is more than 10
  not      within_limit: percent 15 is not at most 10

After which precedents?
  followed       c8ab0d4d7bbd of discount-agent/acme, 2026-02-02 02:40:01 UTC, an exception:
                 “Three severe incidents outweigh five points for earlier.”
  overruled      1d0e4fe8e1d0 (not in this journal)
  its own class  situation e729031a9485, precedent a629249ae579

Who agreed?
  vp_sales  asked 2026-02-02 02:40:02 UTC: “over policy, 2 precedents”
            after 0 ms escalated from vp_sales to cfo: the deadline had passed
            granted by maria (claimed) (CFO) after 1.0 s: “They are worth it.”
            after 2.0 s denied by rosa (claimed), which came too late to count

What was done?
  done  nothing outside, by its turn

What was the result?
  turn   Its turn ended with a reply.
  wrong  says rosa (claimed), 2026-03-01 09:30:00 UTC: “They left.”
         {"renewed": false}
"""


async def test_a_decision_is_told_in_the_order_in_which_a_person_asks(tmp_path: Path) -> None:
    made = decision(
        "told",
        confidence=0.8,
        reasoning=("they are large",),
        alternatives=(Alternative(option="wait", rejected_because="they would leave"),),
        precedents=(
            PrecedentReference(decision_id=derived_id("test", "earlier")),
            PrecedentReference(decision_id=derived_id("test", "gone"), relation="overruled"),
        ),
    )
    passed_on = ApprovalEscalatedEntry(
        approval_id=derived_id("approval", "told"),
        approver="cfo",
        passed_over="vp_sales",
        deadline=MOMENT + timedelta(hours=1),
    )
    seen = OutcomeObservedEntry(
        decision_id=made.decision_id,
        correct=False,
        actual={"renewed": False},
        feedback="They left.",
        observed_by="rosa",
        observed_at=MOMENT,
    )
    async with asked(tmp_path) as loom:
        await loom.write(JOURNAL, DecisionJournalEntry(decision=decision("earlier")))
        started = (command(), DecisionJournalEntry(decision=made), request("told"), passed_on)
        await loom.write(JOURNAL, *started, turn="t")
        await loom.write(JOURNAL, answer("told", role="CFO", comment="They are worth it."), turn="t")
        await loom.write(JOURNAL, answer("told", granted=False, by="rosa"), TurnCompletedEntry(reply=None), turn="t")
        await loom.write("loom/outcomes", seen)
        explanation = await loom.traces.explain(made.decision_id)
    told = TOLD.replace("entry 2", "entry 3")
    told = told.replace("4d8f26a64837", made.decision_id[:12])
    for name, shown in (("earlier", "c8ab0d4d7bbd"), ("gone", "1d0e4fe8e1d0")):
        told = told.replace(shown, derived_id("test", name)[:12])
    assert made.precedent_class is not None
    told = told.replace("e729031a9485", made.precedent_class.situation[:12])
    told = told.replace("a629249ae579", made.precedent_class.precedent[:12])
    assert explanation.text(92) == told


async def test_every_question_is_answered_even_where_there_is_nothing_to_say(tmp_path: Path) -> None:
    bare = decision(
        "bare",
        facts={},
        evaluation=None,
        outcome={},
        precedent_class=None,
        context={},
        is_exception=False,
        exception_reason=None,
        decision_type="synthesis",
    )
    async with asked(tmp_path) as loom:
        await loom.write(JOURNAL, DecisionJournalEntry(decision=bare.replace(facts=None)))
        explanation = await loom.traces.explain(bare.decision_id)
    assert [section.question for section in explanation.sections] == QUESTIONS
    assert all(section.lines for section in explanation.sections)
    text = explanation.text()
    for said in (
        "none was recorded",
        "none were judged",
        "not based on a rule",
        "no one",
        "No outcome has been reported",
    ):
        assert said in text


async def test_it_has_a_form_for_programs(tmp_path: Path) -> None:
    async with asked(tmp_path) as loom:
        await loom.write(JOURNAL, *whole_turn("acme"), turn="t")
        explanation = await loom.traces.explain(derived_id("test", "acme"))
    plain = json.loads(explanation.model_dump_json())
    assert [section["question"] for section in plain["sections"]] == QUESTIONS
    assert Explanation.model_validate(plain) == explanation


async def test_journaled_text_cannot_steer_a_terminal(tmp_path: Path) -> None:
    evil = "\x1b[31mred\x1b[0m \u202egnp.exe\u202c tab\tend\rback\x07 and a\nsecond line"
    outcome = {"\x1b]0;title\x07": evil}
    made = decision("evil", rationale=evil, outcome=outcome, context={"who": evil}, precedent_class=None)
    async with asked(tmp_path) as loom:
        await loom.write(JOURNAL, DecisionJournalEntry(decision=made))
        explanation = await loom.traces.explain(made.decision_id)
    said = [explanation.title, explanation.subtitle]
    said += [part for section in explanation.sections for line in section.lines for part in (line.label, line.text)]
    assert all(part.replace("\n", "").isprintable() for part in said)
    assert "\\u001b[31mred" in explanation.text()
    assert "\\u202egnp.exe" in explanation.text()


async def test_a_request_nobody_has_answered_is_shown_as_waiting(tmp_path: Path) -> None:
    async with asked(tmp_path) as loom:
        await loom.write(JOURNAL, command(), request("one"), DecisionJournalEntry(decision=decision("one")), turn="t")
        text = (await loom.traces.explain(derived_id("test", "one"))).text()
    assert "still waits for an answer" in text
    assert "Its turn still goes on." in text


_words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), max_size=300)


@given(
    st.lists(st.tuples(st.text("abc ", max_size=60), _words), min_size=1, max_size=5),
    st.integers(0, 200),
)
def test_no_line_is_longer_than_asked_for(lines: list[tuple[str, str]], width: int) -> None:
    section = ExplanationSection(
        question="Why?", lines=tuple(ExplanationLine(label=label, text=text) for label, text in lines)
    )
    explanation = Explanation(decision_id="d", title="t " * 90, subtitle="s", sections=(section,))
    assert max(map(len, explanation.lines(width))) <= max(width, 40)


@pytest.mark.parametrize("width", [80, 100])
async def test_a_long_value_is_cut_and_says_how_long_it_is(tmp_path: Path, width: int) -> None:
    async with asked(tmp_path) as loom:
        await loom.write(JOURNAL, DecisionJournalEntry(decision=decision("long", context={"letter": "x" * 5_000})))
        text = (await loom.traces.explain(derived_id("test", "long"))).text(width)
    assert "(5000 characters)" in text
    assert max(map(len, text.splitlines())) <= width
