"""Whose turn it is: one turn of an actor runs at a time, and those that go on come before those that begin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loom.actors.turn import Turn

__all__ = ["Slot"]


class Slot:
    """Held by the turn that runs. `on_free` is called when nobody has it and nobody waits for it."""

    def __init__(self, on_free: Callable[[], None]) -> None:
        self.owner: Turn | None = None
        self._line: dict[Turn, list[asyncio.Future[None]]] = {}
        self._on_free = on_free

    @property
    def free(self) -> bool:
        """Whether nobody has it and nobody waits for it."""
        return self.owner is None and not self._line

    def claim(self, turn: Turn) -> None:
        """Take the slot, or a place in line for it, without waiting."""
        if self.free:
            self.owner = turn
        elif self.owner is not turn:
            self._line.setdefault(turn, [])

    async def acquire(self, turn: Turn) -> None:
        """Wait for the slot, in order of asking; several tasks of one turn may, and get it together."""
        self.claim(turn)
        while self.owner is not turn and not turn.closed:
            granted = asyncio.get_running_loop().create_future()
            self._line.setdefault(turn, []).append(granted)
            await granted

    def release(self, turn: Turn) -> None:
        """Take note that a turn does not want the slot, whether it has it or stands in line."""
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
