"""The budget of enrichment: a maximum of calls and dollars a day, also if a process dies in between.

The maximum cost of a call is reserved before it and settled after it, both as entries. A reservation that was never
settled, because the process died, counts in full. One process writes a workspace, so one guard sees all reservations.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from loom.decisions.enrichments import EnrichmentRefusal
from loom.enrichment.config import BudgetsConfig
from loom.enrichment.entries import BudgetReservedEntry, BudgetSettledEntry, Settlement
from loom.journal.entry import Entry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalReader, draft

__all__ = ["BUDGET_JOURNAL", "Budget", "BudgetDay", "Refused", "Reservation"]

BUDGET_JOURNAL = "loom/budget"
"""The prefix of the journals of reservations and settlements: one for each month."""


class Reservation(NamedTuple):
    """The reservation for one call."""

    reservation_id: str
    decision_id: str
    day: str
    worst_case_micro_usd: int


class Refused(NamedTuple):
    """Why nothing was reserved, for a program and in words."""

    reason: EnrichmentRefusal
    detail: str


class BudgetDay(NamedTuple):
    """One day of the budget: calls and millionths of a dollar, spent for certain or still reserved, and the limits."""

    day: str
    calls: int
    spent_micro_usd: int
    reserved_micro_usd: int
    max_calls: int
    max_micro_usd: int

    @property
    def calls_left(self) -> int:
        """The number of calls that are left."""
        return max(0, self.max_calls - self.calls)

    @property
    def left_micro_usd(self) -> int:
        """The amount that is left, in millionths of a dollar."""
        return max(0, self.max_micro_usd - self.spent_micro_usd - self.reserved_micro_usd)


class Budget:
    """Guards what enrichment may spend. `now` is the time in UTC; the day is that of the configured time zone.

    Each month has a journal of its own, so that a start reads no more than two of them.
    """

    def __init__(
        self,
        store: JournalReader,
        config: BudgetsConfig,
        *,
        now: Callable[[], datetime],
        make_draft: Callable[[Entry], Draft] = draft,
    ) -> None:
        self._store = store
        self._config = config
        self._zone = ZoneInfo(config.time_zone)
        self._now = now
        self._draft = make_draft
        self._max_micro_usd = math.floor(config.max_cost_per_day * 1_000_000)
        self._months: dict[str, _Month] = {}
        self._settled = asyncio.Event()
        """Set when a reservation is settled next."""

    async def reserve(
        self, decision_id: str, *, reservation_id: str, worst_case_micro_usd: int, patience_s: float = 0.0
    ) -> Reservation | Refused:
        """Reserve the maximum cost of a call durably, or return why not.

        If only reservations of running calls prevent it, it waits for them to settle, for `patience_s` at most. A known
        reservation id returns the existing reservation.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + patience_s
        while True:
            settled = self._settled
            made = await self._reserve(decision_id, reservation_id, worst_case_micro_usd)
            left_s = ends - loop.time()
            if isinstance(made, Reservation) or not self._may_settle(worst_case_micro_usd) or left_s <= 0:
                return made
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await settled.wait()

    def _may_settle(self, worst_case_micro_usd: int) -> bool:
        """Return whether there would be room for a call if the running ones cost nothing."""
        today = self._stand(self._month(self._today()))
        room = today.max_micro_usd - today.spent_micro_usd
        return today.calls_left > 0 and today.reserved_micro_usd > 0 and worst_case_micro_usd <= room

    async def _reserve(self, decision_id: str, reservation_id: str, worst_case_micro_usd: int) -> Reservation | Refused:
        month = self._month(self._today())
        refused: list[Refused] = []

        def make() -> Entry | None:
            if reservation_id in month.known:
                return None
            today = self._stand(month)
            if (reason := _no_room(today, worst_case_micro_usd)) is not None:
                refused.append(reason)
                return None
            return BudgetReservedEntry(
                reservation_id=reservation_id, decision_id=decision_id, day=today.day,
                worst_case_micro_usd=worst_case_micro_usd,
            )  # fmt: skip

        await month.journal.append_if_missing(make)
        return refused[0] if refused else month.known[reservation_id]

    async def settle(self, reservation: Reservation, cost_micro_usd: int | None, *, settlement: Settlement) -> int:
        """Record the cost of a call and return it; the worst case counts where the cost is unknown or invalid."""
        month = self._month(reservation.day)
        known = cost_micro_usd is not None and cost_micro_usd >= 0
        cost = cost_micro_usd if known and cost_micro_usd is not None else reservation.worst_case_micro_usd

        def make() -> Entry | None:
            if reservation.reservation_id not in month.open:
                return None
            return BudgetSettledEntry(
                reservation_id=reservation.reservation_id, cost_micro_usd=cost, settlement=settlement
            )

        await month.journal.append_if_missing(make)
        self._settled.set()
        self._settled = asyncio.Event()
        return cost

    async def today(self) -> BudgetDay:
        """Return the budget of today, in the budget's time zone."""
        month = self._month(self._today())
        await month.journal.load()
        return self._stand(month)

    def left(self) -> dict[str, float]:
        """Return what is left today, as far as the journal was read: calls, and US dollars."""
        day = self._stand(self._month(self._today()))
        return {"calls": day.calls_left, "usd": day.left_micro_usd / 1_000_000}

    async def unsettled(self) -> tuple[Reservation, ...]:
        """Return the unsettled reservations of this month and the last: running, or lost with their process."""
        first = self._now().astimezone(self._zone).date().replace(day=1)
        months = [self._month((first - timedelta(days=1)).isoformat()), self._month(first.isoformat())]
        for month in months:
            await month.journal.load()
        return tuple(reservation for month in months for reservation in month.open.values())

    def attempts(self, decision_id: str) -> int:
        """Return the number of reservations for a decision, as far as the journal was read."""
        return sum(made.decision_id == decision_id for each in self._months.values() for made in each.known.values())

    def _today(self) -> str:
        return self._now().astimezone(self._zone).date().isoformat()

    def _month(self, day: str) -> _Month:
        name = day[:7]
        if name not in self._months:
            self._months[name] = _Month(self._store, f"{BUDGET_JOURNAL}-{name}", self._draft)
        return self._months[name]

    def _stand(self, month: _Month) -> BudgetDay:
        day = self._today()
        return BudgetDay(
            day=day,
            calls=month.calls.get(day, 0),
            spent_micro_usd=month.spent.get(day, 0),
            reserved_micro_usd=month.reserved.get(day, 0),
            max_calls=self._config.max_enrichments_per_day,
            max_micro_usd=self._max_micro_usd,
        )


