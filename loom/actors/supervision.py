"""What becomes of an actor whose turn failed: it is rebuilt from its journal, and stopped when it fails too often."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from loom.actors.recovery import recover
from loom.actors.services import ActorOptions
from loom.actors.state import Fold
from loom.errors import ActorStoppedError

if TYPE_CHECKING:
    from loom.actors.cell import Cell

__all__ = ["Failures", "not_made", "rebuilt"]


class Failures:
    """When an actor failed, as far back as its window goes."""

    def __init__(self, options: ActorOptions) -> None:
        self._options = options
        self._times: deque[float] = deque(maxlen=options.max_failures + 1)

    @property
    def recent(self) -> int:
        """How many there were within the window."""
        now = time.monotonic()
        return sum(1 for each in self._times if now - each <= self._options.failure_window_s)

    def too_many(self, journal: str) -> ActorStoppedError | None:
        """Count one more, and return the error of an actor that has failed too often within its window."""
        now = time.monotonic()
        self._times.append(now)
        most, window_s = self._options.max_failures, self._options.failure_window_s
        if len(self._times) <= most or now - self._times[0] > window_s:
            return None
        return ActorStoppedError(
            f"actor [{journal}] failed [{len(self._times)}] times within [{window_s:g}] s; expected at most [{most}]: "
            "it is stopped; correct the cause; `loom actors` says when it comes back, and restarts it"
        )


async def rebuilt(cell: Cell) -> Fold:
    """Fold the journal again, as after a failure nobody knows what the state in memory is.

    What is put in line meanwhile is noted, and comes after what is read, so that nothing is missing in the new state.
    """
    fold = Fold(cell.new_actor())
    if not fold.wanted:
        return fold
    until, cell.meanwhile = cell.sequence, []
    try:
        if cell.written is not None:
            await asyncio.wait([cell.written])
        await recover(cell.services, cell.cls, cell.journal, fold, until=until)
        for sequence, entry in cell.meanwhile:
            fold.feed(sequence, entry)
    finally:
        cell.meanwhile = None
    shared = cell.held
    shared.state = fold.actor.state
    fold.actor._held = shared
    return fold


def not_made(journal: str, error: Exception) -> ActorStoppedError:
    """Return the error of an actor that cannot be made at all."""
    stopped = ActorStoppedError(
        f"actor [{journal}] cannot be made [{type(error).__name__}: {error}]; expected a constructor, or factory, and "
        "an initial state that do not fail: correct them; `loom actors` says when it comes back, and restarts it"
    )
    stopped.__cause__ = error
    return stopped
