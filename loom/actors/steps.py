"""The recorded steps of a turn, returned to its code in the order in which they were recorded.

A step is matched by verb, key and occurrence, not by position, so concurrent look-ups find their own results. Results
are released in recorded order and one at a time, so the code gets them, and sees the state, as it did the first time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

from loom.actors.change_entries import VersionMarkedEntry
from loom.actors.entries import AskedEntry, AttemptFailedEntry, EffectIntendedEntry
from loom.actors.wait_entries import WaitBegunEntry
from loom.decisions.entries import ApprovalRequestedEntry
from loom.journal.entry import Recorded, Step, UnknownEntry

__all__ = ["REACTION", "Phase", "RecordedSteps", "UnorderedSteps", "attempt_phase", "phase_of", "step_of"]

Phase: TypeAlias = str
"""Some steps take two entries: an intent before, `begin`, and a result after, `end`. Others have only the end. Between
them is an entry for each attempt that failed and was repeated, `attempt 1` and so on."""

_WAITS = frozenset({ApprovalRequestedEntry.kind, WaitBegunEntry.kind, AttemptFailedEntry.kind})
_BEGINNINGS = _WAITS | {EffectIntendedEntry.kind, AskedEntry.kind}

REACTION = 16
"""The rounds of the event loop that the code of a turn gets to react to a result, before its silence counts: enough for
the end of a task to be noticed through several nested task groups."""


class _Item(NamedTuple):
    step: Step
    phase: Phase
    recorded: Recorded


class RecordedSteps:
    """The steps of a turn before it was interrupted.

    `released` is called with each entry as its step gets it; `before_last` is awaited before the last one is
    returned, because after it the code runs for real.
    """

    def __init__(
        self,
        entries: Iterable[Recorded],
        *,
        released: Callable[[Recorded], None],
        before_last: Callable[[], Awaitable[None]],
    ) -> None:
        self._items: deque[_Item] = deque()
        for recorded in entries:
            step = step_of(recorded)
            if step is not None and recorded.kind != VersionMarkedEntry.kind:  # which code need not ask for
                self._items.append(_Item(step, phase_of(recorded), recorded))
        self._known = {(item.step, item.phase) for item in self._items}
        self.parked = any(_parks(item) and not self.has(_wait_of(item), "end") for item in self._items)
        """Whether the turn waited for an answer, a time or a message when it was interrupted."""
        self._left = len(self._items)
        self._taken: set[tuple[Step, Phase]] = set()
        self._waiters: dict[tuple[Step, Phase], asyncio.Future[Recorded]] = {}
        self._blocked: list[Step] = []
        self.inside: set[asyncio.Task[Any] | None] = set()
        """The tasks that wait here, for a recorded step or for all of them to be matched."""
        self._released = released
        self._before_last = before_last
        self._last: asyncio.Task[None] | None = None
        self._reacting = False
        self._settled = asyncio.Event()
        self.progress = 0
        """Increases with every step that was matched: it distinguishes a stall from slowness."""
        if not self._items:
            self._settled.set()

    @property
    def finished(self) -> bool:
        """Whether every recorded step has been matched."""
        return not self._left

    @property
    def continuing_live(self) -> bool:
        """Whether the last recorded step was matched and only waits for the actor to be free."""
        return self._last is not None

    @property
    def starved(self) -> bool:
        """Whether steps are left, the next one is not requested, and the code has had the time to react."""
        if self.finished or self._last is not None or self._reacting or not self._items:
            return False
        return (self._items[0].step, self._items[0].phase) not in self._waiters

    def has(self, step: Step, phase: Phase) -> bool:
        """Tell whether this half of a step was recorded."""
        return (step, phase) in self._known

    def peek(self, step: Step, phase: Phase) -> Recorded | None:
        """Return this half of a step, if it was recorded and not returned yet; it is not consumed."""
        return next((item.recorded for item in self._items if (item.step, item.phase) == (step, phase)), None)

    def expected(self) -> list[str]:
        """Return the recorded steps that were not requested, for the message of a divergence."""
        return [str(item.step) for item in self._items if (item.step, item.phase) not in self._taken]

    def found(self) -> list[str]:
        """Return the steps that the code requests instead."""
        return [str(step) for step, _ in self._waiters] + [str(step) for step in self._blocked]

    async def take(self, step: Step, phase: Phase) -> Recorded:
        """Return a recorded entry when its place in the recorded order is reached."""
        future: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
        self._waiters[step, phase] = future
        self._advance()
        try:
            with self._waiting():
                return await future
        finally:
            self._waiters.pop((step, phase), None)

    def take_now(self, step: Step) -> Recorded | None:
        """Return a recorded entry at once, or None: only for pure steps, whose order has no effect."""
        for item in self._items:
            if item.step == step and (step, item.phase) not in self._taken:
                self._taken.add((step, item.phase))
                self._left -= 1
                self._release_taken()
                self._let_react()
                return item.recorded
        return None

    async def wait(self, step: Step) -> None:
        """Wait until all recorded steps are matched: only then may a step that was not recorded run."""
        self._blocked.append(step)
        try:
            with self._waiting():
                await self._settled.wait()
        finally:
            self._blocked.remove(step)

    async def matched(self) -> None:
        """Wait until all recorded steps are matched, and the code has reacted to the last one."""
        await self._settled.wait()

    def cancel(self) -> None:
        """Stop everything that still runs for these steps."""
        if self._last is not None:
            self._last.cancel()

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        task = asyncio.current_task()
        self.inside.add(task)
        try:
            yield
        finally:
            self.inside.discard(task)

    def _advance(self) -> None:
        """Release the first recorded step if a task waits for it; it is called again when the code has reacted."""
        if self._last is not None or self._reacting:
            return
        self._release_taken()
        if not self._items:
            self._settled.set()
            return
        item = self._items[0]
        waiter = self._waiters.get((item.step, item.phase))
        if waiter is None or waiter.done():
            return
        if self._left == 1 and not _parks(item):
            self._last = asyncio.ensure_future(self._give_last(item, waiter))
        else:
            self._give(item, waiter)

    def _give(self, item: _Item, waiter: asyncio.Future[Recorded]) -> None:
        self._release()
        self._left -= 1
        waiter.set_result(item.recorded)
        self._let_react()

    async def _give_last(self, item: _Item, waiter: asyncio.Future[Recorded]) -> None:
        try:
            await self._before_last()
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                waiter.cancel()
                raise
            if not waiter.done():
                waiter.set_exception(error)
            return
        self._last = None
        if not waiter.done():  # otherwise its caller stopped waiting: the step stays unmatched, and the turn diverges
            self._give(item, waiter)

    def _release(self) -> None:
        item = self._items.popleft()
        self.progress += 1
        self._released(item.recorded)

    def _release_taken(self) -> None:
        while self._items and (self._items[0].step, self._items[0].phase) in self._taken:
            self._release()

    def _let_react(self) -> None:
        if not self._reacting:
            self._reacting = True
            self._react(REACTION)

    def _react(self, rounds: int) -> None:
        if rounds:
            asyncio.get_running_loop().call_soon(self._react, rounds - 1)
        else:
            self._reacting = False
            self._advance()


class UnorderedSteps(RecordedSteps):
    """Returns every recorded step as soon as it is requested, in any order.

    For code that runs under another policy version: it may leave recorded steps out, and nothing waits for those.
    """

    async def take(self, step: Step, phase: Phase) -> Recorded:
        """Return a recorded entry, after one round of the event loop."""
        await asyncio.sleep(0)
        for item in list(self._items):
            if (item.step, item.phase) == (step, phase) and (step, phase) not in self._taken:
                self._taken.add((step, phase))
                self._left -= 1
                self.progress += 1
                self._released(item.recorded)
                return item.recorded
        raise LookupError(f"step [{step}] was taken twice")

    def take_now(self, step: Step) -> Recorded | None:
        """Return a recorded entry at once, or None."""
        for item in self._items:
            if item.step == step and (step, item.phase) not in self._taken:
                self._taken.add((step, item.phase))
                self._left -= 1
                self.progress += 1
                return item.recorded
        return None

    async def wait(self, step: Step) -> None:
        """Wait for nothing: what was not recorded is not run in any case."""
        self._blocked.append(step)


def step_of(recorded: Recorded) -> Step | None:
    """Return the step that wrote an entry, also where its kind is unknown in this process."""
    entry = recorded.entry
    if isinstance(entry, UnknownEntry) and isinstance(entry.body, dict):
        written = entry.body.get("step")
        return Step(*written) if isinstance(written, list) else None  # type: ignore[arg-type]
    return entry.step


def attempt_phase(attempt: int) -> Phase:
    """Return the phase of a step in which an attempt failed; attempts are numbered from 1."""
    return f"attempt {attempt}"


def phase_of(recorded: Recorded) -> Phase:
    """Return the phase of its step that an entry is."""
    entry = recorded.entry
    if isinstance(entry, AttemptFailedEntry):
        return attempt_phase(entry.attempt)
    return "begin" if recorded.kind in _BEGINNINGS else "end"


def _parks(item: _Item) -> bool:
    """Tell whether a turn whose last entry this is waits: then nothing runs for real yet."""
    return item.recorded.kind in _WAITS


def _wait_of(item: _Item) -> Step:
    """Return the step that ends when a wait is over."""
    entry = item.recorded.entry
    return entry.back_off if isinstance(entry, AttemptFailedEntry) else item.step
