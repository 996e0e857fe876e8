"""A schedule sends its command once for each of its times, over restarts, crashes, changed clocks and wrong clocks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from loom import Actor, Command, Loom, LoomConfig
from loom.config import ScheduleConfig
from loom.config.cron import times_after
from loom.errors import ConfigError
from loom.identity import derived_id
from loom.testing import FixedClock, fixed_sources

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Report(Command[None]):
    what: str = "all"


class Reporter(Actor):
    async def execute(self, command: Report) -> None:
        """Do nothing more."""


@asynccontextmanager
async def opened(directory: Path, clock: FixedClock, **settings: Any) -> AsyncIterator[Loom]:
    schedule = {"name": "hourly", "cron": "0 * * * *", "actor": "reporter", "command": "Report", **settings}
    config = LoomConfig.model_validate({"data": directory, "schedules": [schedule]})
    sources = fixed_sources(clock, seed=str(clock.now_us()))
    async with Loom.open(config, actors=[Reporter], by="t", sources=sources) as loom:
        await loom.schedules.look()
        yield loom


async def received(loom: Loom) -> int:
    """Return how many commands the reporter has, and check that none is there twice."""
    found = [each async for each in loom.store.read("reporter/main") if each.kind == "command_received"]
    assert len({each.command_id for each in found}) == len(found)
    return len(found)


async def noted(loom: Loom) -> list[tuple[str, str]]:
    return [
        (each.kind, str(getattr(each.entry, "due", None) or getattr(each.entry, "until", None) or "")[11:16])
        async for each in loom.store.read("loom/schedules")
    ]


async def test_a_command_is_sent_at_each_time_and_says_which_schedule_sent_it(tmp_path: Path) -> None:
    clock = FixedClock(NOON + timedelta(minutes=30))
    async with opened(tmp_path, clock) as loom:
        assert await received(loom) == 0
        clock.advance(1_799)
        assert 0 < await loom.schedules.look() <= 1
        assert await received(loom) == 0
        for number in (1, 2):
            clock.advance(1 if number == 1 else HOUR)
            await loom.schedules.look()
            await loom.schedules.look()
            assert await received(loom) == number
        first = await anext(loom.store.read("reporter/main"))
        assert first.entry.by == "schedule hourly"  # type: ignore[attr-defined]
        assert await noted(loom) == [("schedule_set", ""), ("schedule_fired", "13:00"), ("schedule_fired", "14:00")]


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        ("skip", [("schedule_skipped", "17:00")]),
        ("once", [("schedule_fired", "17:00"), ("schedule_skipped", "16:00")]),
        ("all", [("schedule_fired", f"{hour}:00") for hour in range(13, 18)]),
    ],
)
async def test_times_at_which_no_loom_ran_are_skipped_or_made_up_for_once(
    tmp_path: Path, missed: str, expected: list[tuple[str, str]]
) -> None:
    clock = FixedClock(NOON + timedelta(minutes=30))
    async with opened(tmp_path, clock, missed=missed):
        pass
    clock.advance(5 * HOUR)
    for _ in range(2):  # a second start finds nothing more to do
        async with opened(tmp_path, clock, missed=missed) as loom:
            assert (await noted(loom))[1:] == expected
            assert await received(loom) == sum(kind == "schedule_fired" for kind, _ in expected)


@pytest.mark.parametrize("missed", ["skip", "once", "all"])
async def test_a_crash_between_the_command_and_its_note_neither_doubles_nor_loses_it(
    tmp_path: Path, missed: str
) -> None:
    clock = FixedClock(NOON + timedelta(minutes=30))
    async with opened(tmp_path, clock, missed=missed) as loom:
        due = NOON + HOUR
        command_id = derived_id("schedule", "default", "hourly", due.isoformat())
        await loom.actor(Reporter, "main").tell(Report(), id=command_id, by="schedule hourly")
    clock.advance(HOUR)
    async with opened(tmp_path, clock, missed=missed) as loom:
        assert (await noted(loom))[1:] == [("schedule_fired", "13:00")]
        assert await received(loom) == 1


@pytest.mark.parametrize("by", [timedelta(days=365), timedelta(days=-365)], ids=["ahead", "behind"])
async def test_a_clock_that_steps_fires_nothing_for_the_time_in_between_and_freezes_nothing(
    tmp_path: Path, by: timedelta
) -> None:
    clock = FixedClock(NOON + timedelta(minutes=30))
    async with opened(tmp_path, clock, missed="all") as loom:
        clock.set_by(by)
        assert await loom.schedules.look() <= 3_600
        assert await received(loom) == 0
        clock.advance(HOUR)
        await loom.schedules.look()
        assert await received(loom) == 1
        clock.set_by(-by)
        await loom.schedules.look()
        clock.advance(HOUR)
        await loom.schedules.look()
        assert await received(loom) == 2
    clock.set_by(-by)
    async with opened(tmp_path, clock, missed="skip") as loom:
        clock.advance(HOUR)
        await loom.schedules.look()
        assert await received(loom) >= 2


async def test_more_missed_times_than_are_made_up_for_are_noted_as_such(tmp_path: Path) -> None:
    clock = FixedClock(NOON)
    async with opened(tmp_path, clock, cron="* * * * *", missed="all"):
        pass
    clock.advance(timedelta(days=400))
    async with opened(tmp_path, clock, cron="* * * * *", missed="all") as loom:
        assert await received(loom) == 100
        skipped = [each.entry async for each in loom.store.read("loom/schedules") if each.kind == "schedule_skipped"]
        assert [each.more for each in skipped] == [True]  # type: ignore[attr-defined]


async def test_a_schedule_that_is_changed_begins_at_that_time(tmp_path: Path) -> None:
    clock = FixedClock(NOON + timedelta(minutes=30))
    async with opened(tmp_path, clock, missed="all"):
        pass
    clock.advance(5 * HOUR)
    async with opened(tmp_path, clock, missed="all", cron="15 * * * *") as loom:
        assert await received(loom) == 0
        clock.advance(HOUR)
        await loom.schedules.look()
        assert await received(loom) == 1


@pytest.mark.parametrize(
    ("start", "cron", "expected"),
    [
        # The clocks of Berlin go forward at 2:00 on 2026-03-29, and back at 3:00 on 2026-10-25.
        ("2026-03-28T12:00", "30 2 * * *", ["03-29 01:00", "03-30 00:30"]),
        ("2026-10-24T12:00", "30 2 * * *", ["10-25 00:30", "10-26 01:30"]),
        ("2026-10-24T22:30", "0 * * * *", ["10-24 23:00", "10-25 00:00", "10-25 01:00", "10-25 02:00"]),
        ("2026-03-29T00:15", "*/30 * * * *", ["03-29 00:30", "03-29 01:00", "03-29 01:30"]),
    ],
)
def test_times_where_the_clocks_of_a_zone_change_come_once_each(start: str, cron: str, expected: list[str]) -> None:
    times = times_after(cron, "Europe/Berlin", datetime.fromisoformat(start).replace(tzinfo=UTC))
    assert [next(times).strftime("%m-%d %H:%M") for _ in expected] == expected


@pytest.mark.parametrize(
    "settings",
    [
        {"cron": "0 0 30 2 *"},
        {"cron": "0 0 31 4 *"},
        {"cron": "61 * * * *"},
        {"cron": "* * * * * *"},
        {"cron": ""},
        {"cron": "@daily"},
        {"timezone": "Europe/Atlantis"},
        {"timezone": "../etc/passwd"},
        {"missed": "some"},
        {"name": "Not A Name"},
        {"actor": ""},
    ],
)
def test_a_schedule_that_can_never_send_is_refused(settings: dict[str, str]) -> None:
    whole = {"name": "hourly", "cron": "0 * * * *", "actor": "reporter", "command": "Report"}
    assert ScheduleConfig.model_validate(whole).missed == "once"
    with pytest.raises(ValidationError):
        ScheduleConfig.model_validate({**whole, **settings})


@pytest.mark.parametrize("settings", [{"command": "Unheard"}, {"payload": {"what": 3, "else": 1}}])
async def test_a_schedule_whose_command_its_actor_does_not_take_is_refused_at_the_start(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="schedule \\[hourly\\] cannot make its command"):
        async with opened(tmp_path, FixedClock(), **settings):
            pass


def test_two_schedules_of_one_name_are_refused() -> None:
    whole = {"name": "hourly", "cron": "0 * * * *", "actor": "reporter", "command": "Report"}
    with pytest.raises(ValidationError, match="a name of its own"):
        LoomConfig.model_validate({"schedules": [whole, whole]})
