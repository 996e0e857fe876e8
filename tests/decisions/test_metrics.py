"""Figures of decisions: the score, sums over groups and time, trends and what stands out."""

from __future__ import annotations

import asyncio
import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom import Actor, Command, Loom
from loom.decisions import ApprovalGiven
from loom.decisions.metrics import score
from loom.decisions.trends import Bucket, trend_of
from loom.errors import AdmissionError
from loom.policies.tables import Table

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
RULE = Table.of(
    {
        "format": "loom.table/1",
        "name": "metered",
        "facts": {"size": {"type": "integer"}},
        "rules": [
            {"name": "small", "when": [["size", "<=", 10]], "effect": "allow", "why": "small"},
            {"name": "odd", "when": [["size", "<=", 20]], "effect": "allow", "exception": "odd size", "why": "odd"},
            {"name": "big", "when": [["size", "=", 30]], "effect": "require_approval", "tier": "vp", "why": "big"},
        ],
        "otherwise": {"name": "large", "effect": "deny", "why": "large"},
    }
)


class Meter(Command[str]):
    size: int | None = None
    confidence: float | None = None
    ask: bool = False
    granted: bool | None = None


class Metered(Actor[None]):
    actor_type = "metered"
    policy = RULE

    async def execute(self, command: Meter) -> str:
        if command.size is not None:
            self.evaluate({"size": command.size})
        if command.ask:
            await self.request_approval(approver="vp", reason="it is big")
        outcome = {} if command.granted is None else {"granted": command.granted}
        return await self.record_decision(rationale="so", confidence=command.confidence, outcome=outcome)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"correct": True, "confidence": 1.0, "follows": True, "is_exception": False}, 1.0),
        ({"correct": None, "confidence": None, "follows": None, "is_exception": False}, 0.59),
        ({"correct": False, "confidence": 0.0, "follows": False, "is_exception": True}, 0.08),
        ({"correct": True, "confidence": 0.5, "follows": False, "is_exception": True}, 0.58),
    ],
)
def test_the_score_is_what_the_formula_says(given_: dict[str, Any], expected: float) -> None:
    assert score(**given_) == pytest.approx(expected)


async def test_sums_of_the_view_are_those_of_the_formula(tmp_path: Path) -> None:
    draw = random.Random(5)
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Metered], by="robin") as loom:
        expected: list[float] = []
        for number in range(40):
            size = draw.choice([None, 5, 15, 25])
            confidence = draw.choice([None, 0.25, 0.9])
            correct = draw.choice([None, True, False, "wrong first"])
            decision_id = await loom.actor(Metered, f"m{number % 3}").ask(Meter(size=size, confidence=confidence))
            if correct == "wrong first":  # what was observed last counts
                await loom.outcomes.observe(decision_id, correct=False, by="kim")
                correct = True
            if correct is not None:
                await loom.outcomes.observe(decision_id, correct=bool(correct), by="kim")
            exception = size == 15
            follows = None if size is None else not exception
            known = None if correct is None else bool(correct)
            expected.append(score(correct=known, confidence=confidence, follows=follows, is_exception=exception))
        every = await loom.metrics.of()
        by_type = await loom.metrics.by("decision_type")
        nothing = await loom.metrics.of(since=datetime(2099, 1, 1, tzinfo=UTC))
        with pytest.raises(AdmissionError):
            await loom.metrics.by("rationale; DROP TABLE trace_decisions")  # type: ignore[arg-type]
    assert every.quality == pytest.approx(math.fsum(expected) / 40)
    assert every.decisions == 40
    assert sum(every.tiers.values()) == every.observed < 40
    assert sum(each.decisions for each in by_type) == 40
    assert (nothing.decisions, nothing.quality, nothing.compliance) == (0, None, None)
    assert every.compliance is not None
    assert 0 < every.compliance < 1


