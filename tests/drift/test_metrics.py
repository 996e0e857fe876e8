"""Metric drift: figures beside the pattern, judged by size alone, labelled apart, and deciding nothing about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loom import Loom
from loom.drift import MetricDriftParams, MetricShift, Window, metric_drift
from loom.drift.metric_rule import MetricDriftFacts
from tests.drift.agents import LoanAgent, LoanParams, RequestLoan, loans
from tests.drift.windows import Bench, bench, even


@pytest.fixture
async def work(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as opened:
        yield opened


def by_name(shifts: tuple[MetricShift, ...]) -> dict[str, MetricShift]:
    return {each.name: each for each in shifts}


@pytest.mark.parametrize(
    ("change", "from_nothing", "rule"),
    [
        (0.0, False, "stable"),
        (0.0499, False, "stable"),
        (0.05, False, "warning"),
        (0.1499, False, "warning"),
        (0.15, False, "critical"),
        (9.0, False, "critical"),
        (0.0, True, "critical"),
    ],
)
def test_the_marks_are_5_and_15_percent(change: float, from_nothing: bool, rule: str) -> None:  # noqa: FBT001
    assert metric_drift.evaluate(MetricDriftFacts(change=change, from_nothing=from_nothing)).rule == rule


def test_the_version_that_comes_with_loom_is_always_the_same() -> None:
    assert metric_drift.version_hash == "e8ed8441495f7094bf7808c81ebe29a51e655304dafbf6c6b9473adc677fcb83"


async def test_the_share_of_grants_and_of_actors_without_a_refusal_are_compared(work: Bench) -> None:
    for number in range(40):
        await work.decide(
            [("bank", 5), ("bank", 15 if number < 10 else 5)], run="one", journal=f"limit-agent/a{number}"
        )
        await work.decide(
            [("bank", 5), ("bank", 15 if number < 20 else 5)], run="two", journal=f"limit-agent/b{number}"
        )
    report = await work.compare("one", "two")
    found = by_name(report.metrics.shifts)
    completed, granted = found["completion rate"], found["grant rate"]
    assert (completed.baseline, completed.current, completed.of) == (0.75, 0.5, (40, 40))
    assert completed.change == pytest.approx(-1 / 3)
    assert completed.severity == "critical"
    assert (granted.baseline, granted.current, granted.of) == (0.875, 0.75, (80, 80))
    assert granted.change == pytest.approx(-1 / 7)
    assert granted.severity == "warning"
    assert found["limit.percent"].severity == "stable"
    assert report.metrics.judged.startswith("policy_v1_")
    assert {each.name for each in report.metrics.moved} == {"completion rate", "grant rate"}
    words = [each for each in report.explanation if each.startswith("Metric drift, apart from the pattern: ")]
    assert words[0] == (
        "Metric drift, apart from the pattern: rate completion rate from 75.0 % to 50.0 % (-33.3 %), critical."
    )


async def test_parameters_of_the_policies_count_by_how_much_they_decided(work: Bench) -> None:
    await work.decide(even(count=60), run="one", percent=10)
    await work.decide(even(count=30), run="two", percent=10)
    await work.decide(even(count=30), run="two", percent=11)
    found = by_name((await work.compare("one", "two")).metrics.shifts)
    moved = found["limit.percent"]
    assert (moved.kind, moved.baseline, moved.current) == ("parameter", 10.0, 10.5)
    assert moved.change == pytest.approx(0.05)
    assert moved.severity == "warning"


async def test_metric_drift_decides_nothing_about_the_pattern(work: Bench) -> None:
    """The limit moves from 41 to 60 percent; everybody asks for less than 40, so nothing is decided otherwise."""
    await work.decide(even(count=60), run="one", percent=41)
    await work.decide(even(count=60), run="two", percent=60)
    report = await work.compare("one", "two")
    assert report.state == "not_detected"
    assert report.severity is None
    assert by_name(report.metrics.shifts)["limit.percent"].severity == "critical"
    assert any(
        each.startswith("Metric drift, apart from the pattern: parameter limit.percent") for each in report.explanation
    )


async def test_a_rate_over_few_is_shown_and_not_judged_and_a_parameter_is(work: Bench) -> None:
    await work.decide(even(count=20), run="one")
    await work.decide(even(count=20), run="two", percent=20)
    report = await work.compare("one", "two")
    assert report.state == "insufficient_data"
    found = by_name(report.metrics.shifts)
    assert found["grant rate"].severity is None
    assert found["grant rate"].current > found["grant rate"].baseline
    assert found["limit.percent"].severity == "critical"


async def test_a_figure_that_was_nothing_has_no_share_to_move_by(work: Bench) -> None:
    await work.decide([("bank", 30)] * 40, run="one")
    await work.decide([("bank", 30)] * 39 + [("bank", 5)], run="two")
    moved = by_name((await work.compare("one", "two")).metrics.shifts)["grant rate"]
    assert (moved.baseline, moved.change, moved.severity) == (0.0, None, "critical")
    words = (await work.compare("one", "two")).explanation
    assert any("from 0.0 % to 2.5 % (from nothing), critical" in each for each in words)


async def test_a_window_without_decisions_has_no_rates(work: Bench) -> None:
    await work.decide(even(count=40), run="one")
    report = await work.drift.compare(Window(run="one"), Window(run="one", decision_type="nothing"))
    assert report.metrics.shifts == ()


async def test_runs_bring_their_own_numbers_and_other_marks_are_another_version(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[LoanAgent], by="robin") as loom:
        for run_id, most, hurried in (("one", 10, 0.1), ("two", 20, 0.4)):
            tuned = await loom.policies.register(loans.with_params(LoanParams(most=most)), by="dana")
            await loom.policies.adopt(tuned.version, by="kim")
            parameters = {"hurried": hurried, "label": "7", "nested": {"noise": 1}}
            async with loom.runs.run(run_id=run_id, parameters=parameters):
                for amount in range(30):
                    await loom.actor(LoanAgent, f"{run_id}{amount}").ask(RequestLoan(industry="bank", amount=amount))
        report = await loom.drift.compare(Window(run="one"), Window(run="two"))
        found = by_name(report.metrics.shifts)
        assert (found["hurried"].kind, found["hurried"].severity) == ("run parameter", "critical")
        assert found["nested.noise"].severity == "stable"
        assert "label" not in found
        assert (found["loans.most"].baseline, found["loans.most"].current) == (10, 20)
        marks = MetricDriftParams(warning_at=5, critical_at=9)
        lenient = await loom.policies.register(metric_drift.with_params(marks), by="dana")
        await loom.policies.adopt(lenient.version, by="kim")
        again = await loom.drift.compare(Window(run="one"), Window(run="two"), keep=True)
        assert again.metrics.judged == lenient.version
        assert {each.severity for each in again.metrics.shifts} == {"stable"}
        assert again.state == report.state
