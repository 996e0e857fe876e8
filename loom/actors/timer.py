"""One timer for everything that waits for a time: a heap of due times, and one call of the event loop for the earliest.

Due times are elapsed time, so that a step of the time of day neither ends a wait nor holds it up. A time of day becomes
elapsed time once: when the wait begins, or when it is read from the journal after a restart.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TypeAlias

from loom.clock import Clock, Instant, datetime_from_us, elapsed_us, instant, left_us, us_from_datetime
from loom.journal.entry import Step
from loom.telemetry import get_logger

__all__ = ["Timer", "Waiting"]

Waiting: TypeAlias = tuple[str, str]
"""The journal and the command id of a turn that waits."""

_MAX_SLEEP_S = 60.0  # the event loop's clock may not count suspension, as elapsed time does
_SPARE = 64

_log = get_logger("loom.actors")


class Timer:
    """The due times of waits, by turn and step; `on_due` is called with each that passes, once it is started.

    A step of None is the beginning of a turn. A due time is known until it is forgotten, also when it has passed.
    """

    def __init__(self, clock: Clock) -> None:
        self.on_due: Callable[[str, str, Step | None], None] = _nothing
        self._clock = clock
        self.times: dict[Waiting, tuple[tuple[Step | None, int], ...]] = {}
        """The due times that are known, in microseconds of elapsed time."""
        self._heap: list[tuple[int, Waiting]] = []
        self._handle: asyncio.TimerHandle | None = None
        self._armed_us: int | None = None
        self._running = False

    def __len__(self) -> int:
        return len(self.times)

    # --- due times ------------------------------------------------------------------------------

    def set(self, turn: Waiting, step: Step | None, until: datetime, *, at: Instant) -> None:
        """Note a time that is set now: it passes after that much elapsed time."""
        self._put(turn, step, at.elapsed_us + us_from_datetime(until) - at.now_us)

    def set_again(self, turn: Waiting, step: Step | None, until: datetime, *, said_us: int) -> None:
        """Note a time that was set before this process began, when the clock said `said_us`; a known one is kept."""
        if any(known == step for known, _ in self.times.get(turn, ())):
            return
        now = instant(self._clock)
        left, ahead_us = left_us(us_from_datetime(until), now_us=now.now_us, said_us=said_us)
        if ahead_us:
            _log.warning("clock_was_ahead", journal=turn[0], turn=turn[1], by_s=ahead_us // 1_000_000)
        self._put(turn, step, now.elapsed_us + left)

    def passed(self, turn: Waiting, step: Step | None) -> bool:
        """Tell whether a known time has passed."""
        now_us = elapsed_us(self._clock)
        return any(known == step and due_us <= now_us for known, due_us in self.times.get(turn, ()))

    def due(self, turn: Waiting) -> Iterator[Step | None]:
        """Yield the steps of a turn whose time has passed."""
        now_us = elapsed_us(self._clock)
        return (step for step, due_us in self.times.get(turn, ()) if due_us <= now_us)

    def until(self, turn: Waiting) -> datetime | None:
        """Return the time of day, by the clock as it is now, of the earliest time of a turn; None without one."""
        times = [due_us for _, due_us in self.times.get(turn, ())]
        now = instant(self._clock)
        return datetime_from_us(now.now_us + min(times) - now.elapsed_us) if times else None

    def forget(self, turn: Waiting, step: Step | None) -> None:
        """Forget the time of one step."""
        left = tuple(each for each in self.times.get(turn, ()) if each[0] != step)
        if left:
            self.times[turn] = left
        else:
            self.forget_turn(turn)

    def forget_turn(self, turn: Waiting) -> None:
        """Forget all times of a turn."""
        if self.times.pop(turn, None) is not None and len(self._heap) > 2 * len(self.times) + _SPARE:
            self._heap = [(due_us, turn) for turn, steps in self.times.items() for _, due_us in steps]
            heapq.heapify(self._heap)

    def next_s(self) -> float | None:
        """Return the seconds until the next time passes, not more than 0 if one has; None without one."""
        while self._heap and not self._is_known(*self._heap[0]):
            heapq.heappop(self._heap)
        return (self._heap[0][0] - elapsed_us(self._clock)) / 1e6 if self._heap else None

    # --- running --------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to call `on_due`."""
        self._running = True
        self._arm()

    def close(self) -> None:
        """Call it no more: what passes from now on is found at the next start."""
        self._running = False
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def fire(self) -> int:
        """Call `on_due` for each time that has passed; return how many there were."""
        fired, now_us = 0, elapsed_us(self._clock)
        while self._heap and self._heap[0][0] <= now_us:
            due_us, turn = heapq.heappop(self._heap)
            for step, known_us in self.times.get(turn, ()):
                if known_us == due_us:
                    fired += 1
                    self.on_due(*turn, step)
        return fired

    def _put(self, turn: Waiting, step: Step | None, due_us: int) -> None:
        others = tuple(each for each in self.times.get(turn, ()) if each[0] != step)
        self.times[turn] = (*others, (step, due_us))
        heapq.heappush(self._heap, (due_us, turn))
        if self._running and (self._armed_us is None or due_us < self._armed_us):
            self._arm()

    def _is_known(self, due_us: int, turn: Waiting) -> bool:
        return any(known_us == due_us for _, known_us in self.times.get(turn, ()))

    def _arm(self) -> None:
        """Have the event loop call when the earliest time passes, or somewhat earlier."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = self._armed_us = None
        if not self._running or (left_s := self.next_s()) is None:
            return
        self._armed_us = self._heap[0][0]
        # In a context of its own: a timer in that of a turn would look like one that the turn has set.
        self._handle = asyncio.get_running_loop().call_later(
            min(max(left_s, 0.0), _MAX_SLEEP_S), self._look, context=contextvars.Context()
        )

    def _look(self) -> None:
        self._handle = self._armed_us = None
        self.fire()
        self._arm()


def _nothing(journal: str, command_id: str, step: Step | None) -> None:
    """Do nothing: the timer was not given to anything that wakes turns."""
