"""The guard of spending: a maximum of calls and dollars a day, also if a process dies in between.

The maximum cost of a call is reserved before it and settled after it, both as entries. A reservation that was never
settled, because the process died, counts in full. One process writes a workspace, so one guard sees all reservations.
What is limited, and by which entries it is journaled, is its ledger's: critics have one, calls of models by actors
another.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar
from zoneinfo import ZoneInfo

from loom.journal.entry import Entry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalReader, draft

__all__ = ["DaySpend", "Ledger", "Reservation", "Settled", "Settlement", "SpendGuard"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Settlement: TypeAlias = Literal["known", "unknown_price", "failed", "lost"]
"""How the cost is known: `known`; else the worst case was counted: no price, a failed call, or a lost process."""


class Reservation(NamedTuple):
    """The reservation for one call; `account` is what it is for: a decision, or an actor."""

    reservation_id: str
    account: str
    day: str
    worst_case_micro_usd: int


class Settled(NamedTuple):
    """The final cost of a call."""

    reservation_id: str
    cost_micro_usd: int


class DaySpend(NamedTuple):
    """What was begun and spent on one day; of all, or of one account. Amounts are in millionths of a dollar."""

    day: str
    calls: int = 0
    spent_micro_usd: int = 0
    reserved_micro_usd: int = 0

    @property
    def committed_micro_usd(self) -> int:
        """What is spent for certain or still reserved."""
        return self.spent_micro_usd + self.reserved_micro_usd


class Ledger(Protocol[R_co]):
    """What a guard keeps: which entries say what was reserved and settled, in which journals, within which limits."""

    @property
    def journal(self) -> str:
        """The prefix of the journals."""
        ...

    @property
    def period(self) -> Literal["month", "day"]:
        """What has a journal of its own: a start reads those of two periods, so it is short where calls are many."""
        ...

    @property
    def remembers(self) -> bool:
        """Whether reservations are known after they were settled: for ids that come again, and to count attempts."""
        ...

    def reserved(self, made: Reservation, about: str) -> Entry:
        """Return the entry of a reservation; `about` is what the caller said of it."""
        ...

    def settled(self, made: Settled, settlement: Settlement) -> Entry:
        """Return the entry of a settlement."""
        ...

    def read(self, entry: Entry) -> Reservation | Settled | None:
        """Return what an entry says; None for an entry of another kind."""
        ...

    def refusal(self, today: DaySpend, own: DaySpend, worst_case_micro_usd: int) -> R_co | None:
        """Return why there is no room for a call, today and for its account, or None."""
        ...


class SpendGuard(Generic[R]):
    """Guards what calls may cost. `now` is the time in UTC; the day is that of `time_zone`."""

    def __init__(
        self,
        store: JournalReader,
        ledger: Ledger[R],
        *,
        time_zone: str,
        now: Callable[[], datetime],
        make_draft: Callable[[Entry], Draft] = draft,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._zone = ZoneInfo(time_zone)
        self._now = now
        self._draft = make_draft
        self._periods: dict[str, _Period[R]] = {}
        self._settled = asyncio.Event()
        """Set when a reservation is settled next."""

    async def reserve(
        self,
        account: str,
        *,
        reservation_id: str,
        worst_case_micro_usd: int,
        about: str = "",
        patience_s: float = 0.0,
        within_limits: bool = True,
    ) -> Reservation | R:
        """Reserve the maximum cost of a call durably, or return why not.

        If only reservations of running calls prevent it, it waits for them to settle, for `patience_s` at most. A known
        reservation id returns the existing reservation. Without `within_limits` nothing refuses it: a person has
        granted it.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + patience_s
        while True:
            settled = self._settled
            made = await self._reserve(account, reservation_id, worst_case_micro_usd, about, within_limits)
            left_s = ends - loop.time()
            if isinstance(made, Reservation) or left_s <= 0 or not self._may_settle(account, worst_case_micro_usd):
                return made
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await settled.wait()

    def _may_settle(self, account: str, worst_case_micro_usd: int) -> bool:
        """Return whether there would be room for a call if the running ones cost nothing."""
        today, own = self.of_today(), self.of_today(account)
        spent = today._replace(reserved_micro_usd=0), own._replace(reserved_micro_usd=0)
        return today.reserved_micro_usd > 0 and self._ledger.refusal(*spent, worst_case_micro_usd) is None

    async def _reserve(
        self, account: str, reservation_id: str, worst_case_micro_usd: int, about: str, within_limits: object
    ) -> Reservation | R:
        day = self.day()
        period = self._period(day)
        refused: list[R] = []

        def make() -> Entry | None:
            refused.clear()
            if reservation_id in period.known:
                return None
            reason = self._ledger.refusal(period.of(day), period.of(day, account), worst_case_micro_usd)
            if reason is not None and within_limits:
                refused.append(reason)
                return None
            return self._ledger.reserved(Reservation(reservation_id, account, day, worst_case_micro_usd), about)

        await period.journal.append_if_missing(make)
        return refused[0] if refused else period.known[reservation_id]

    async def settle(self, reservation: Reservation, cost_micro_usd: int | None, *, settlement: Settlement) -> int:
        """Record the cost of a call and return it; the worst case counts where the cost is unknown or invalid."""
        period = self._period(reservation.day)
        known = cost_micro_usd is not None and cost_micro_usd >= 0
        cost = cost_micro_usd if known and cost_micro_usd is not None else reservation.worst_case_micro_usd

        def make() -> Entry | None:
            if reservation.reservation_id not in period.open:
                return None
            return self._ledger.settled(Settled(reservation.reservation_id, cost), settlement)

        await period.journal.append_if_missing(make)
        self._settled.set()
        self._settled = asyncio.Event()
        return cost

    async def load(self) -> None:
        """Read the journal of today, as far as it goes."""
        await self._period(self.day()).journal.load()

    async def unsettled(self) -> tuple[Reservation, ...]:
        """Return the unsettled reservations of this period and the last: running, or lost with their process."""
        first = self._now().astimezone(self._zone).date()
        if self._ledger.period == "month":
            first = first.replace(day=1)
        periods = [self._period((first - timedelta(days=1)).isoformat()), self._period(first.isoformat())]
        for period in periods:
            await period.journal.load()
        return tuple(reservation for period in periods for reservation in period.open.values())

    def attempts(self, account: str) -> int:
        """Return the number of reservations of an account, as far as the journal was read."""
        return sum(made.account == account for each in self._periods.values() for made in each.known.values())

    def of_today(self, account: str | None = None) -> DaySpend:
        """Return what was spent today, of all or of one account, as far as the journal was read."""
        day = self.day()
        return self._period(day).of(day, account)

    def day(self) -> str:
        """Return the day of today in the time zone, as an ISO date."""
        return self._now().astimezone(self._zone).date().isoformat()

    def _period(self, day: str) -> _Period[R]:
        name = day[:7] if self._ledger.period == "month" else day
        if name not in self._periods:
            self._periods[name] = _Period(self._store, f"{self._ledger.journal}-{name}", self._ledger, self._draft)
        return self._periods[name]


