"""A guard of what calls may cost, over a ledger of its own: what is reserved, settled, remembered and waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from loom.journal.entry import Entry
from loom.journal.sqlite import SqliteStore
from loom.spend.guard import DaySpend, Reservation, Settled, Settlement, SpendGuard
from tests.journal.support import collected, notes

LIMIT = 100


class HeldEntry(Entry):
    kind: ClassVar[str] = "test.held"

    reservation: tuple[str, str, str, int]
    about: str


class PaidEntry(Entry):
    kind: ClassVar[str] = "test.paid"

    reservation_id: str
    cost: int
    settlement: str


class Limited:
    """A ledger that refuses what goes over 100 a day, with the sums that it saw."""

    journal = "test/spend"

    def __init__(self, *, period: Literal["month", "day"] = "day", remembers: bool = False) -> None:
        self.period: Literal["month", "day"] = period
        self.remembers = remembers

    def reserved(self, made: Reservation, about: str) -> Entry:
        return HeldEntry(reservation=(*made,), about=about)

    def settled(self, made: Settled, settlement: Settlement) -> Entry:
        return PaidEntry(reservation_id=made.reservation_id, cost=made.cost_micro_usd, settlement=settlement)

    def read(self, entry: Entry) -> Reservation | Settled | None:
        if isinstance(entry, HeldEntry):
            return Reservation(*entry.reservation)
        return Settled(entry.reservation_id, entry.cost) if isinstance(entry, PaidEntry) else None

    def refusal(self, today: DaySpend, own: DaySpend, worst_case_micro_usd: int) -> str | None:
        over = today.committed_micro_usd + worst_case_micro_usd > LIMIT
        return f"{today.committed_micro_usd}/{own.committed_micro_usd}" if over else None


class Now:
    """A clock that is set by hand."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __call__(self) -> datetime:
        return datetime.fromisoformat(self.text).replace(tzinfo=UTC)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path / "j.db")
    yield opened
    await opened.close()


def guard_of(store: SqliteStore, ledger: Limited, now: Now | None = None, zone: str = "UTC") -> SpendGuard[str]:
    return SpendGuard(store, ledger, time_zone=zone, now=now or Now("2026-03-15T12:00"))


async def held(guard: SpendGuard[str], name: str, worst_case: int, patience_s: float = 0.0) -> Reservation | str:
    return await guard.reserve("desk", reservation_id=name, worst_case_micro_usd=worst_case, patience_s=patience_s)


async def sure(guard: SpendGuard[str], name: str, worst_case: int, *, account: str = "desk") -> Reservation:
    made = await guard.reserve(account, reservation_id=name, worst_case_micro_usd=worst_case)
    assert isinstance(made, Reservation)
    return made


async def test_sums_are_kept_for_all_and_for_each_account(store: SqliteStore) -> None:
    guard = guard_of(store, Limited())
    await store.append(notes("test/spend-2026-03-15", 0))  # which says nothing to the ledger
    made = await sure(guard, "a", 30)
    await sure(guard, "b", 20, account="shop")
    assert made == Reservation("a", "desk", "2026-03-15", 30)
    assert guard.of_today() == DaySpend("2026-03-15", calls=2, spent_micro_usd=0, reserved_micro_usd=50)
    assert guard.of_today("desk") == DaySpend("2026-03-15", 1, 0, 30)
    assert guard.of_today("else") == DaySpend("2026-03-15", 0, 0, 0)
    assert await guard.settle(made, 12, settlement="known") == 12
    assert guard.of_today() == DaySpend("2026-03-15", 2, 12, 20)
    assert guard.of_today("desk") == DaySpend("2026-03-15", 1, 12, 0)
    assert guard.of_today().committed_micro_usd == 32
    assert await held(guard, "c", 69) == "32/12"
    entries = [each.entry for each in await collected(store.read("test/spend-2026-03-15"))]
    about = [each.about for each in entries if isinstance(each, HeldEntry)]
    assert about == ["", ""], "what the caller says nothing about"


async def test_a_person_grants_what_the_limit_refuses_and_by_default_nothing_is_granted(store: SqliteStore) -> None:
    guard = guard_of(store, Limited())
    assert await held(guard, "a", 101) == "0/0"
    granted = await guard.reserve(
        "desk", reservation_id="a", worst_case_micro_usd=101, about="a large one", within_limits=False
    )
    assert granted == Reservation("a", "desk", "2026-03-15", 101)
    assert guard.of_today().reserved_micro_usd == 101


