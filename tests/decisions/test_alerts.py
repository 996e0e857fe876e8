"""A day on which the figures of decisions stand out is noticed once, written down, logged and passed on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from loom import Loom, LoomConfig
from loom.actors import Sources
from loom.clock import us_from_datetime
from loom.decisions.alerts import ALERT_JOURNAL, AnomalyFoundEntry
from tests.decisions.test_metrics import Meter, Metered

BEGIN = datetime(2026, 3, 1, 9, tzinfo=UTC)


class Days:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.us = us_from_datetime(BEGIN)

    def now_us(self) -> int:
        self.us += 1_000
        return self.us

    def set(self, day: int) -> None:
        self.us = us_from_datetime(BEGIN + timedelta(days=day))


def opened(path: Path, clock: Days, **alerts: Any) -> Loom:
    config = LoomConfig.model_validate({"data": path, "alerts": alerts})
    return Loom.open(config, actors=[Metered], by="robin", sources=Sources(clock=clock))


async def lived(loom: Loom, clock: Days, days: range, *, odd: int | None = None) -> None:
    """Decide each day; on an odd day everything is denied."""
    for day in days:
        clock.set(day)
        for number in range(4):
            denied = day == odd or number == day % 4 == 0
            await loom.actor(Metered, "m").ask(Meter(size=25 if denied else 5, granted=not denied))


async def test_an_odd_day_is_told_once_to_the_log_and_to_those_who_asked(tmp_path: Path) -> None:
    clock = Days()
    told: list[AnomalyFoundEntry] = []
    waited: list[str] = []

    async def later(alert: AnomalyFoundEntry) -> None:
        await asyncio.sleep(0)
        waited.append(alert.measure)

    def breaks(alert: AnomalyFoundEntry) -> None:
        raise RuntimeError("nobody at home")

    async with opened(tmp_path, clock) as loom:
        for hook in (told.append, breaks, later):
            loom.alerts.on_alert(hook)
        await lived(loom, clock, range(40), odd=38)
        with capture_logs() as logged:
            first = await loom.alerts.look()
            again = await loom.alerts.look()
        assert [(each.measure, each.day.date().isoformat()) for each in first] == [("denial_rate", "2026-04-08")]
        assert first[0].severity == "critical"
        assert (told, waited, again) == (first, ["denial_rate"], [])
    async with opened(tmp_path, clock) as loom:
        assert await loom.alerts.look() == []
        assert await loom.alerts.find() == first
        assert [each.kind async for each in loom.store.read(ALERT_JOURNAL)] == ["anomaly_found"]
    said = [each for each in logged if each["event"] == "decisions_stand_out"]
    assert [(each["log_level"], each["measure"], each["severity"]) for each in said] == [
        ("warning", "denial_rate", "critical")
    ]
    assert [each["log_level"] for each in logged if each["event"] == "alert_not_passed_on"] == ["error"]


@pytest.mark.parametrize(
    ("days", "odd", "at_least"),
    [
        (range(29), 27, "notice"),  # too few days
        (range(40), 39, "critical"),  # today is not over
        (range(45), 20, "notice"),  # it was long ago
    ],
)
async def test_nothing_is_told_of_too_few_days_of_a_day_that_is_not_over_and_of_one_long_ago(
    tmp_path: Path, days: range, odd: int, at_least: str
) -> None:
    clock = Days()
    async with opened(tmp_path, clock, at_least=at_least) as loom:
        await lived(loom, clock, days, odd=odd)
        assert [each for each in await loom.alerts.look() if each.measure == "denial_rate"] == []


async def test_a_loom_looks_by_itself_soon_after_it_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Days()
    async with opened(tmp_path, clock, enabled=False) as loom:
        await lived(loom, clock, range(40), odd=38)
    monkeypatch.setattr("loom.decisions.alerts._FIRST_LOOK_S", 0.0)
    told: asyncio.Queue[AnomalyFoundEntry] = asyncio.Queue()
    async with opened(tmp_path, clock) as loom:
        loom.alerts.on_alert(told.put_nowait)
        async with asyncio.timeout(60):
            assert (await told.get()).measure == "denial_rate"


async def test_every_measure_that_a_trend_can_have_comes_out_of_one_look(tmp_path: Path) -> None:
    clock = Days()
    async with opened(tmp_path, clock) as loom:
        await lived(loom, clock, range(3))
        since, until = BEGIN - timedelta(days=1), BEGIN + timedelta(days=5)
        every = await loom.metrics.trends(("decisions", "denial_rate", "accuracy"), since=since, until=until)
        for measure, trend in every.items():
            assert await loom.metrics.trend(measure, since=since, until=until) == trend
        assert await loom.metrics.days_with_decisions(since=since, until=until) == 3
