"""R19: budgets and journals under clocks that step, in every time zone, over changes of the clock and leap days."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo, available_timezones

import pytest

from loom.enrichment import Budget, BudgetsConfig
from loom.enrichment.budget import Reservation
from loom.journal.sqlite import SqliteOptions, SqliteStore, WriterOptions
from tests.reliability.board import Tally, row

CAP = 3
QUICK = SqliteOptions(writer=WriterOptions(durability="process-crash-only", min_free_bytes=0))
"""No power is cut here."""
LEAP_DAY = datetime(2028, 2, 29, 12, tzinfo=UTC)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
STEPS_S = (-86_400, -7_200, -3_600, -2, 1, 2, 600, 1_800, 3_600, 3_600, 7_200, 21_600)
"""How a clock goes on between two calls, also backwards: by a day, by two hours, by a moment."""
CALLS = 10


class Clock:
    """A clock that is set by hand, for the budget and for the store."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def now_us(self) -> int:
        return int(self.at.timestamp() * 1_000_000)


def changes(zone: ZoneInfo, year: int) -> Iterator[datetime]:
    """Yield the instants of a year after which a zone has another offset."""
    at, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    while at < end:
        later = at + timedelta(hours=6)
        if at.astimezone(zone).utcoffset() != later.astimezone(zone).utcoffset():
            yield at
        at = later


def begin_of(zone: ZoneInfo, dice: Random) -> datetime:
    """Return from when on a zone is tried: a change of its clock, a leap day or a new year."""
    year = dice.choice((1995, 2008, 2011, 2026))  # dates went backwards, or were left out, in some of them
    return dice.choice(list(changes(zone, year)) or [LEAP_DAY, NEW_YEAR])


@row("R19")
@pytest.mark.timeout(400)
async def test_each_day_of_every_zone_has_one_budget_and_entries_keep_their_order(tmp_path: Path, tally: Tally) -> None:
    zones = sorted(available_timezones())
    found = 0
    for number, name in enumerate(zones):
        found += await days_of(name, tmp_path / f"{number}.db", tally)
    tally.control(trials=len(zones), found=found)
    tally.note(f"{len(zones)} zones")


async def days_of(name: str, path: Path, tally: Tally) -> bool:
    """Spend a budget in a zone; return whether days of 24 hours would have counted otherwise."""
    zone = ZoneInfo(name)
    clock = Clock(begin := begin_of(zone, tally.dice))
    clock.at -= timedelta(hours=8)
    store = await SqliteStore.open(path, clock=clock, options=QUICK)
    config = BudgetsConfig(max_enrichments_per_day=CAP, max_cost_per_day=1.0, time_zone=name)
    budget = Budget(store, config, now=clock)
    spent: Counter[date] = Counter()
    in_24_hours: Counter[int] = Counter()
    back = 0
    for call in range(CALLS):
        tally.tried()
        day, is_behind = clock.at.astimezone(zone).date(), store.recorded_at_us > clock.now_us()
        made = await budget.reserve(f"c{call}", reservation_id=f"r{call}", worst_case_micro_usd=1)
        tally.check(isinstance(made, Reservation) == (spent[day] < CAP), f"{name}: {clock.at}, {spent[day]} before")
        if isinstance(made, Reservation):
            spent[day] += 1
            in_24_hours[int((clock.at - begin).total_seconds() // 86_400)] += 1
            back += is_behind
            tally.check(made.day == day.isoformat(), f"{name}: {made.day} for {day}")
        today = await budget.today()
        tally.check(today.calls == spent[day] <= CAP, f"{name}: {today} for {spent[day]}")
        clock.at += timedelta(seconds=tally.dice.choice(STEPS_S))
    again = await Budget(store, config, now=clock).today()
    tally.check(again.calls == spent[clock.at.astimezone(zone).date()], f"{name}: another budget after a restart")
    entries = [each async for each in store.read_all()]
    await store.close()
    tally.check([each.position for each in entries] == list(range(1, sum(spent.values()) + 1)), f"{name}: a gap")
    times = [each.recorded_at_us for each in entries]
    tally.check(times == sorted(times), f"{name}: entries lie in another order than their times")
    tally.check(sum(each.clock_back_us > 0 for each in entries) == back, f"{name}: a step back is not marked")
    return sorted(in_24_hours.values()) != sorted(spent.values())
