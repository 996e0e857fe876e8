"""Who is in both windows: found by subject and step, by a key of one's own, and never where it is not known."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from loom.decisions import Decision, DecisionJournalEntry, PolicyReference
from loom.drift import DriftReport, Window
from loom.drift.pairing import Naming, Pairing, Sightings, pair_up
from loom.drift.reading import Case
from loom.errors import WindowError
from loom.identity import derived_id
from loom.journal.entry import Step
from loom.precedents import Bin, EquivalenceRule
from tests.drift.windows import RULE, Bench, LimitParams, bench, even, limit
from tests.projections.journals import command

STEPPED = EquivalenceRule("limit", attributes=("step", Bin("percent", low=0, high=40, bins=4)), outcome=("granted",))


def met(subject: str, step: str = "one", *, granted: bool = True, percent: int = 5, **changes: Any) -> Case:
    """Return a decision of a subject at a step."""
    given: dict[str, Any] = {
        "position": 1,
        "policy": "limit",
        "effect": "allow" if granted else "deny",
        "situation": f"{step} {percent // 10}",
        "precedent": f"{step} {percent // 10} {granted}",
        "facts": {"step": step, "percent": percent},
        "erased": False,
        "journal": f"persona/{subject}",
        "decision_type": "policy_application",
    }
    return Case(**{**given, **changes})


def paired(
    before: Sequence[Case], now: Sequence[Case], *, pair_by: Sequence[str] | None = None, minimum_subjects: int = 1
) -> Pairing:
    sides = []
    for cases in (before, now):
        sightings = Sightings(Naming.of(STEPPED, pair_by))
        sightings.feed(cases)
        sides.append(sightings)
    return pair_up(*sides, minimum_subjects=minimum_subjects)


def total(pairing: Pairing) -> int:
    return sum(sum(side.values()) for each in pairing.units for side in (each.before, each.now))


def test_a_persona_at_a_step_is_known_again() -> None:
    found = paired([met("a"), met("a", "two"), met("b")], [met("b", granted=False), met("a", "two"), met("a")])
    assert (found.subjects, found.pairs, found.same_situation, found.same_facts) == (2, 3, 3, 3)
    assert found.turned == Counter({("one 0 True", "one 0 False"): 1})
    assert found.answered_otherwise == Counter({("allow", "deny"): 1})
    assert found.rest() == (Counter(), Counter())
    assert sorted(len(each.before) for each in found.units) == [1, 2]
    assert [each.certain for each in found.units] == [(), (("one 0 True", "one 0 False"),)]


def test_who_is_in_one_window_only_has_no_partner() -> None:
    found = paired([met("a"), met("b")], [met("b"), met("c", "two")])
    assert (found.subjects, found.pairs) == (1, 1)
    assert found.rest() == (Counter({"one 0 True": 1}), Counter({"two 0 True": 1}))
    assert found.together == ([Counter({"one 0 True": 1})], [Counter({"two 0 True": 1})])


def test_a_step_that_only_one_window_has_is_part_of_its_subject() -> None:
    found = paired([met("a"), met("a", "two")], [met("a", granted=False)])
    assert (found.subjects, found.pairs) == (1, 1)
    assert found.rest() == (Counter(), Counter())
    [unit] = found.units
    assert (sum(unit.before.values()), sum(unit.now.values())) == (2, 1)


def test_with_few_subjects_each_pair_is_by_itself_and_steps_without_a_partner_are_left_over() -> None:
    found = paired([met("a"), met("a", "two"), met("a", "three")], [met("a", "two"), met("a")], minimum_subjects=2)
    assert (found.unit, found.subjects, found.pairs, len(found.units)) == ("pair", 1, 2, 2)
    assert found.rest() == (Counter({"three 0 True": 1}), Counter())
    assert total(found) == 4


def test_an_agent_that_decides_of_many_cases_in_one_journal_names_nobody() -> None:
    many = [met("agent", percent=each) for each in range(20)]
    found = paired(many, many)
    assert (found.subjects, found.pairs) == (0, 0)
    assert [each.total() for each in found.alone] == [20, 20]


def test_a_step_that_is_met_twice_in_a_turn_is_told_apart_by_its_occurrence() -> None:
    twice = [met("a", occurrence=0), met("a", occurrence=1)]
    assert paired(twice, twice).pairs == 2
    assert paired(twice, twice[:1]).pairs == 1
    again = [dataclasses.replace(each, occurrence=0) for each in twice]
    assert paired(twice, again).pairs == 0


def test_other_facts_are_another_situation_and_no_turn() -> None:
    found = paired([met("a", percent=5)], [met("a", percent=25, granted=False)])
    assert (found.pairs, found.same_situation, found.same_facts) == (1, 0, 0)
    assert not found.turned
    near = paired([met("a", percent=5)], [met("a", percent=6, granted=False)])
    assert (near.pairs, near.same_situation, near.same_facts) == (1, 1, 0)
    assert near.turned.total() == 1
    assert not near.answered_otherwise


def test_what_people_answered_otherwise_is_not_the_policys() -> None:
    asked = met("a", effect="require_approval")
    found = paired([asked], [dataclasses.replace(asked, precedent="one 0 False")])
    assert (found.turned.total(), found.answered_otherwise.total()) == (1, 0)


def test_what_was_erased_has_no_same_facts_and_no_step() -> None:
    gone = met("a", facts=None, erased=True)
    found = paired([met("a")], [gone])
    assert (found.pairs, found.same_facts) == (0, 0)
    assert found.rest() == (Counter({"one 0 True": 1}), Counter({"one 0 True": 1}))


def test_a_decision_in_no_class_is_no_part_of_it() -> None:
    found = paired([met("a"), met("a", "two", situation=None, precedent=None)], [met("a")])
    assert (found.pairs, total(found)) == (1, 2)


@pytest.mark.parametrize("names", [["customer", "step"], ["case.customer", "step"]])
def test_a_key_of_ones_own_is_looked_up_in_facts_and_context(names: list[str]) -> None:
    one = [
        met("agent", step, percent=percent, context={"customer": customer, "case": {"customer": customer}})
        for customer, percent in (("a", 5), ("b", 6))
        for step in ("one", "two")
    ]
    assert paired(one, one).pairs == 0
    found = paired(one, one, pair_by=names)
    assert (found.subjects, found.pairs) == (2, 4)
    nameless = dataclasses.replace(one[0], context={})
    found = paired([nameless, *one[1:]], one, pair_by=names)
    assert (found.subjects, found.pairs) == (2, 3)
    assert found.rest()[0] == Counter({"one 0 True": 1})


def test_actor_and_type_may_be_part_of_a_key() -> None:
    one = [met("a", decision_type=each, step="same") for each in ("x", "y")]
    assert paired(one, one, pair_by=["actor", "type"]).pairs == 2
    assert paired(one, one, pair_by=["actor"]).pairs == 0


@pytest.mark.parametrize("given", ["customer", [], [""], ["customer", ""]])
def test_a_key_that_names_nothing_is_refused(given: Any) -> None:
    with pytest.raises(WindowError, match="the subject first"):
        Naming.of(STEPPED, given)


# --- over journals -----------------------------------------------------------------------------


@pytest.fixture
async def work(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as opened:
        await opened.rules.register(RULE, by="robin")
        yield opened


async def decide(
    work: Bench, run: str, cases: Iterable[tuple[str, int]], *, most: int, granted: Sequence[bool] | None = None
) -> None:
    """Decide one case for each persona; `granted` says what was done, where it is not what the policy says."""
    version = await work.version(most)
    for number, (industry, percent) in enumerate(cases):
        facts: dict[str, JsonValue] = {"industry": industry, "percent": percent}
        said = limit.with_params(LimitParams(percent=most)).evaluate_json(facts)
        outcome: dict[str, JsonValue] = {"granted": said.allowed if granted is None else granted[number]}
        decision = Decision(
            decision_id=derived_id("test", run, str(number)),
            decision_type="policy_application",
            rationale=said.why,
            policy=PolicyReference(name=version.name, version=version.version, hash=version.hash, rule=said.rule),
            facts=facts,
            evaluation=said,
            outcome=outcome,
            precedent_class=RULE.classify(facts, outcome),
            run_id=run,
        )
        step = Step("record_decision", "policy_application", 0)
        await work.asked.write(
            f"persona/p{number}", command(), DecisionJournalEntry(step=step, decision=decision), turn=f"{run}-{number}"
        )


def sparse(count: int, turning: int) -> list[tuple[str, int]]:
    """Return personas each of an industry of its own, so many of which ask for what only the later policy grants."""
    return [(f"industry {number}", 15 if number < turning else 5) for number in range(count)]


async def test_92_of_500_that_turned_among_the_same_people_are_found(work: Bench) -> None:
    people = sparse(500, 92)
    await decide(work, "one", people, most=10)
    await decide(work, "two", people, most=20)
    report = await work.compare("one", "two")
    assert (report.state, report.severity) == ("detected", "warning")
    assert report.permutation is not None
    assert report.permutation.test == "sign_flips"
    assert report.permutation.p_value < 0.001
    assert report.pairs is not None
    assert (report.pairs.subjects, report.pairs.pairs, report.pairs.turned) == (500, 500, 92)
    assert (report.pairs.same_facts, report.pairs.answered_otherwise) == (500, 92)
    assert report.pairs.transitions == {"granted no → granted yes": 92}
    assert report.pairs.answers == {"deny → allow": 92}
    words = "\n".join(report.explanation)
    assert "Tested in pairs, by sign flips: 500 subjects are in both windows, with 500 pairs of decisions" in words
    assert "92 of 500 pairs of one situation were decided otherwise (granted no → granted yes: 92)." in words
    assert "the policy answered 92 of 500 such pairs otherwise (deny → allow 92), and chance has no part" in words
    assert DriftReport.model_validate_json(report.model_dump_json()) == report


async def test_what_turned_both_ways_on_the_same_facts_is_found_as_the_fact_it_is(work: Bench) -> None:
    people = [*sparse(100, 0), *[(f"other {number}", 15) for number in range(10)]]
    before = [number % 2 == 0 for number in range(110)]
    after = [not each if number < 20 else each for number, each in enumerate(before)]
    await decide(work, "one", people, most=10, granted=before)
    await decide(work, "two", people, most=20, granted=after)
    report = await work.compare("one", "two")
    assert report.permutation is not None
    assert report.permutation.p_value > 0.05
    assert report.pairs is not None
    assert (report.pairs.turned, report.pairs.answered_otherwise) == (20, 0)  # people did, and not the policy
    assert report.state == "not_detected"
    answered = [*before[:100], *[False] * 5, *[True] * 5]
    again = [*before[:100], *[True] * 5, *[False] * 5]
    await decide(work, "three", people, most=10, granted=answered)
    await decide(work, "four", people, most=20, granted=again)
    report = await work.compare("three", "four")
    assert report.pairs is not None
    assert (report.pairs.turned, report.pairs.answered_otherwise) == (10, 10)
    assert report.permutation is not None
    assert report.permutation.p_value > 0.05
    assert report.state == "detected"


async def test_newcomers_of_another_kind_are_found_beside_pairs_that_did_not_change(work: Bench) -> None:
    people = even(count=100)
    await decide(work, "one", people, most=10)
    await decide(work, "two", [*people, *[("retail", 35)] * 60], most=10)
    report = await work.compare("one", "two")
    assert report.permutation is not None
    assert report.permutation.test == "both"
    pairs, rest = report.permutation.parts
    assert (pairs.method, pairs.p_value, pairs.decisions) == ("sign_flips", 1.0, (100, 100))
    assert (rest.method, rest.decisions) == ("permutation", (100, 60))  # with nobody left over before, with all there
    assert rest.weight + pairs.weight == pytest.approx(1)
    assert report.permutation.p_value == pytest.approx(rest.p_value / rest.weight)
    assert report.state == "detected"
    assert "What has no partner was tested by permutation, 100 decisions against 60" in "\n".join(report.explanation)


async def test_a_few_without_a_partner_are_said_to_be_untested(work: Bench) -> None:
    people = even(count=60)
    await decide(work, "one", people, most=10)
    await decide(work, "two", [*people, *even(count=7)], most=10)
    report = await work.compare("one", "two")
    assert report.permutation is not None
    assert (report.permutation.test, report.permutation.untested) == ("sign_flips", 7)
    assert "7 decisions without a partner are too few to be tested." in report.explanation


async def test_too_few_pairs_are_counted_and_not_tested_as_such(work: Bench) -> None:
    people = even(count=40)
    await decide(work, "one", people[:25], most=10)
    await decide(work, "two", people[:25], most=10)
    await work.decide(even(count=40), run="one")
    await work.decide(even(count=40), run="two")
    report = await work.compare("one", "two")
    assert report.permutation is not None
    assert report.permutation.test == "permutation"
    assert report.permutation.parts[0].decisions == (65, 65)
    assert report.pairs is not None
    assert (report.pairs.pairs, report.pairs.tested) == (25, False)


async def test_a_key_of_ones_own_pairs_what_one_agent_decided(work: Bench) -> None:
    for run, percent in (("one", 10), ("two", 20)):
        for number, given in enumerate(even(count=40)):
            await work.decide([given], run=run, percent=percent, context={"customer": f"c{number}"})
    report = await work.compare("one", "two", pair_by=["customer"])
    assert report.pairs is not None
    assert (report.pairs.pair_by, report.pairs.pairs, report.pairs.turned) == (("customer",), 40, 10)
    assert report.permutation is not None
    assert report.permutation.test == "sign_flips"
    usual = await work.compare("one", "two")
    assert usual.pairs is None
    assert usual.permutation is not None
    assert usual.permutation.test == "permutation"
    with pytest.raises(WindowError, match="the subject first"):
        await work.drift.compare(Window(run="one"), Window(run="two"), pair_by=[""])


async def test_people_who_answer_otherwise_under_one_policy_are_not_called_who_came(work: Bench) -> None:
    by = random.Random(3)
    people = even(count=200)
    await decide(work, "one", people, most=10, granted=[by.random() < 0.8 for _ in people])
    await decide(work, "two", people, most=10, granted=[by.random() < 0.4 for _ in people])
    report = await work.compare("one", "two")
    assert report.detected
    assert report.split is not None
    assert (report.split.policy, report.split.answered_otherwise) == (0, 0)
    assert report.split.acted > 0.05
    words = "\n".join(report.explanation)
    assert "All of it is who came" not in words
    assert "after the evaluation, people answered or code acted otherwise" in words
