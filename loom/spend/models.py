"""The budget of calls of models by actors: per day and per actor, kept by the guard."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

from loom.identity import new_id
from loom.journal.entry import Entry
from loom.journal.store import Draft, JournalReader, draft
from loom.spend.config import ModelBudgetConfig
from loom.spend.entries import ModelSpendReservedEntry, ModelSpendSettledEntry
from loom.spend.guard import DaySpend, Reservation, Settled, Settlement, SpendGuard

__all__ = ["MODEL_BUDGET_JOURNAL", "ModelSpend", "NotReserved"]

MODEL_BUDGET_JOURNAL = "loom/model-budget"
"""The prefix of the journals of reservations and settlements: one for each day."""

_Reason: TypeAlias = Literal["day", "actor", "unknown_price"]


class NotReserved(NamedTuple):
    """Why nothing was reserved: which limit, and in words."""

    reason: _Reason
    detail: str


class ModelSpend:
    """Reserves before a call of a model, and settles after it. `now` is the time in UTC."""

    def __init__(
        self,
        store: JournalReader,
        config: ModelBudgetConfig,
        *,
        now: Callable[[], datetime],
        make_draft: Callable[[Entry], Draft] = draft,
        make_id: Callable[[], str] = new_id,
    ) -> None:
        self.config = config
        self._new_id = make_id
        self._guard = SpendGuard(
            store, _ModelLedger(config), time_zone=config.time_zone, now=now, make_draft=make_draft
        )
        self._shared = bool(getattr(store, "shared", False))
        self._lost_settled = False
        self._own: set[str] = set()
        """The reservations that this process has made and not settled."""
        self._settling = asyncio.Lock()

    async def reserve(
        self, journal: str, *, model: str, worst_case_micro_usd: int | None, within_limits: bool = True
    ) -> Reservation | NotReserved:
        """Reserve the most that a call of an actor may cost, durably, or return why not.

        For an unknown price (None) the config says what is reserved. Without `within_limits` no limit refuses it.
        """
        worst = worst_case_micro_usd
        if worst is None:
            if self.config.unknown_price_usd is None:
                return NotReserved(
                    "unknown_price",
                    f"the price of [{model}] is not known; expected one to reserve: set "
                    "budgets.models.unknown_price_usd to the most that a call of it may cost, 0 for one that is free",
                )
            worst = math.ceil(self.config.unknown_price_usd * 1_000_000)
        await self._settle_lost(journal)
        reservation_id = self._new_id()
        self._own.add(reservation_id)
        made = await self._guard.reserve(
            journal,
            reservation_id=reservation_id,
            worst_case_micro_usd=worst,
            about=model,
            within_limits=within_limits,
        )
        if isinstance(made, NotReserved):
            self._own.discard(reservation_id)
        return made

    async def settle(self, reservation: Reservation, cost_micro_usd: int | None, *, settlement: Settlement) -> int:
        """Record the cost of a call and return it; the worst case counts where the cost is unknown or invalid."""
        cost = await self._guard.settle(reservation, cost_micro_usd, settlement=settlement)
        self._own.discard(reservation.reservation_id)
        return cost

    async def _settle_lost(self, journal: str) -> None:
        """Settle what another process reserved and never settled, before this one reserves: it counts in full.

        Where several processes write, calls of the others may still run. Those of one actor are made by the owner of
        its journal, which is this process: a reservation of that journal from another process has lost its call.
        """
        async with self._settling:
            if self._lost_settled:
                return
            for reservation in await self._guard.unsettled():
                if reservation.reservation_id not in self._own and (not self._shared or reservation.account == journal):
                    await self._guard.settle(reservation, None, settlement="lost")
            self._lost_settled = not self._shared

    async def today(self, journal: str | None = None) -> DaySpend:
        """Return what was spent today, by all actors or by one."""
        await self._guard.load()
        return self._guard.of_today(journal)


class _ModelLedger:
    """The entries and the limits of calls of models."""

    journal = MODEL_BUDGET_JOURNAL
    period: Literal["month", "day"] = "day"
    remembers = False

    def __init__(self, config: ModelBudgetConfig) -> None:
        self._day = math.floor(config.max_usd_per_day * 1_000_000)
        own = config.max_usd_per_actor_per_day
        self._actor = None if own is None else math.floor(own * 1_000_000)

    def reserved(self, made: Reservation, about: str) -> Entry:
        """Return the entry of a reservation for a call of an actor."""
        return ModelSpendReservedEntry(
            reservation_id=made.reservation_id,
            journal=made.account,
            model=about,
            day=made.day,
            worst_case_micro_usd=made.worst_case_micro_usd,
        )

    def settled(self, made: Settled, settlement: Settlement) -> Entry:
        """Return the entry of a settlement."""
        return ModelSpendSettledEntry(
            reservation_id=made.reservation_id, cost_micro_usd=made.cost_micro_usd, settlement=settlement
        )

    def read(self, entry: Entry) -> Reservation | Settled | None:
        """Return what an entry of this ledger says."""
        if isinstance(entry, ModelSpendReservedEntry):
            return Reservation(entry.reservation_id, entry.journal, entry.day, entry.worst_case_micro_usd)
        if isinstance(entry, ModelSpendSettledEntry):
            return Settled(entry.reservation_id, entry.cost_micro_usd)
        return None

    def refusal(self, today: DaySpend, own: DaySpend, worst_case_micro_usd: int) -> NotReserved | None:
        """Return why there is no room for a call, of all and of its actor."""
        if worst_case_micro_usd > self._day - today.committed_micro_usd:
            return NotReserved("day", _words(today, worst_case_micro_usd, self._day, "of all actors"))
        if self._actor is not None and worst_case_micro_usd > self._actor - own.committed_micro_usd:
            return NotReserved("actor", _words(own, worst_case_micro_usd, self._actor, "of this actor"))
        return None


def _words(spent: DaySpend, worst_case_micro_usd: int, limit_micro_usd: int, whose: str) -> str:
    left = max(0, limit_micro_usd - spent.committed_micro_usd)
    return (
        f"up to ${worst_case_micro_usd / 1e6:.6f} are needed, ${left / 1e6:.6f} of ${limit_micro_usd / 1e6:g} "
        f"{whose} are left on {spent.day}"
    )
