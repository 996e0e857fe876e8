"""Parking: a turn that waits, and does nothing else, lets other turns of its actor run.

It waits for the answer of a person, for a time, or for a message; each wait has a key, an approval id or a step.

Every step counts as busy from its beginning to its end, except while it waits for an answer. When no step is busy and
one waits, the code of the turn gets some rounds of the event loop to begin another step. After that the turn is parked,
once, and `on_parked` releases the actor's lock. The turn takes the lock again before it continues for real.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeAlias

from loom.actors.steps import REACTION
from loom.decisions.entries import ApprovalAnsweredEntry
from loom.journal.entry import Step, StepReference

__all__ = ["Answer", "Parking"]

Answer: TypeAlias = tuple[ApprovalAnsweredEntry, datetime, StepReference]
"""An answer, the time when it was recorded, and its entry."""

_Key: TypeAlias = str | Step


class Parking:
    """The steps of a turn that are in progress, those of them that wait, and what ended their waits."""

    def __init__(self, on_parked: Callable[[], None]) -> None:
        self._on_parked = on_parked
        self._busy = 0
        self._waiting = 0
        self._looking = False
        self._answers: dict[_Key, asyncio.Future[Any]] = {}
        self.inside: set[asyncio.Task[Any] | None] = set()
        """The tasks that wait."""
        self.keys: set[_Key] = set()
        """What is waited for."""
        self._ending: set[_Key] = set()

    @property
    def parked(self) -> bool:
        """Whether a step waits and no other step is in progress."""
        return self._waiting > 0 and self._busy == 0

    @property
    def wakes(self) -> bool:
        """Whether a wait has its end, or one that is being journaled, and the code has not gone on with it yet."""
        return any(key in self._ending or self.ended(key) for key in self.keys)

    def step_begins(self) -> None:
        """Note the beginning of a step."""
        self._busy += 1

    def step_ends(self) -> None:
        """Note the end of a step."""
        self._busy -= 1
        if self._waiting:
            self._look_soon()

    async def wait_for(self, key: _Key) -> Any:
        """Wait for what ends a wait, and return it; other turns of the actor may run in the meantime."""
        end = self._end_of(key)
        task = asyncio.current_task()
        self.inside.add(task)
        self.keys.add(key)
        self._waiting += 1
        self._busy -= 1
        self._look_soon()
        try:
            return await asyncio.shield(end)
        finally:
            self.inside.discard(task)
            self.keys.discard(key)
            self._waiting -= 1
            self._busy += 1

    def ended(self, key: _Key) -> bool:
        """Tell whether a wait has its end."""
        return self._end_of(key).done()

    def ends_soon(self, key: _Key) -> None:
        """Note that the end of a wait is being journaled: it will come, or the turn is stopped."""
        self._ending.add(key)

    def end(self, key: _Key, value: Any) -> None:
        """End a wait; only the first end counts."""
        future = self._end_of(key)
        if not future.done():
            future.set_result(value)

    def _end_of(self, key: _Key) -> asyncio.Future[Any]:
        future = self._answers.get(key)
        if future is None:
            future = self._answers[key] = asyncio.get_running_loop().create_future()
        return future

    def _look_soon(self) -> None:
        """Check whether the turn is parked, after its code has had the chance to begin another step."""
        if not self._looking:
            self._looking = True
            self._look(REACTION)

    def _look(self, rounds: int) -> None:
        if rounds and self.parked:
            asyncio.get_running_loop().call_soon(self._look, rounds - 1)
            return
        self._looking = False
        if self.parked:
            self._on_parked()
