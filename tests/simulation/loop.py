"""An event loop on virtual time: no selector, no threads, and an order of everything that the seed alone decides.

Time goes on when nothing is ready, to the next timer, and by some microseconds with each callback, so that code that
spins comes to its timeout. What loom runs in threads runs here in lanes: a lane does one thing after the other, and
each takes a time that the seed decides. The work of a lane happens at one moment, and its result comes later: a crash
between the two leaves work that was done and that nothing knows of.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

__all__ = ["Crashed", "Lane", "Pace", "StalledError", "VirtualLoop", "VirtualTime"]

_CALLBACK_S = 2e-6
_MOST_CALLBACKS = 100_000


class Crashed(BaseException):
    """The simulated process ends here, in the middle of whatever it does."""


class StalledError(RuntimeError):
    """Nothing is ready and no timer is set, or the simulation does not come to an end."""


class VirtualTime:
    """The clocks of the simulated machine; they go on from one process to the next."""

    def __init__(self, now_us: int) -> None:
        self.elapsed_s = 1_000.0
        self.offset_us = now_us - 1_000_000_000
        """The time of day less the elapsed time; a step of the clock changes it."""

    def now_us(self) -> int:
        """Return the time of day in microseconds since 1970, as a `Clock` does."""
        return int(self.elapsed_s * 1_000_000) + self.offset_us

    def elapsed_us(self) -> int:
        """Return the elapsed time in microseconds, as an `ElapsedClock` does."""
        return int(self.elapsed_s * 1_000_000)


@dataclass(frozen=True)
class Pace:
    """How long the work of a lane takes, in seconds: usually `usual_s` at most, with the chance `slow`, `slow_s`."""

    usual_s: float = 0.0003
    slow: float = 0.0
    slow_s: float = 1.0

    def draw(self, dice: random.Random) -> float:
        """Return a time."""
        if self.slow and dice.random() < self.slow:
            return dice.random() * self.slow_s
        return dice.random() * self.usual_s


class Lane(Executor):
    """Stands for an executor of one thread: work is done in its order, on the virtual loop."""

    def __init__(self, *_: object, **__: object) -> None:
        self.free_at = 0.0
        self.told_at = 0.0
        self.is_dead = False

    def submit(self, fn: Callable[..., Any], /, *given: Any, **more: Any) -> Future[Any]:
        """Do something at once: a store is closed so without a loop."""
        future: Future[Any] = Future()
        if not self.is_dead:
            future.set_result(fn(*given, **more))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Do nothing: there is no thread."""


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop of one simulated process. `crash_after` is the number of callbacks after which the process ends."""

    def __init__(
        self,
        dice: random.Random,
        time: VirtualTime,
        *,
        pace: Pace | None = None,
        reorder: float = 0.0,
        crash_after: int | None = None,
    ) -> None:
        super().__init__()
        self._dice = dice
        self._virtual = time
        self._pace = pace or Pace()
        self._reorder = reorder
        self._ready: Any
        self._scheduled: list[asyncio.TimerHandle]
        self.crash_after = crash_after
        self.has_crashed = False
        self.callbacks = 0
        self.is_dead = False
        self.lanes: dict[int, Lane] = {}

    def time(self) -> float:
        """Return the virtual elapsed time."""
        return self._virtual.elapsed_s

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Any, *given: Any, context: Any = None
    ) -> asyncio.Handle:
        """As `call_soon`: there is one thread."""
        return self.call_soon(callback, *given, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *given: Any
    ) -> asyncio.Future[Any]:
        """Do something in a lane, or, where no executor is named, next to everything else."""
        future: asyncio.Future[Any] = self.create_future()
        lane = executor if isinstance(executor, Lane) else Lane()
        self.lanes[id(lane)] = lane
        begins = max(self.time(), lane.free_at) + self._pace.draw(self._dice)
        lane.free_at = begins
        lane.told_at = max(lane.told_at, begins + self._pace.draw(self._dice))
        self.call_at(begins, self._do, future, func, given, lane, lane.told_at)
        return future

    def _do(self, future: asyncio.Future[Any], func: Any, given: Any, lane: Lane, told_at: float) -> None:
        if future.cancelled() or lane.is_dead:
            return
        try:
            result, error = func(*given), None
        except Exception as raised:
            result, error = None, raised
        self.call_at(max(told_at, self.time()), _tell, future, result, error)

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        if not ready:
            while scheduled and scheduled[0].cancelled():
                self._drop()
            if not scheduled:
                raise StalledError("nothing is ready, and no timer is set")
            self._virtual.elapsed_s = max(self._virtual.elapsed_s, scheduled[0].when())
        now = self._virtual.elapsed_s + 1e-9
        while scheduled and scheduled[0].when() <= now:
            handle = self._drop()
            if not handle.cancelled():
                ready.append(handle)
        if self._reorder and len(ready) > 1 and self._dice.random() < self._reorder:
            self._shuffle()
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle.cancelled():
                continue
            self.callbacks += 1
            self._virtual.elapsed_s += _CALLBACK_S
            if self.callbacks == self.crash_after:
                self.has_crashed = True
                raise Crashed
            if self.callbacks > _MOST_CALLBACKS:
                raise StalledError(f"no end after [{_MOST_CALLBACKS}] callbacks")
            handle._run()

    def _drop(self) -> asyncio.TimerHandle:
        handle = heapq.heappop(self._scheduled)
        handle._scheduled = False  # type: ignore[attr-defined]
        return handle

    def _shuffle(self) -> None:
        """Change the order of the tasks that go on in this round; callbacks keep their places among them."""
        ready = list(self._ready)
        places = [at for at, each in enumerate(ready) if isinstance(_owner(each), asyncio.Task)]
        tasks = [ready[at] for at in places]
        self._dice.shuffle(tasks)
        for at, handle in zip(places, tasks, strict=True):
            ready[at] = handle
        self._ready.clear()
        self._ready.extend(ready)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave a cancelled timer where it is: it is dropped when its time comes."""

    def _write_to_self(self) -> None:
        """Do nothing: no other thread has to be woken."""

    def _process_events(self, event_list: list[Any]) -> None:
        """Do nothing: there is no selector."""

    def die(self) -> None:
        """End the process: what is under way is dropped, in a fixed order, and nothing of it runs on."""
        self.is_dead = True
        for lane in self.lanes.values():
            lane.is_dead = True
        self._ready.clear()
        self._scheduled.clear()


def _owner(handle: asyncio.Handle) -> object:
    return getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]


def _tell(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if not future.done():
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
