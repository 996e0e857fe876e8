"""The budget of enrichment: a maximum of calls and dollars a day, kept by the guard of `loom.spend`.

The maximum cost of a call is reserved before it and settled after it, both as entries. A reservation that was never
settled, because the process died, counts in full.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Literal, NamedTuple

from loom.decisions.enrichments import EnrichmentRefusal
from loom.enrichment.config import BudgetsConfig
from loom.enrichment.entries import BudgetReservedEntry, BudgetSettledEntry
from loom.journal.entry import Entry
from loom.journal.store import Draft, JournalReader, draft
from loom.spend.guard import DaySpend, Reservation, Settled, Settlement, SpendGuard

__all__ = ["BUDGET_JOURNAL", "Budget", "BudgetDay", "Refused", "Reservation"]

BUDGET_JOURNAL = "loom/budget"
"""The prefix of the journals of reservations and settlements: one for each month."""


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
    """Guards what enrichment may spend. `now` is the time in UTC; the day is that of the configured time zone."""

    def __init__(
        self,
        store: JournalReader,
        config: BudgetsConfig,
        *,
        now: Callable[[], datetime],
        make_draft: Callable[[Entry], Draft] = draft,
    ) -> None:
        self._ledger = _CriticLedger(config)
        self._guard = SpendGuard(store, self._ledger, time_zone=config.time_zone, now=now, make_draft=make_draft)

    async def reserve(
        self, decision_id: str, *, reservation_id: str, worst_case_micro_usd: int, patience_s: float = 0.0
    ) -> Reservation | Refused:
        """Reserve the maximum cost of a call durably, or return why not.

        If only reservations of running calls prevent it, it waits for them to settle, for `patience_s` at most. A known
        reservation id returns the existing reservation.
        """
        return await self._guard.reserve(
            decision_id,
            reservation_id=reservation_id,
            worst_case_micro_usd=worst_case_micro_usd,
            patience_s=patience_s,
        )

    async def settle(self, reservation: Reservation, cost_micro_usd: int | None, *, settlement: Settlement) -> int:
        """Record the cost of a call and return it; the worst case counts where the cost is unknown or invalid."""
        return await self._guard.settle(reservation, cost_micro_usd, settlement=settlement)

    async def today(self) -> BudgetDay:
        """Return the budget of today, in the budget's time zone."""
        await self._guard.load()
        return self._ledger.day_of(self._guard.of_today())

    def left(self) -> dict[str, float]:
        """Return what is left today, as far as the journal was read: calls, and US dollars."""
        day = self._ledger.day_of(self._guard.of_today())
        return {"calls": day.calls_left, "usd": day.left_micro_usd / 1_000_000}

    async def unsettled(self) -> tuple[Reservation, ...]:
        """Return the unsettled reservations of this month and the last: running, or lost with their process."""
        return await self._guard.unsettled()

    def attempts(self, decision_id: str) -> int:
        """Return the number of reservations for a decision, as far as the journal was read."""
        return self._guard.attempts(decision_id)


class _CriticLedger:
    """The entries and the limits of what critics cost."""

    journal = BUDGET_JOURNAL
    period: Literal["month", "day"] = "month"
    remembers = True

    def __init__(self, config: BudgetsConfig) -> None:
        self._max_calls = config.max_enrichments_per_day
        self._max_micro_usd = math.floor(config.max_cost_per_day * 1_000_000)

    def day_of(self, spent: DaySpend) -> BudgetDay:
        """Return a day with its limits."""
        return BudgetDay(*spent, max_calls=self._max_calls, max_micro_usd=self._max_micro_usd)

    def reserved(self, made: Reservation, about: str) -> Entry:
        """Return the entry of a reservation for a decision."""
        return BudgetReservedEntry(
            reservation_id=made.reservation_id,
            decision_id=made.account,
            day=made.day,
            worst_case_micro_usd=made.worst_case_micro_usd,
        )

    def settled(self, made: Settled, settlement: Settlement) -> Entry:
        """Return the entry of a settlement."""
        return BudgetSettledEntry(
            reservation_id=made.reservation_id, cost_micro_usd=made.cost_micro_usd, settlement=settlement
        )

    def read(self, entry: Entry) -> Reservation | Settled | None:
        """Return what an entry of this ledger says."""
        if isinstance(entry, BudgetReservedEntry):
            return Reservation(entry.reservation_id, entry.decision_id, entry.day, entry.worst_case_micro_usd)
        if isinstance(entry, BudgetSettledEntry):
            return Settled(entry.reservation_id, entry.cost_micro_usd)
        return None

    def refusal(self, today: DaySpend, own: DaySpend, worst_case_micro_usd: int) -> Refused | None:
        """Return why there is no room for a call today; single decisions have no limit."""
        day = self.day_of(today)
        if day.calls_left < 1:
            return Refused("budget_count", f"{day.calls} of {day.max_calls} calls were made on {day.day}")
        if worst_case_micro_usd > day.left_micro_usd:
            return Refused(
                "budget_cost",
                f"up to ${worst_case_micro_usd / 1e6:.6f} are needed, ${day.left_micro_usd / 1e6:.6f} of "
                f"${day.max_micro_usd / 1e6:.2f} are left on {day.day}",
            )
        return None