@pytest.mark.parametrize(("said", "counted"), [(0, 0), (1, 1), (None, 40), (-1, 40)])
async def test_what_is_unknown_or_nonsense_counts_as_the_worst_case(
    store: SqliteStore, said: int | None, counted: int
) -> None:
    guard = guard_of(store, Limited())
    assert await guard.settle(await sure(guard, "a", 40), said, settlement="known") == counted
    assert guard.of_today() == DaySpend("2026-03-15", 1, counted, 0)


@pytest.mark.parametrize("remembers", [True, False])
async def test_a_reservation_is_known_afterwards_where_the_ledger_remembers(
    store: SqliteStore, remembers: object
) -> None:
    guard = guard_of(store, Limited(remembers=bool(remembers)))
    made = await sure(guard, "a", 40)
    assert await held(guard, "a", 7) == made, "an id that is known is the reservation that was made"
    await guard.settle(made, 10, settlement="known")
    await guard.settle(made, 99, settlement="known")
    again = await sure(guard, "a", 7)
    assert again == (made if remembers else Reservation("a", "desk", "2026-03-15", 7))
    assert guard.attempts("desk") == 1
    assert guard.attempts("shop") == 0
    assert guard.of_today() == DaySpend("2026-03-15", 1 if remembers else 2, 10, 0 if remembers else 7)


async def test_a_month_has_one_journal_and_what_is_open_of_the_last_is_found(store: SqliteStore) -> None:
    now = Now("2026-02-01T00:00")
    guard = guard_of(store, Limited(period="month"), now)
    first = await sure(guard, "a", 10)
    now.text = "2026-02-28T23:00"
    second = await sure(guard, "b", 10)
    now.text = "2026-03-31T12:00"
    third = await sure(guard, "c", 10)
    await guard.settle(second, 5, settlement="known")
    assert {each async for each in _journals(store)} == {"test/spend-2026-02", "test/spend-2026-03"}
    assert await guard_of(store, Limited(period="month"), now).unsettled() == (first, third)
    now.text = "2026-04-01T00:00"
    assert await guard_of(store, Limited(period="month"), now).unsettled() == (third,)


async def test_a_day_has_one_journal_and_what_is_open_of_yesterday_is_found(store: SqliteStore) -> None:
    now = Now("2026-03-14T22:30")
    guard = guard_of(store, Limited(), now)
    first = await sure(guard, "a", 10)
    now.text = "2026-03-15T22:30"
    second = await sure(guard, "b", 10)
    again = guard_of(store, Limited(), now)
    assert again.of_today() == DaySpend("2026-03-15")
    await again.load()
    assert again.of_today() == DaySpend("2026-03-15", 1, 0, 10)
    assert await again.unsettled() == (first, second)
    now.text = "2026-03-16T22:30"
    assert await guard_of(store, Limited(), now).unsettled() == (second,)
    assert guard_of(store, Limited(), now, zone="Europe/Berlin").day() == "2026-03-16"
    assert guard_of(store, Limited(), now, zone="Pacific/Auckland").day() == "2026-03-17"


async def test_a_call_waits_only_where_what_runs_could_leave_room(store: SqliteStore) -> None:
    guard = guard_of(store, Limited())
    one = await sure(guard, "a", 1)
    await guard.settle(await sure(guard, "b", 60), 60, settlement="known")
    async with asyncio.timeout(10):
        assert await held(guard, "c", 41, patience_s=600) == "61/61", "60 are spent for good"
        assert await held(guard, "c", 40) == "61/61", "it was given no time"
        assert await held(guard, "c", 40, patience_s=0.01) == "61/61", "its time is over"
        waiting = asyncio.create_task(held(guard, "c", 40, patience_s=600))
        await asyncio.sleep(0)
        await guard.settle(one, 0, settlement="known")
        assert await waiting == Reservation("c", "desk", "2026-03-15", 40)


async def test_a_call_that_waits_asks_again_only_when_something_was_settled(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, asked = Limited(), list[int]()
    refusal = ledger.refusal
    guard = guard_of(store, ledger)
    open_ = await sure(guard, "a", 100)

    def counted(today: DaySpend, own: DaySpend, worst_case_micro_usd: int) -> str | None:
        asked.append(worst_case_micro_usd)
        return refusal(today, own, worst_case_micro_usd)

    monkeypatch.setattr(ledger, "refusal", counted)
    waiting = asyncio.create_task(held(guard, "b", 50, patience_s=0.2))
    assert await waiting == "100/100"
    assert 3 <= len(asked) <= 4, "once to reserve and once to see whether to wait, at the beginning and at the end"
    await guard.settle(open_, 0, settlement="failed")


async def _journals(store: SqliteStore) -> AsyncIterator[str]:
    async for each in store.read_all():
        yield each.journal
