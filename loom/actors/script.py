"""The recorded steps of a turn, fed back to its code in the order in which they were recorded.

A step is matched by what it is (verb, key, occurrence), not by position, so look-ups made concurrently find their own
results; but results are released in recorded order, so the code sees them come back as they did the first time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal, NamedTuple

from loom.actors.entries import AskedEntry, EffectIntendedEntry
from loom.decisions.entries import ApprovalRequestedEntry
from loom.journal.entry import Recorded, Step

__all__ = ["Phase", "Script"]

Phase = Literal["begin", "end"]
"""Some steps take two entries: an intent before, a result after. Others have only the end."""

_BEGINNINGS = frozenset({ApprovalRequestedEntry.kind, EffectIntendedEntry.kind, AskedEntry.kind})


class _Item(NamedTuple):
    step: Step
    phase: Phase
    recorded: Recorded


class Script:
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
            step = recorded.entry.step
            if step is not None:
                self._items.append(_Item(step, "begin" if recorded.kind in _BEGINNINGS else "end", recorded))
        self._known = {(item.step, item.phase) for item in self._items}
        self._taken: set[tuple[Step, Phase]] = set()
        self._waiters: dict[tuple[Step, Phase], asyncio.Future[Recorded]] = {}
        self._blocked: list[Step] = []
        self._released = released
        self._before_last = before_last
        self._last: asyncio.Task[None] | None = None
        self._finished = asyncio.Event()
        self.progress = 0
        """Goes up with every step that was matched: how a stall is told from slowness."""
        if not self._items:
            self._finished.set()

    @property
    def finished(self) -> bool:
        """Whether every recorded step has been given out."""
        return self._finished.is_set()

    @property
    def going_live(self) -> bool:
        """Whether the last recorded step only waits for the actor to be free."""
        return self._last is not None

    def has(self, step: Step, phase: Phase) -> bool:
        """Tell whether this half of a step was recorded."""
        return (step, phase) in self._known

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
            return await future
        finally:
            self._waiters.pop((step, phase), None)

    def take_now(self, step: Step) -> Recorded | None:
        """Return a recorded entry at once, or None: only for steps that are pure, whose order nobody can see."""
        for item in self._items:
            if item.step == step and (step, item.phase) not in self._taken:
                self._taken.add((step, item.phase))
                self._advance()
                return item.recorded
        return None

    async def wait(self, step: Step) -> None:
        """Wait until all recorded steps are matched: only then may a step that was not recorded run."""
        if not self._finished.is_set():
            self._blocked.append(step)
            await self._finished.wait()
            self._blocked.remove(step)

    def cancel(self) -> None:
        """Stop whatever is still going on for this script."""
        if self._last is not None:
            self._last.cancel()

    def _advance(self) -> None:
        while self._items and self._last is None:
            item = self._items[0]
            key = (item.step, item.phase)
            if key in self._taken:
                self._release(item)
                continue
            waiter = self._waiters.get(key)
            if waiter is None or waiter.done():
                return
            if len(self._items) == 1 and not _parks(item):
                self._last = asyncio.ensure_future(self._release_last(item, waiter))
                return
            self._release(item)
            waiter.set_result(item.recorded)
        if not self._items:
            self._finished.set()

    async def _release_last(self, item: _Item, waiter: asyncio.Future[Recorded]) -> None:
        try:
            await self._before_last()
        except BaseException as error:
            if not waiter.done():
                waiter.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            if not isinstance(error, Exception):
                raise
            return
        self._release(item)
        self._finished.set()
        if not waiter.done():
            waiter.set_result(item.recorded)

    def _release(self, item: _Item) -> None:
        self._items.popleft()
        self.progress += 1
        self._released(item.recorded)


def _parks(item: _Item) -> bool:
    """A turn whose last word was a question waits for the answer; nothing runs for real yet."""
    return item.recorded.kind == ApprovalRequestedEntry.kind