async def decide(loom: Loom, key: str, meter: Meter, *, answer: bool | None = None, by: str | None = None) -> str:
    """Let an actor decide; a person answers what it asks."""
    asked = asyncio.ensure_future(loom.actor(Metered, key).ask(meter, by=by))
    if answer is not None:
        while not (pending := [each for each in await loom.approvals.pending() if each.actor_key == key]):
            await asyncio.wait([asked], timeout=0.01)
        if answer:
            await loom.approvals.grant(pending[0].approval_id, by="vera")
        else:
            await loom.approvals.deny(pending[0].approval_id, by="vera", comment="no")
    return await asked


async def test_a_denial_by_a_person_is_a_denial(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Metered], by="robin") as loom:
        await decide(loom, "granted", Meter(size=30, ask=True, granted=True), answer=True)
        await decide(loom, "denied", Meter(size=30, ask=True, granted=False), answer=False)
        await decide(loom, "unsaid", Meter(size=30, ask=True), answer=False)
        await decide(loom, "nothing", Meter())
        every = await loom.metrics.of()
        trend = await loom.metrics.trend(
            "denial_rate", since=datetime.now(UTC) - timedelta(hours=1), until=datetime.now(UTC) + timedelta(hours=1)
        )
    assert (every.decisions, every.unsaid) == (4, 1)
    assert every.denial_rate == pytest.approx(2 / 3)
    assert [each.value for each in trend.buckets if each.decisions] == [pytest.approx(2 / 3)]
    assert every.departures == 0
    assert every.compliance == pytest.approx(3 / 4)  # one was never judged


async def test_what_goes_against_its_own_rule_is_counted_scores_nothing_for_it_and_is_not_clean(tmp_path: Path) -> None:
    against = [
        ("denied", Meter(size=25, granted=True), None, "granted_though_denied"),
        ("alone", Meter(size=30, granted=True), None, "granted_without_consent"),
        ("over", Meter(size=30, ask=True, granted=True), False, "granted_over_a_denial"),
        ("stingy", Meter(size=5, granted=False), None, "refused_though_allowed"),
    ]
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Metered], by="robin") as loom:
        for key, meter, answer, _ in against:
            decision_id = await decide(loom, key, meter, answer=answer, by="ana")
            await loom.outcomes.observe(decision_id, correct=True, by="kim")
        bad = await loom.metrics.of()
        good_id = await decide(loom, "fine", Meter(size=5, granted=True), by="ana")
        await decide(loom, "nobody", Meter(size=25, granted=True))
        by_key = {each.group: each for each in await loom.metrics.by("journal")}
        found = await loom.metrics.departures()
        summaries = {each.actor_key: each for each in await loom.traces.find()}
    assert (bad.departures, bad.departure_rate, bad.compliance) == (4, 1.0, 0.0)
    assert bad.quality == pytest.approx(score(correct=True, confidence=None, follows=True, is_exception=False) - 0.3)
    assert {key: summaries[key].departure for key, *_ in against} == {key: how for key, _, _, how in against}
    assert summaries["fine"].departure is None
    assert summaries["fine"].decision_id == good_id
    assert by_key["metered/fine"].compliance == 1.0
    [denied] = [each for each in found if each.departure == "granted_though_denied"]
    assert (denied.policy, denied.decisions, denied.people, denied.unnamed) == ("metered", 2, {"ana (claimed)": 1}, 1)
    assert sum(each.decisions for each in found) == 5
    assert found[0] == denied  # those with most first


async def test_a_group_of_which_no_outcome_was_observed_has_no_quality(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Metered], by="robin") as loom:
        for number in range(4):
            await decide(loom, f"m{number}", Meter(size=5, granted=True))
        unseen = await loom.metrics.of()
        first, second, third, _ = [each.decision_id for each in await loom.traces.find()]
        await loom.outcomes.observe(first, correct=None, by="kim")  # seen, and not clear
        still_unseen = await loom.metrics.of()
        await loom.outcomes.observe(second, correct=True, by="kim")
        await loom.outcomes.observe(third, correct=False, by="kim")
        [seen] = await loom.metrics.by("actor_type")
    for each in (unseen, still_unseen):
        assert (each.quality, each.tier, each.accuracy, each.observed) == (None, None, None, 0)
        assert not any(each.tiers.values())
    assert seen.quality is not None
    assert (seen.accuracy, seen.observed, seen.correct) == (0.5, 2, 1)


