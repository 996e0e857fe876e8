"""The budget: never exceeded, whichever day it is, however many ask at once, and whoever is killed in between."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from loom.enrichment import Budget, BudgetsConfig
from loom.enrichment.budget import Refused, Reservation
from loom.journal.sqlite import SqliteStore


class Wall:
    """A clock that is set by hand."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


async def reserved(budget: Budget, name: str, worst_case: int = 10) -> Reservation | Refused:
    return await budget.reserve(name, reservation_id=f"r-{name}", worst_case_micro_usd=worst_case)


async def test_what_is_reserved_counts_until_it_is_settled_for_less(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "j.db")
    budget = Budget(store, BudgetsConfig(max_cost_per_day=0.000_100), now=Wall(datetime(2026, 3, 1, tzinfo=UTC)))
    first = await reserved(budget, "a", 90)
    assert isinstance(first, Reservation)
    assert isinstance(await reserved(budget, "b", 20), Refused)
    assert await budget.settle(first, 30, settlement="known") == 30
    assert await budget.settle(first, 1, settlement="known") == 1  # said twice: the first time counts
    assert isinstance(await reserved(budget, "c", 70), Reservation)
    today = await budget.today()
    assert (today.calls, today.spent_micro_usd, today.reserved_micro_usd, today.left_micro_usd) == (2, 30, 70, 0)
    await store.close()


async def waiting(budget: Budget, name: str, worst_case: int, patience_s: float = 60.0) -> Reservation | Refused:
    return await budget.reserve(
        name, reservation_id=f"r-{name}", worst_case_micro_usd=worst_case, patience_s=patience_s
    )


async def test_a_call_waits_for_what_is_only_set_aside_for_calls_under_way(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "j.db")
    budget = Budget(store, BudgetsConfig(max_cost_per_day=0.000_100), now=Wall(datetime(2026, 3, 1, tzinfo=UTC)))
    first = await waiting(budget, "a", 90)
    assert isinstance(first, Reservation)
    others = [asyncio.create_task(waiting(budget, name, 80)) for name in "bc"]
    await asyncio.sleep(0.01)
    assert not any(each.done() for each in others), "nothing is refused that there may be room for"
    await budget.settle(first, 10, settlement="known")
    done, pending = await asyncio.wait(others, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    [second] = [each.result() for each in done]
    assert isinstance(second, Reservation)
    assert len(pending) == 1
    await budget.settle(second, 70, settlement="known")
    [third] = [await each for each in pending]
    assert isinstance(third, Refused), "80 are spent for good: there never will be room for it"
    assert third.reason == "budget_cost"
    await store.close()


async def test_what_there_will_never_be_room_for_is_refused_at_once(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "j.db")
    wall = Wall(datetime(2026, 3, 1, tzinfo=UTC))
    budget = Budget(store, BudgetsConfig(max_cost_per_day=0.000_100, max_enrichments_per_day=2), now=wall)
    async with asyncio.timeout(30):
        assert isinstance(await waiting(budget, "a", 50, 600), Reservation)
        assert isinstance(await waiting(budget, "b", 101, 600), Refused), "more than a day has"
        assert isinstance(await waiting(budget, "c", 10, 600), Reservation)
        refused = await waiting(budget, "d", 10, 600)
        assert isinstance(refused, Refused), "a call that was begun counts, whatever it costs"
        assert refused.reason == "budget_count"
    await store.close()


async def test_a_call_does_not_wait_longer_than_it_is_given(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "j.db")
    budget = Budget(store, BudgetsConfig(max_cost_per_day=0.000_100), now=Wall(datetime(2026, 3, 1, tzinfo=UTC)))
    assert isinstance(await waiting(budget, "a", 90), Reservation)
    async with asyncio.timeout(30):
        assert isinstance(await waiting(budget, "b", 80, patience_s=0.01), Refused)
    await store.close()


@pytest.mark.parametrize("nonsense", [None, -1])
async def test_a_cost_that_is_nonsense_counts_as_the_worst_case(tmp_path: Path, nonsense: int | None) -> None:
    store = await SqliteStore.open(tmp_path / "j.db")
    budget = Budget(store, BudgetsConfig(), now=Wall(datetime(2026, 3, 1, tzinfo=UTC)))
    made = await reserved(budget, "a", 90)
    assert isinstance(made, Reservation)
    assert await budget.settle(made, nonsense, settlement="known") == 90
    await store.close()


@pytest.mark.parametrize("zone", ["UTC", "Europe/Zurich", "America/New_York", "Pacific/Kiritimati", "Asia/Kathmandu"])
async def test_a_day_is_that_of_the_time_zone_also_where_it_has_23_or_25_hours(tmp_path: Path, zone: str) -> None:
    store = await SqliteStore.open(tmp_path / "j.db")
    for month, day_of_month in ((3, 7), (3, 28), (10, 24), (10, 31)):
        begin = datetime(2026, month, day_of_month, tzinfo=UTC)
        wall = Wall(begin)
        budget = Budget(store, BudgetsConfig(max_enrichments_per_day=1, time_zone=zone), now=wall)
        for hour in range(60):
            wall.at = begin + timedelta(hours=hour)
            day = wall.at.astimezone(ZoneInfo(zone)).date().isoformat()
            fresh = (await budget.today()).calls == 0
            made = await reserved(budget, f"{zone}-{wall.at.isoformat()}")
            assert isinstance(made, Reservation) == fresh
            assert (await budget.today()).day == day
            assert (await budget.today()).calls == 1
    await store.close()


async def test_a_call_that_ends_after_midnight_counts_on_the_day_on_which_it_began(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "j.db")
    wall = Wall(datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC))
    budget = Budget(store, BudgetsConfig(), now=wall)
    made = await reserved(budget, "late", 90)
    assert isinstance(made, Reservation)
    wall.at += timedelta(seconds=2)
    await budget.settle(made, 50, settlement="known")
    assert (await budget.today()).spent_micro_usd == 0
    wall.at -= timedelta(seconds=2)
    assert (await budget.today()).spent_micro_usd == 50
    await store.close()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.booleans()), max_size=40), st.integers(0, 200))
