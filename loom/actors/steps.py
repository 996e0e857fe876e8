"""The recorded steps of a turn, fed back to its code in the order in which they were recorded.

A step is matched by what it is (verb, key, occurrence), not by position, so look-ups made concurrently find their own
results; but results are released in recorded order and one at a time, so the code sees them come back, and sees the
state, as it did the first time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from loom.actors.entries import AskedEntry, EffectIntendedEntry
from loom.decisions.entries import ApprovalRequestedEntry
from loom.journal.entry import Recorded, Step, UnknownEntry

__all__ = ["REACTION", "Phase", "RecordedSteps", "UnorderedSteps", "step_of"]

Phase = Literal["begin", "end"]
"""Some steps take two entries: an intent before, a result after. Others have only the end."""

_BEGINNINGS = frozenset({ApprovalRequestedEntry.kind, EffectIntendedEntry.kind, AskedEntry.kind})

REACTION = 16
"""How many rounds of the event loop the code of a turn gets to react to a result before something is made of it that it
has not: enough for the end of a task to be noticed through several task groups, one in the other."""


class _Item(NamedTuple):
    step: Step
    phase: Phase
    recorded: Recorded


class RecordedSteps:
    """What a turn did before it was cut short.

    `released` is called with each entry as its step gets it; `before_last` is awaited before the last one is given
    out, because after it the code runs for real.
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
            if step is not None:
                self._items.append(_Item(step, "begin" if recorded.kind in _BEGINNINGS else "end", recorded))
        self._known = {(item.step, item.phase) for item in self._items}
        self.parked = any(_parks(item) and not self.has(item.step, "end") for item in self._items)
        """Whether the turn waited for somebody's consent when it was cut short."""
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
        """Goes up with every step that was matched: how a stall is told from slowness."""
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
        """Whether steps are left, nobody asks for the next of them, and the code has had the time to react."""
        if self.finished or self._last is not None or self._reacting or not self._items:
            return False
        return (self._items[0].step, self._items[0].phase) not in self._waiters

    def has(self, step: Step, phase: Phase) -> bool:
        """Tell whether this half of a step was recorded."""
        return (step, phase) in self._known

    def peek(self, step: Step, phase: Phase) -> Recorded | None:
        """Return this half of a step, if it was recorded and not given out yet; it stays where it is."""
        return next((item.recorded for item in self._items if (item.step, item.phase) == (step, phase)), None)

    def expected(self) -> list[str]:
        """Return the recorded steps that were not given out, for the message of a divergence."""
        return [str(item.step) for item in self._items if (item.step, item.phase) not in self._taken]

    def found(self) -> list[str]:
        """Return the steps that the code asks for instead."""
        return [str(step) for step, _ in self._waiters] + [str(step) for step in self._blocked]

    async def take(self, step: Step, phase: Phase) -> Recorded:
        """Return a recorded entry when it is its turn to come back."""
        future: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
        self._waiters[step, phase] = future
        self._advance()
        try:
            with self._waiting():
                return await future
        finally:
            self._waiters.pop((step, phase), None)

    def take_now(self, step: Step) -> Recorded | None:
        """Return a recorded entry at once, or None: only for steps that are pure, whose order nobody can see."""
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

    def cancel(self) -> None:
        """Stop whatever is still going on for these steps."""
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
        """Give out the first recorded step if somebody waits for it; it is called again when the code has reacted."""
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
        if not waiter.done():  # else its caller gave up: the step stays unmatched, and the turn diverges
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
    """Gives every recorded step out as soon as it is asked for, in whatever order.

    For code that runs under another version: it may pass recorded steps over, and nobody waits for those.
    """

    async def take(self, step: Step, phase: Phase) -> Recorded:
        """Return a recorded entry, after the loop has gone round once."""
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
    """Return the step that wrote an entry, also where this process does not know its kind."""
    entry = recorded.entry
    if isinstance(entry, UnknownEntry) and isinstance(entry.body, dict):
        written = entry.body.get("step")
        return Step(*written) if isinstance(written, list) else None  # type: ignore[arg-type]
    return entry.step


def _parks(item: _Item) -> bool:
    """A turn whose last word was a question waits for the answer; nothing runs for real yet."""
    return item.recorded.kind == ApprovalRequestedEntry.kind
