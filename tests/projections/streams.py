"""A journal whose streams are watched: how many entries were read from each, and whether it was closed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from loom.journal import Recorded
from loom.journal.store import JournalStore


@dataclass
class Stream:
    """One stream. Only who closes it has it closed: nothing is left to the end of its last reference."""

    inside: Any
    fails_at: int | None
    read: int = 0
    closed: bool = False

    def __aiter__(self) -> AsyncIterator[Recorded]:
        return self

    async def __anext__(self) -> Recorded:
        recorded: Recorded = await anext(self.inside)
        if recorded.position == self.fails_at:
            raise OSError("the disk is gone")
        self.read += 1
        return recorded

    async def aclose(self) -> None:
        await self.inside.aclose()
        self.closed = True


@dataclass
class Watched:
    """A store that notes each stream of the whole workspace; one fails at a position where that is given."""

    store: JournalStore
    fails_at: int | None = None
    streams: list[Stream] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def read_all(self, *, after: int = 0, until: int | None = None) -> Stream:
        self.streams.append(Stream(self.store.read_all(after=after, until=until), self.fails_at))
        return self.streams[-1]