class _Period(Generic[R]):
    """The content of one journal, by day, and by day and account."""

    def __init__(
        self, store: JournalReader, name: str, ledger: Ledger[R], make_draft: Callable[[Entry], Draft]
    ) -> None:
        self.journal = SingletonJournal(store, name, self._fold, make_draft=make_draft)
        self._ledger = ledger
        self.known: dict[str, Reservation] = {}
        self.open: dict[str, Reservation] = {}
        self._days: dict[tuple[str, str | None], DaySpend] = {}

    def of(self, day: str, account: str | None = None) -> DaySpend:
        """Return what was spent on a day, of all or of one account."""
        return self._days.get((day, account), DaySpend(day))

    def _fold(self, recorded: Recorded) -> None:
        said = self._ledger.read(recorded.entry)
        if isinstance(said, Reservation):
            self.known[said.reservation_id] = self.open[said.reservation_id] = said
            self._add(said, calls=1, reserved=said.worst_case_micro_usd)
        elif isinstance(said, Settled) and said.reservation_id in self.open:
            made = self.open.pop(said.reservation_id)
            if not self._ledger.remembers:
                del self.known[said.reservation_id]
            self._add(made, spent=said.cost_micro_usd, reserved=-made.worst_case_micro_usd)

    def _add(self, made: Reservation, *, calls: int = 0, spent: int = 0, reserved: int = 0) -> None:
        for account in (None, made.account):
            day, *before = self.of(made.day, account)
            after = [value + more for value, more in zip(before, (calls, spent, reserved), strict=True)]
            self._days[made.day, account] = DaySpend(day, *after)
