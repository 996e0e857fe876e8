"""The pending requests for approval, and their deadlines, read from the journal itself.

Views are not used here: a requester who can write the views file must not be able to approve the request, or to delay
its deadline (law 9). A process knows all requests of the actors that it owns, and only it fires their deadlines; where
other processes write the workspace, all requests are read again for those who list them.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from operator import attrgetter
from typing import TypeAlias

from loom.clock import Clock, Instant, instant, left_us, us_from_datetime
from loom.decisions.approvals import Approval, approvals_of, waiting_in
from loom.journal.entry import Recorded
from loom.journal.store import JournalStore
from loom.telemetry import get_logger

__all__ = ["OpenRequests", "asked_us"]

_Turn: TypeAlias = tuple[str, str]
"""The journal and the command id of a turn."""

_log = get_logger("loom.actors")


class OpenRequests:
    """Requests for approval that wait for an answer, and their deadlines.

    Deadlines that were set in this process run on elapsed time, and do not depend on the time of day. Those from before
    are compared with the time of day once, when the request is first read, and run on elapsed time from then on.
    """

    def __init__(self, store: JournalStore, clock: Clock, mine: Callable[[str], bool] = lambda _: True) -> None:
        self.changed = asyncio.Event()
        """Set when there may be a deadline that comes before those that are known."""
        self._store = store
        self._clock = clock
        self._mine = mine
        """Whether this process is the owner of an actor."""
        self._open: dict[str, Approval] = {}
        self._of_turn: dict[_Turn, tuple[str, ...]] = {}
        self._due: dict[tuple[str, datetime], int] = {}
        """By approval id and deadline: the elapsed time at which it passes, in microseconds."""
        self._stale: set[_Turn] = set()
        self._asking: Counter[_Turn] = Counter()
        self._loaded = False
        self._refreshing = asyncio.Lock()

    @contextmanager
    def asking(self, journal: str, command_id: str) -> Iterator[None]:
        """Note that a request of a turn is being journaled: it is looked for until the append has a result."""
        turn = (journal, command_id)
        self._asking[turn] += 1
        self._stale.add(turn)
        try:
            yield
        finally:
            self._asking[turn] -= 1
            self._asking += Counter()  # forget those that were not journaled
            self.look_again(journal, command_id)

    def set_deadline(self, approval_id: str, deadline: datetime, *, at: Instant) -> None:
        """Note a deadline that is set now: it passes after that much elapsed time."""
        self._due[approval_id, deadline] = at.elapsed_us + us_from_datetime(deadline) - at.now_us

    def look_again(self, journal: str, command_id: str) -> None:
        """Note that the requests of a turn may have changed in the journal."""
        self._stale.add((journal, command_id))
        self.changed.set()

    def ended(self, journal: str, command_id: str) -> None:
        """Note that a turn has ended: its requests are not pending any more."""
        if (journal, command_id) in self._of_turn:
            self.look_again(journal, command_id)

    def forget(self) -> None:
        """Note that this process may own other actors than before: read all requests again."""
        self._loaded = False
        self.changed.set()

    async def pending(self) -> Sequence[Approval]:
        """Return the pending requests, oldest first."""
        if self._store.shared:
            self._loaded = False
        await self._refresh()
        return sorted(self._open.values(), key=attrgetter("position"))

    async def due(self) -> Sequence[Approval]:
        """Return pending requests of own actors whose deadline has passed, the earliest deadline first."""
        await self._refresh()
        now_us = instant(self._clock).elapsed_us
        due = [each for each in self._open.values() if self._due_us(each) <= now_us and self._mine(each.journal)]
        return sorted(due, key=lambda each: (self._due_us(each), each.position))

    async def expired(self, approval: Approval) -> bool:
        """Tell whether the deadline of a pending request has passed."""
        await self._refresh()
        return approval.deadline is not None and self._due_us(approval) <= instant(self._clock).elapsed_us

    async def next_deadline(self) -> tuple[datetime, float] | None:
        """Return the next deadline and the seconds until then, negative if it has passed; None without one."""
        await self._refresh()
        following = min(
            (each for each in self._open.values() if each.deadline is not None and self._mine(each.journal)),
            key=self._due_us,
            default=None,
        )
        if following is None or following.deadline is None:
            return None
        return following.deadline, (self._due_us(following) - instant(self._clock).elapsed_us) / 1e6

    async def _refresh(self) -> None:
        """Read the requests that are not known yet, or may have changed."""
        async with self._refreshing:
            if not self._loaded:
                self._open, self._of_turn = {}, {}
                async for marks in waiting_in(self._store):
                    self._take(marks)
                self._loaded = True
            if not self._stale:
                return
            turns, self._stale = self._stale, set(self._asking)
            try:
                marks = await self._store.marks(turns)
            except BaseException:
                self._stale |= turns
                raise
            for turn in turns:
                for approval_id in self._of_turn.pop(turn, ()):
                    self._open.pop(approval_id, None)
            self._take(marks)
            if not self._asking:
                self._due = {known: due for known, due in self._due.items() if known[0] in self._open}

    def _take(self, marks: Sequence[Recorded]) -> None:
        asked = {each.position: each for each in marks}
        for approval in approvals_of(marks):
            if not approval.pending or approval.command_id is None:
                continue
            turn = (approval.journal, approval.command_id)
            self._open[approval.approval_id] = approval
            self._of_turn[turn] = (*self._of_turn.get(turn, ()), approval.approval_id)
            known = (approval.approval_id, approval.deadline)
            if approval.deadline is not None and known not in self._due:
                due_us = self._from_before(approval, approval.deadline, said_us=asked_us(approval, asked))
                self._due[approval.approval_id, approval.deadline] = due_us

    def _from_before(self, approval: Approval, deadline: datetime, *, said_us: int) -> int:
        """Return the elapsed time at which a deadline passes that was set before this process started."""
        now = instant(self._clock)
        left, ahead_us = left_us(us_from_datetime(deadline), now_us=now.now_us, said_us=said_us)
        if ahead_us:
            _log.warning(
                "clock_was_ahead",
                journal=approval.journal,
                approval=approval.approval_id,
                by_s=ahead_us // 1_000_000,
            )
        return now.elapsed_us + left

    def _due_us(self, approval: Approval) -> float:
        return (
            math.inf
            if approval.deadline is None
            else self._due.get((approval.approval_id, approval.deadline), math.inf)
        )


def asked_us(approval: Approval, marks: dict[int, Recorded]) -> int:
    """Return the clock's time of the last request, by the turn's marks, without the correction of recorded times."""
    last = [each.position for each in approval.events if each.event in ("requested", "escalated") and each.counts][-1]
    return marks[last].recorded_at_us - marks[last].clock_back_us
