"""Two windows of real journals compared: what is counted, what is said, and what is refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loom import Loom
from loom.drift import DRIFT_JOURNAL, Drift, DriftComparedEntry, DriftParams, DriftReport, Window, drift
from loom.drift.earlier import RawDriftParams, drift_by_raw_divergence
from loom.errors import (
    EquivalenceRuleNotRegisteredError,
    InvalidNameError,
    JournalReadOnlyError,
    PolicyNotRegisteredError,
    RunNotFoundError,
    WindowError,
)
from loom.journal.entry import KINDS
from loom.policies.entries import PolicyAdoptedEntry, PolicyRegisteredEntry
from loom.policies.registry import POLICY_JOURNAL
from loom.precedents import EquivalenceRule
from tests.drift.agents import LoanAgent, RequestLoan
from tests.drift.windows import RULE, Bench, bench, even

HEALTH = even(count=200, industries=("health",))
BANK = even(count=200, industries=("bank",))
BOTH = even(count=200)


@pytest.fixture
async def work(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as opened:
        yield opened


def classes(report: DriftReport) -> int:
    return len(report.counts)


async def test_the_same_pattern_is_no_drift_and_has_no_severity(work: Bench) -> None:
    await work.decide(BOTH, run="one")
    await work.decide(BOTH, run="two")
    report = await work.compare("one", "two")
    assert (report.state, report.detected, report.severity, report.reason) == ("not_detected", False, None, None)
    assert report.js_divergence == report.js_distance == 0
    assert report.permutation is not None
    assert report.permutation.p_value == 1
    assert report.rose == report.fell == ()
    assert report.baseline.decisions == report.current.decisions == 200
    assert report.explanation[0].startswith("No change was found: 200 decisions of 9 classes against 200 decisions")


async def test_a_pattern_without_a_class_in_common_is_a_critical_change(work: Bench) -> None:
    await work.decide(BANK, run="one")
    await work.decide(HEALTH, run="two")
    report = await work.compare("one", "two")
    assert (report.state, report.severity) == ("detected", "critical")
    assert report.js_divergence == pytest.approx(1)
    assert report.rule == RULE.hash
    assert report.chi_square is not None
    assert report.chi_square.p_value < 1e-12
    assert {each.alike["industry"] for each in report.rose} == {"health"}
    assert {each.alike["industry"] for each in report.fell} == {"bank"}
    assert sum(each.share_of_divergence for each in (*report.rose, *report.fell)) == pytest.approx(1)


async def test_a_small_change_that_is_certain_is_detected_and_minor(work: Bench) -> None:
    await work.decide(even(count=1_000, industries=["bank"] * 5 + ["health"] * 5), run="one")
    await work.decide(even(count=1_000, industries=["bank"] * 6 + ["health"] * 4), run="two")
    report = await work.compare("one", "two")
    assert (report.state, report.severity) == ("detected", "minor")
    assert report.js_divergence is not None
    assert 0 < report.js_divergence < 0.1
    assert report.permutation is not None
    assert 0 < report.permutation.excess < 0.01


async def test_a_class_that_moved_is_told_with_counts_shares_and_an_example(work: Bench) -> None:
    await work.decide([("bank", 5)] * 80 + [("bank", 25)] * 20, run="one")
    await work.decide([("bank", 5)] * 50 + [("bank", 25)] * 50, run="two")
    report = await work.compare("one", "two")
    (rose,), (fell,) = report.rose, report.fell
    assert (rose.baseline, rose.current, rose.baseline_share, rose.current_share) == (20, 50, 0.2, 0.5)
    assert (fell.baseline, fell.current) == (80, 50)
    assert (rose.change, fell.change) == pytest.approx((0.3, -0.3))
    assert rose.share_of_divergence + fell.share_of_divergence == pytest.approx(1)
    assert rose.alike == {"industry": "bank", "percent": "20 to 30 (part 3 of 4)", "granted": "no"}
    assert rose.outcome == {"granted": False}
    assert (await work.asked.traces.get(rose.decision_id)).run_id == "two"
    assert (await work.asked.traces.get(fell.decision_id)).run_id == "one"
    words = "\n".join(report.explanation)
    assert (
        "Rose: industry bank, percent 20 to 30 (part 3 of 4), granted no, from 20.0 % to 50.0 % (+30.0 points)" in words
    )
    assert (
        "Fell: industry bank, percent 0 to 10 (part 1 of 4), granted yes, from 80.0 % to 50.0 % (-30.0 points)" in words
    )


async def test_only_as_many_classes_are_shown_as_asked_for_and_the_largest_first(work: Bench) -> None:
    await work.decide(BANK, run="one")
    await work.decide(HEALTH, run="two")
    report = await work.compare("one", "two", limit=2)
    assert len(report.rose) == len(report.fell) == 2
    whole = await work.compare("one", "two")
    assert [each.precedent for each in report.rose] == [each.precedent for each in whole.rose[:2]]
    parts = [each.share_of_divergence for each in whole.rose]
    assert parts == sorted(parts, reverse=True)
    assert classes(report) == classes(whole) == len(whole.rose) + len(whole.fell)


async def test_a_denial_where_there_was_a_grant_is_another_class(work: Bench) -> None:
    await work.decide([("bank", 15)] * 60, run="one", percent=10)
    await work.decide([("bank", 15)] * 60, run="two", percent=20)
    report = await work.compare("one", "two")
    assert report.severity == "critical"
    assert report.rose[0].situation == report.fell[0].situation
    assert report.rose[0].precedent != report.fell[0].precedent


async def test_the_same_question_has_the_same_answer(work: Bench) -> None:
    await work.decide(BOTH, run="one")
    await work.decide(even(count=200, most=30), run="two")
    first, second = await work.compare("one", "two"), await work.compare("one", "two")
    assert first.model_dump_json() == second.model_dump_json()
    other_way = await work.compare("two", "one")
    assert other_way.permutation == first.permutation
    assert other_way.js_divergence == first.js_divergence
    assert [each.precedent for each in other_way.fell] == [each.precedent for each in first.rose]


async def test_a_report_survives_json(work: Bench) -> None:
    await work.decide(BANK, run="one")
    await work.decide(BOTH, run="two", percent=20)
    report = await work.compare("one", "two")
    plain = json.loads(report.model_dump_json())
    assert plain["detected"] is True
    assert plain["rose"][0]["change"] == report.rose[0].change
    assert DriftReport.model_validate(plain) == report


# --- windows -----------------------------------------------------------------------------------


async def test_a_window_may_be_a_policy_version_shortened_or_not(work: Bench) -> None:
    await work.decide(BOTH, percent=10)
    await work.decide(BOTH, percent=20)
    first, second = await work.version(10), await work.version(20)
    report = await work.drift.compare(Window(policy_version=first.version), Window(policy_version=second.hash[:12]))
    assert report.baseline.versions == {first.version: 200}
    assert report.current.versions == {second.version: 200}
    assert report.current.window.policy_version == second.version
    assert report.detected


async def test_a_window_may_be_a_time_whose_end_is_left_out(work: Bench) -> None:
    await work.decide(BANK, run="one")
    await work.decide(HEALTH, run="two")
    border = min(each.recorded_at for each in await work.asked.traces.find(run_id="two", limit=1_000))
    report = await work.drift.compare(Window(until=border), Window(since=border))
    assert (report.baseline.decisions, report.current.decisions) == (200, 200)
    assert report.severity == "critical"
    nothing = await work.drift.compare(Window(until=border), Window(since=border + timedelta(days=900)))
    assert nothing.reason == "current_empty"


async def test_a_window_may_be_narrowed_to_an_actor_type_a_policy_and_a_type(work: Bench) -> None:
    await work.decide(BOTH, run="one")
    await work.decide(BANK, run="two", journal="bank-agent/a", decision_type="loan")
    await work.decide(HEALTH, run="two", journal="health-agent/a", decision_type="exception")
    for narrowed in (Window(run="two", actor_type="bank-agent"), Window(run="two", decision_type="loan")):
        report = await work.drift.compare(Window(run="one"), narrowed)
        assert report.current.decisions == 200
        assert {each.alike["industry"] for each in report.fell} == {"health"}
    nothing = await work.drift.compare(Window(run="one", policy="limit"), Window(run="two", policy="other"))
    assert nothing.reason == "current_empty"


async def test_only_original_decisions_of_turns_that_did_not_fail_are_counted(work: Bench) -> None:
    await work.decide(BOTH, run="one")
    await work.decide(BOTH, run="two")
    before = await work.compare("one", "two")
    await work.decide(HEALTH, run="two", origin="replayed", replayed_from="a" * 64)
    await work.decide(HEALTH, run="two", failed=True)
    after = await work.compare("one", "two")
    assert after.counts == before.counts
    assert after.position > before.position


async def test_decisions_without_a_class_are_told_and_not_compared(work: Bench) -> None:
    await work.decide(BOTH, run="one")
    await work.decide(BOTH, run="two")
    await work.decide(HEALTH, run="two", rule=None)
    report = await work.compare("one", "two")
    assert (report.current.decisions, report.current.unclassified) == (200, 200)
    assert report.state == "not_detected"
    assert report.explanation[-1] == "200 decisions without a class were not compared."


@pytest.mark.parametrize("run", ["nobody", "o"])
async def test_an_unknown_run_or_one_that_is_ambiguous_is_an_error(work: Bench, run: str) -> None:
    await work.decide(BOTH, run="one")
    await work.decide(BOTH, run="other")
    with pytest.raises(RunNotFoundError, match="see `loom runs`"):
        await work.drift.compare(Window(run="one"), Window(run=run))


async def test_an_unknown_version_or_rule_is_an_error(work: Bench) -> None:
    await work.decide(BOTH, run="one")
    with pytest.raises(PolicyNotRegisteredError):
        await work.drift.compare(Window(run="one"), Window(policy_version="policy_v9_00000000"))
    with pytest.raises(EquivalenceRuleNotRegisteredError):
        await work.drift.compare(Window(run="one"), Window(run="one"), rule="nobody")


@pytest.mark.parametrize(
    "given",
    [
        {"since": datetime(2026, 1, 1)},  # noqa: DTZ001 - that is the point
        {"until": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"since": datetime(2026, 2, 1, tzinfo=UTC), "until": datetime(2026, 1, 1, tzinfo=UTC)},
        {"since": datetime(2026, 1, 1, tzinfo=UTC), "until": datetime(2026, 1, 1, tzinfo=UTC)},
    ],
)
def test_a_time_without_a_zone_or_that_is_no_time_is_an_error(given: dict[str, datetime]) -> None:
    with pytest.raises(WindowError, match="expected"):
        Window.model_validate(given)


def test_a_window_says_in_words_what_it_is() -> None:
    window = Window(run="r-1", since=datetime(2026, 1, 1, tzinfo=UTC), until=datetime(2026, 1, 2, 12, 30, tzinfo=UTC))
    assert str(window) == "run r-1 from 2026-01-01 until 2026-01-02 12:30:00"
    assert str(Window()) == "all decisions"


async def test_windows_that_share_decisions_are_refused(work: Bench) -> None:
    await work.decide(BOTH, run="one")
    for current in (Window(run="one"), Window(), Window(policy="limit")):
        with pytest.raises(WindowError, match=r"share \[200\] decisions; expected none in both"):
            await work.drift.compare(Window(run="one"), current)


# --- too little to say -------------------------------------------------------------------------


async def test_empty_windows_are_insufficient_data_each_with_its_name(work: Bench) -> None:
    await work.decide(BOTH, run="one")
    late = Window(since=datetime(2100, 1, 1, tzinfo=UTC))
    later = Window(since=datetime(2200, 1, 1, tzinfo=UTC))
    full = Window(run="one")
    for first, second, reason in (
        (late, later, "both_empty"),
        (late, late, "both_empty"),
        (late, full, "baseline_empty"),
        (full, late, "current_empty"),
    ):
        report = await work.drift.compare(first, second)
        assert (report.state, report.reason, report.severity) == ("insufficient_data", reason, None)
        figures = report.js_divergence, report.permutation, report.chi_square, report.split
        assert figures == (None, None, None, None)
        assert report.explanation[0].startswith("Nothing can be said: ")


async def test_too_few_decisions_are_insufficient_data_however_different_they_are(work: Bench) -> None:
    await work.decide(BANK, run="one")
    await work.decide(HEALTH[:29], run="two")
    report = await work.compare("one", "two")
    assert (report.state, report.reason, report.severity) == ("insufficient_data", "too_few", None)
    assert report.js_divergence == pytest.approx(1)
    assert "29 decisions, fewer than 30" in report.explanation[0]
    await work.decide(HEALTH[29:30], run="two")
    assert (await work.compare("one", "two")).state == "detected"


async def test_a_window_without_any_class_is_insufficient_data(work: Bench) -> None:
    await work.decide(BOTH, run="one")
    await work.decide(BOTH, run="two", rule=None)
    report = await work.compare("one", "two")
    assert (report.state, report.reason) == ("insufficient_data", "no_classes")
    assert "no equivalence rule" in report.explanation[0]


async def test_one_class_in_both_windows_is_the_same_pattern(work: Bench) -> None:
    await work.decide([("bank", 5)] * 50, run="one")
    await work.decide([("bank", 6)] * 70, run="two")
    report = await work.compare("one", "two")
    assert (report.state, classes(report)) == ("not_detected", 1)
    assert report.chi_square is not None
    assert report.chi_square.degrees == 0
    assert report.explanation[0].endswith("it is one class in both.")


# --- rules and thresholds ----------------------------------------------------------------------

COARSE = EquivalenceRule("limit", attributes=("industry",), outcome=("granted",))


async def test_classes_of_two_rules_are_never_compared_by_accident(work: Bench) -> None:
    await work.decide(BOTH, run="one")
    await work.decide(BOTH, run="two", rule=COARSE)
    with pytest.raises(WindowError, match=r"classes of \[2\] equivalence rules \[.*limit rule_v[12]_.*200 against 0"):
        await work.compare("one", "two")


async def test_one_rule_may_be_named_under_which_all_are_classified_anew(work: Bench) -> None:
    await work.decide(BOTH, run="one")
    await work.decide(BOTH, run="two", rule=COARSE)
    await work.decide(BANK, run="three", rule=None)
    report = await work.compare("one", "two", rule=COARSE.hash)
    assert (report.state, report.rule, classes(report)) == ("not_detected", COARSE.hash, 4)
    assert report.js_divergence == 0
    again = await work.compare("one", "two", rule=RULE.hash[:12])
    assert (again.js_divergence, classes(again), again.rule) == (0, 9, RULE.hash)
    for each in (report, again):
        assert each.split is not None
        assert (each.split.total, each.split.situations, each.split.coverage) == (0, 0, 1)
    never = await work.compare("one", "three", rule=COARSE.hash)
    assert never.current.unclassified == 0
    assert {each.alike["industry"] for each in never.fell} == {"health"}
    assert never.split is not None
    assert never.split.baseline_decisions == 200


async def test_what_lacks_the_facts_of_the_named_rule_is_told_and_not_compared(work: Bench) -> None:
    deep = EquivalenceRule("deep", attributes=("industry", "region"), outcome=("granted",))
    await work.rules.register(deep, by="robin")
    await work.decide(BOTH, run="one")
    await work.decide(BOTH, run="two")
    report = await work.compare("one", "two", rule="deep")
    assert (report.state, report.reason) == ("insufficient_data", "no_classes")
    assert report.baseline.unclassified == report.current.unclassified == 200


async def test_the_policy_registers_itself_when_it_is_first_used_and_only_then(work: Bench) -> None:
    await work.decide(BOTH, run="one")
    await work.decide(BOTH, run="two")
    assert work.policies.versions("loom.drift") == ()
    first = await work.compare("one", "two")
    await work.compare("one", "two")
    (version,) = work.policies.versions("loom.drift")
    assert (version.by, version.hash) == ("robin", drift.version_hash)
    assert (first.judged.version, first.judged.hash) == (version.version, version.hash)
    written = [
        each.entry
        async for each in work.asked.store.read(POLICY_JOURNAL)
        if isinstance(each.entry, PolicyRegisteredEntry | PolicyAdoptedEntry) and each.entry.name == "loom.drift"
    ]
    assert len(written) == 2


async def test_other_thresholds_are_another_version_which_the_report_names(work: Bench) -> None:
    await work.decide(even(count=300), run="one")
    await work.decide(even(count=300, industries=["bank"] * 2 + ["health"]), run="two")
    usual = await work.compare("one", "two")
    assert usual.severity == "warning"
    strict = drift.with_params(DriftParams(warning_at=0.0, critical_at=0.01, permutations=199, minimum_decisions=300))
    version = await work.policies.register(strict, by="dana")
    await work.policies.adopt(version.version, by="kim")
    judged = await work.compare("one", "two")
    assert judged.severity == "critical"
    assert judged.judged.version == version.version != usual.judged.version
    assert judged.judged.parameters["critical_at"] == 0.01
    assert judged.permutation is not None
    assert judged.permutation.parts[0].permutations == 199
    shorter = await work.drift.compare(Window(run="one"), Window(run="two", decision_type="nothing of the kind"))
    assert shorter.state == "insufficient_data"


async def test_a_version_of_the_earlier_rule_that_a_person_adopted_stays_in_force(work: Bench) -> None:
    tuned = drift_by_raw_divergence.with_params(RawDriftParams(alpha=0.04, permutations=199))
    version = await work.policies.register(tuned, by="dana")
    await work.policies.adopt(version.version, by="kim", reason="as we are used to")
    await work.decide(even(count=1_000, industries=["bank"] * 5 + ["health"] * 5), run="one")
    await work.decide(even(count=1_000, industries=["bank"] * 6 + ["health"] * 4), run="two")
    report = await work.compare("one", "two")
    assert (report.state, report.severity, report.judged.version) == ("detected", "stable", version.version)
    assert report.judged.parameters == tuned.params.model_dump(mode="json")
    assert report.explanation[1].startswith("Its severity is less than a warning: ")
    assert not any("changed: stable" in each for each in report.explanation)
    adopted = work.policies.adopted("loom.drift")
    assert adopted is not None
    assert adopted.hash == version.hash


async def test_the_earlier_rule_that_code_adopted_gives_way_to_the_rule_of_today(work: Bench) -> None:
    await work.policies.ensure(drift_by_raw_divergence, by="robin")
    await work.decide(BOTH, run="one")
    await work.decide(BOTH, run="two")
    report = await work.compare("one", "two")
    assert report.judged.hash == drift.version_hash
    old = work.policies.versions("loom.drift")[0]
    assert work.policies.runnable(old).version_hash == drift_by_raw_divergence.version_hash


def test_a_comparison_that_was_kept_before_is_read_as_one_by_permutation() -> None:
    body = {
        "step": None,
        "by": "robin",
        "state": "detected",
        "severity": "stable",
        "baseline": {"run": "one"},
        "current": {"run": "two"},
        "decisions": [200, 200],
        "position": 812,
        "rule": "a" * 64,
        "judged_version": "policy_v1_a3d7bdb1",
        "judged_hash": "b" * 64,
        "js_divergence": 0.05,
        "p_value": 0.01,
        "seed": "c" * 64,
        "split": None,
        "explanation": ["The pattern of decisions changed"],
    }
    read = KINDS.decode("drift_compared", 1, json.dumps(body).encode())
    assert isinstance(read, DriftComparedEntry)
    assert (read.severity, read.test, read.excess, read.pairs) == ("stable", "permutation", None, None)
    assert read.metrics is None
    empty = KINDS.decode("drift_compared", 1, json.dumps({**body, "p_value": None}).encode())
    assert isinstance(empty, DriftComparedEntry)
    assert empty.test is None


async def test_at_most_alpha_is_what_it_takes_and_no_severity_is_said_below_it(work: Bench) -> None:
    never = drift.with_params(DriftParams(alpha=0.00001))
    version = await work.policies.register(never, by="dana")
    await work.policies.adopt(version.version, by="kim")
    await work.decide(BANK, run="one")
    await work.decide(HEALTH, run="two")
    report = await work.compare("one", "two")
    assert (report.state, report.severity) == ("not_detected", None)
    assert report.js_divergence == pytest.approx(1)


# --- kept --------------------------------------------------------------------------------------


async def test_a_comparison_is_kept_as_an_entry_only_where_that_is_asked_for(work: Bench) -> None:
    await work.decide(BANK, run="one")
    await work.decide(BOTH, run="two", percent=20)
    await work.compare("one", "two")
    assert [each async for each in work.asked.store.read(DRIFT_JOURNAL)] == []
    report = await work.compare("one", "two", keep=True, by="dana")
    again = await work.compare("one", "two", keep=True)
    kept = [each.entry async for each in work.asked.store.read(DRIFT_JOURNAL)]
    assert kept == [DriftComparedEntry.of(report, by="dana"), DriftComparedEntry.of(again, by="robin")]
    first = kept[0]
    assert isinstance(first, DriftComparedEntry)
    assert (first.state, first.severity, first.baseline) == ("detected", report.severity, {"run": "one"})
    assert first.explanation == report.explanation
    assert first.judged_hash == drift.version_hash


async def test_a_comparison_that_says_nothing_can_be_kept_as_well(work: Bench) -> None:
    await work.decide(BANK, run="one")
    await work.drift.compare(Window(run="one"), Window(since=datetime(2100, 1, 1, tzinfo=UTC)), keep=True)
    [kept] = [each.entry async for each in work.asked.store.read(DRIFT_JOURNAL)]
    assert isinstance(kept, DriftComparedEntry)
    assert (kept.state, kept.js_divergence, kept.split) == ("insufficient_data", None, None)
    assert kept.current == {"since": "2100-01-01T00:00:00Z"}


async def test_nothing_is_kept_where_the_journal_is_only_read_or_in_nobodys_name(work: Bench) -> None:
    await work.decide(BANK, run="one")
    await work.decide(BOTH, run="two")
    reading = Drift(work.asked.queries, work.policies, work.rules, by="robin")
    with pytest.raises(JournalReadOnlyError, match="expected \\[an open loom\\]"):
        await reading.compare(Window(run="one"), Window(run="two"), keep=True)
    with pytest.raises(InvalidNameError):
        await work.compare("one", "two", keep=True, by="  ")
    assert [each async for each in work.asked.store.read(DRIFT_JOURNAL)] == []


async def test_an_open_loom_compares_and_keeps(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[LoanAgent], by="robin") as loom:
        for run_id, industry in (("one", "bank"), ("two", "health")):
            async with loom.runs.run(run_id=run_id):
                for amount in range(30):
                    await loom.actor(LoanAgent, "a").ask(RequestLoan(industry=industry, amount=amount))
        report = await loom.drift.compare(Window(run="one"), Window(run="two"), keep=True)
        assert report.severity == "critical"
        assert report.split is not None
        assert (report.split.policy, report.split.coverage) == (0, 1)
        [kept] = [each.entry async for each in loom.store.read(DRIFT_JOURNAL)]
        assert kept == DriftComparedEntry.of(report, by="robin")
        await loom.rebuild()
        again = await loom.drift.compare(Window(run="one"), Window(run="two"))
        assert again.counts == report.counts
        assert again.split == report.split