async def test_an_approval_that_no_journal_holds_is_no_audit_trail(tmp_path: Path) -> None:
    forged = ApprovalGiven(
        approval_id="0" * 64, approver="vp", granted=True, by="vera", answered_at=datetime(2026, 1, 1, tzinfo=UTC)
    )

    class Forger(Metered):
        actor_type = "forger"

        async def execute(self, command: Meter) -> str:
            self.evaluate({"size": 30})
            return await self.record_decision(rationale="so", outcome={"granted": True}, approvals=[forged])

    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Forger], by="robin") as loom:
        await loom.actor(Forger, "f").ask(Meter())
        assert (await loom.metrics.of()).compliance == 0.0


def buckets(values: list[float | None]) -> list[Bucket]:
    return [
        Bucket(begin=BEGIN + timedelta(days=number), decisions=0 if value is None else 1, value=value)
        for number, value in enumerate(values)
    ]


def test_a_line_is_found_and_nothing_stands_out_of_it() -> None:
    trend = trend_of("quality", buckets([0.1 + 0.01 * day for day in range(40)]), bucket_s=86_400)
    assert trend.slope == pytest.approx(0.01)
    assert trend.anomalies == ()
    assert trend.enough


@pytest.mark.parametrize(("days", "found"), [(29, 0), (30, 1)])
def test_nothing_is_an_anomaly_before_there_are_thirty_buckets(days: int, found: int) -> None:
    values: list[float | None] = [0.5 + 0.01 * (-1) ** day for day in range(days)]
    values[10] = 0.9
    trend = trend_of("quality", buckets(values), bucket_s=86_400)
    assert len(trend.anomalies) == found
    assert trend.enough == bool(found)
    if found:
        assert trend.anomalies[0].severity == "critical"
        assert trend.anomalies[0].begin == BEGIN + timedelta(days=10)


def test_empty_buckets_do_not_count() -> None:
    assert not trend_of("quality", buckets([0.5, None] * 20), bucket_s=86_400).enough
    assert trend_of("quality", buckets([None]), bucket_s=86_400).slope is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60), st.floats(-1e3, 1e3))
def test_the_slope_moves_with_the_line_and_severities_keep_their_order(values: list[float], tilt: float) -> None:
    plain = trend_of("quality", buckets(list(values)), bucket_s=1)
    tilted = trend_of("quality", buckets([value + tilt * n for n, value in enumerate(values)]), bucket_s=1)
    assert plain.slope is not None
    assert tilted.slope == pytest.approx(plain.slope + tilt, abs=1e-3)
    for each in plain.anomalies:
        least = {"notice": 2, "warning": 2.5, "critical": 3}[each.severity]
        assert each.deviations > least


async def test_a_trend_has_a_bucket_for_every_stretch_of_time(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Metered], by="robin") as loom:
        await loom.actor(Metered, "m").ask(Meter(size=25))
        now = datetime.now(UTC)
        trend = await loom.metrics.trend(
            "denial_rate", since=now - timedelta(hours=5), until=now + timedelta(hours=1), bucket=timedelta(hours=1)
        )
        assert [each.decisions for each in trend.buckets].count(0) == 5
        assert sum(each.decisions for each in trend.buckets) == 1
        with pytest.raises(AdmissionError, match="choose another length"):
            await loom.metrics.trend("quality", since=now, until=now, bucket=timedelta(hours=1))
        with pytest.raises(AdmissionError, match="choose another length"):
            await loom.metrics.trend("quality", since=BEGIN, until=now, bucket=timedelta(seconds=1))