def test_spent_and_reserved_never_exceed_the_day_whatever_is_asked(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[int, int, bool]], limit: int
) -> None:
    async def run() -> None:
        store = await SqliteStore.open(tmp_path_factory.mktemp("budget") / "j.db")
        config = BudgetsConfig(max_cost_per_day=limit / 1e6, max_enrichments_per_day=20)
        budget = Budget(store, config, now=Wall(datetime(2026, 3, 1, tzinfo=UTC)))

        async def call(number: int, worst_case: int, cost: int, settles: bool) -> None:  # noqa: FBT001
            made = await reserved(budget, str(number), worst_case)
            today = await budget.today()
            assert today.spent_micro_usd + today.reserved_micro_usd <= limit
            assert today.calls <= 20
            if isinstance(made, Reservation) and settles:
                await budget.settle(made, min(cost, worst_case), settlement="known")

        await asyncio.gather(*(call(number, *each) for number, each in enumerate(calls)))
        again = Budget(store, config, now=Wall(datetime(2026, 3, 1, tzinfo=UTC)))
        assert await again.today() == await budget.today()
        await store.close()

    asyncio.run(run())


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from loom import Loom
from tests.enrichment.agents import Clerk, Decide, opinion
from tests.enrichment.test_enricher import config
from loom.enrichment import CriticAnswer
billed = open(sys.argv[2], "a")

class Provider:
    worst_case_micro_usd = 10_000
    left = int(sys.argv[4])
    async def analyse(self, request):
        billed.write("10000\\n"); billed.flush(); os.fsync(billed.fileno())
        Provider.left -= 1
        if Provider.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return CriticAnswer(opinion(request.decision), model="m", cost_micro_usd=10_000)

async def main():
    made = config(Path(sys.argv[1]), mode="always", max_cost_per_day=0.2)
    async with Loom.open(made, actors=[Clerk], by="robin", critic=Provider()) as loom:
        for number in range(40):
            await loom.actor(Clerk, "a").ask(Decide(), id=f"command-{number}")
        await loom.enricher.idle()
        print("done", flush=True)

asyncio.run(main())
"""


def test_what_the_provider_bills_stays_within_the_budget_however_often_the_process_is_killed(tmp_path: Path) -> None:
    draw, bill = random.Random(20), tmp_path / "bill"
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    root = str(Path(__file__).resolve().parents[2])
    killed = 0
    for _ in range(12):
        arguments = [str(tmp_path / "data"), str(bill), root, str(draw.randint(1, 4))]
        done = subprocess.run(
            [sys.executable, str(script), *arguments], capture_output=True, timeout=60, env={**os.environ}, check=False
        )
        killed += done.returncode == -signal.SIGKILL
        assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
        assert sum(map(int, bill.read_text().split())) <= 200_000
    assert killed >= 3
    assert sum(map(int, bill.read_text().split())) >= 150_000  # and what there was to spend was not lost


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_cost_per_day": -1},
        {"max_cost_per_day": float("nan")},
        {"max_cost_per_day": float("inf")},
        {"max_enrichments_per_day": -1},
        {"time_zone": "Mars/Olympus"},
        {"time_zone": "../etc/passwd"},
        {"time_zone": ""},
    ],
    ids=json.dumps,
)
def test_a_budget_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BudgetsConfig.model_validate(wrong)