class _Month:
    """The content of one month's journal, by day."""

    def __init__(self, store: JournalReader, name: str, make_draft: Callable[[Entry], Draft]) -> None:
        self.journal = SingletonJournal(store, name, self._fold, make_draft=make_draft)
        self.known: dict[str, Reservation] = {}
        self.open: dict[str, Reservation] = {}
        self.calls: dict[str, int] = {}
        self.spent: dict[str, int] = {}
        self.reserved: dict[str, int] = {}

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        if isinstance(entry, BudgetReservedEntry):
            made = Reservation(entry.reservation_id, entry.decision_id, entry.day, entry.worst_case_micro_usd)
            self.known[made.reservation_id] = self.open[made.reservation_id] = made
            self.calls[made.day] = self.calls.get(made.day, 0) + 1
            self.reserved[made.day] = self.reserved.get(made.day, 0) + made.worst_case_micro_usd
        elif isinstance(entry, BudgetSettledEntry) and entry.reservation_id in self.open:
            made = self.open.pop(entry.reservation_id)
            self.reserved[made.day] -= made.worst_case_micro_usd
            self.spent[made.day] = self.spent.get(made.day, 0) + entry.cost_micro_usd


def _no_room(today: BudgetDay, worst_case_micro_usd: int) -> Refused | None:
    if today.calls_left < 1:
        return Refused("budget_count", f"{today.calls} of {today.max_calls} calls were made on {today.day}")
    if worst_case_micro_usd > today.left_micro_usd:
        return Refused(
            "budget_cost",
            f"up to ${worst_case_micro_usd / 1e6:.6f} are needed, ${today.left_micro_usd / 1e6:.6f} of "
            f"${today.max_micro_usd / 1e6:.2f} are left on {today.day}",
        )
    return None
