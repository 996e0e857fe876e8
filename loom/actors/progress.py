"""The progress of a turn, for those who watch it: steps that begin and end, and text as a model writes it.

Progress is not journaled, and a turn never waits for a reader. Each reader has a bounded queue; where it is full, the
oldest items are left out, and the reader is given their number in their place.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeAlias

from typing_extensions import TypeVar

__all__ = ["LeftOut", "Progress", "Replied", "StepBegan", "StepEnded", "TextDelta", "Watch", "Watchers"]

R = TypeVar("R")

_KEPT = 1_000
"""The number of items that are kept for a reader who is slow."""


@dataclass(frozen=True, slots=True)
class StepBegan:
    """A verb was called; a turn that is resumed calls those again that are on record."""

    verb: str
    key: str


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A verb returned, or raised an error of the type `error`."""

    verb: str
    key: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Text that a model has written, to be joined to what came before."""

    text: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """So many items were left out here, as the reader was slow."""

    items: int


@dataclass(frozen=True, slots=True)
class Replied(Generic[R]):
    """The reply of the turn: the last item."""

    reply: R


Progress: TypeAlias = StepBegan | StepEnded | TextDelta | LeftOut


class Watch:
    """What one reader has yet to read; iterate over it until `end`."""

    def __init__(self, most: int = _KEPT, *, news: asyncio.Event | None = None) -> None:
        self._items: deque[Progress] = deque(maxlen=most)
        self._left_out = 0
        self._ended = False
        self._news = news or asyncio.Event()

    def note(self, item: Progress) -> None:
        """Add an item; it never waits."""
        self._left_out += len(self._items) == self._items.maxlen
        self._items.append(item)
        self._news.set()

    def end(self) -> None:
        """Say that nothing more comes."""
        self._ended = True
        self._news.set()

    def taken(self) -> Iterator[Progress]:
        """Yield what there is now, without waiting."""
        while self._left_out or self._items:
            if self._left_out:
                items, self._left_out = self._left_out, 0
                yield LeftOut(items)
            else:
                yield self._items.popleft()

    async def __aiter__(self) -> AsyncIterator[Progress]:
        while True:
            for item in self.taken():
                yield item
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()


class Watchers:
    """Who watches which turn."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, str], list[Watch]] = {}
        """By journal and command id."""

    @contextmanager
    def watch(self, journal: str, command_id: str, *, news: asyncio.Event | None = None) -> Iterator[Watch]:
        """Watch a turn, which may not have begun, until the block ends; `news` is an event to be set with each item."""
        watch, turn = Watch(news=news), (journal, command_id)
        self.open.setdefault(turn, []).append(watch)
        try:
            yield watch
        finally:
            self.open[turn].remove(watch)
            if not self.open[turn]:
                del self.open[turn]

    def note(self, journal: str, command_id: str, item: Progress) -> None:
        """Give an item to all who watch a turn."""
        for watch in self.open.get((journal, command_id), ()):
            watch.note(item)
