"""The lock of an actor: one turn runs at a time, and turns that continue go before turns that begin.

A turn takes the lock when it begins and releases it when it ends, or while it is parked. `claim` never waits: it is for
the code that starts turns. `acquire` is for the tasks of a turn. `on_free` is called when the lock is released and no
turn waits for it, and may `claim` it at once for the next turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

__all__ = ["TurnLock"]


class _Turn(Protocol):
    closed: bool


T = TypeVar("T", bound=_Turn)


class TurnLock(Generic[T]):
    """Held by the turn that runs. `on_free` is called when no turn holds it or waits for it."""

    __slots__ = ("_line", "_on_free", "owner")

    def __init__(self, on_free: Callable[[], None]) -> None:
        self.owner: T | None = None
        self._line: dict[T, list[asyncio.Future[None]]] = {}
        self._on_free = on_free

    @property
    def free(self) -> bool:
        """Whether no turn holds it or waits for it."""
        return self.owner is None and not self._line

    def claim(self, turn: T) -> None:
        """Take the lock, or a place in its queue, without waiting."""
        if self.free:
            self.owner = turn
        elif self.owner is not turn:
            self._line.setdefault(turn, [])

    async def acquire(self, turn: T) -> None:
        """Wait for the lock, in the order of requests; several tasks of one turn may wait, and get it together."""
        self.claim(turn)
        while self.owner is not turn and not turn.closed:
            granted = asyncio.get_running_loop().create_future()
            self._line.setdefault(turn, []).append(granted)
            await granted

    def release(self, turn: T) -> None:
        """Release the lock of a turn, or its place in the queue."""
        _wake(self._line.pop(turn, []))
        if self.owner is not turn:
            return
        self.owner = None
        following = next(iter(self._line), None)
        if following is None:
            self._on_free()
        else:
            self.owner = following
            _wake(self._line.pop(following))


def _wake(waiting: list[asyncio.Future[None]]) -> None:
    for granted in waiting:
        if not granted.done():
            granted.set_result(None)
