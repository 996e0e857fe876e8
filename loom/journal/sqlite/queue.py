"""The queue of appends to be written: bounded, so that a fast producer slows down and nothing is dropped (law 8)."""

from __future__ import annotations

import asyncio
from collections import deque

from loom.errors import AppendRefusedError, JournalBusyError
from loom.journal.store import Append, Draft, Submitted

__all__ = ["AppendQueue", "Waiting"]

_MOST_TOGETHER = 64
"""How many entries an append may grow to: all of them are written, or none."""


class Waiting(Submitted):
    """One queued append: the future of its outcome. It may grow until it is taken."""

    __slots__ = ("append", "drafts", "size", "taken")

    def __init__(self, append: Append, *, size: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.drafts = list(append.drafts)
        self.append = Append(append.journal, append.expected, self.drafts)
        self.size = size
        self.taken = False


class AppendQueue:
    """Appends in the order in which they came, bounded by entries and bytes. Lives on the event loop."""

    def __init__(self, *, max_entries: int, max_bytes: int, max_batch: int, loop: asyncio.AbstractEventLoop) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._max_batch = max_batch
        self._loop = loop
        self._waiting: list[Waiting] = []
        self._entries = 0
        self._bytes = 0
        self._for_room: deque[asyncio.Future[None]] = deque()

    def put(self, append: Append) -> Waiting:
        """Queue an append; raise `JournalBusyError`, and queue nothing, if there is no room for it."""
        entries = len(append.drafts)
        size = sum([len(draft.body) for draft in append.drafts])
        if not 0 < entries <= self._max_entries or size > self._max_bytes:
            raise AppendRefusedError(
                f"append to [{append.journal}] has [{entries}] entries of [{size}] bytes; expected 1 to "
                f"[{self._max_entries}] entries of at most [{self._max_bytes}] bytes: split it"
            )
        if self._entries + entries > self._max_entries or self._bytes + size > self._max_bytes:
            raise JournalBusyError(
                f"[{self._entries}] entries of [{self._bytes}] bytes wait to be written; expected room for [{entries}] "
                f"of [{size}] within [{self._max_entries}] and [{self._max_bytes}]: slow down, or await room() before "
                "each command (nothing was written)"
            )
        waiting = Waiting(append, size=size, loop=self._loop)
        self._waiting.append(waiting)
        self._entries += entries
        self._bytes += size
        return waiting

    def extend(self, waiting: Waiting, draft: Draft) -> bool:
        """Add an entry to an append that is still queued; False if it is not, or if there is no room."""
        size = len(draft.body)
        if (
            waiting.taken
            or waiting.done()
            or len(waiting.drafts) >= _MOST_TOGETHER
            or self._entries >= self._max_entries
            or self._bytes + size > self._max_bytes
        ):
            return False
        waiting.drafts.append(draft)
        waiting.size += size
        self._entries += 1
        self._bytes += size
        return True

    def take(self) -> list[Waiting]:
        """Take whole appends from the front, at least one, as long as they fit into one batch; they still count."""
        entries, until = 0, len(self._waiting)
        for index, waiting in enumerate(self._waiting):
            entries += len(waiting.drafts)
            if entries > self._max_batch and index:
                until = index
                break
            waiting.taken = True
        batch, self._waiting = self._waiting[:until], self._waiting[until:]
        return batch

    def done(self, batch: list[Waiting]) -> None:
        """Take note that a batch has been written or refused: it does not count any more."""
        for waiting in batch:
            self._entries -= len(waiting.drafts)
            self._bytes -= waiting.size
        if self._for_room:
            self._let_in()

    @property
    def has_room(self) -> bool:
        """Whether the queue is at most half full and no caller waits for room."""
        return not self._for_room and self._bytes * 2 <= self._max_bytes and self._entries < self._max_entries // 2

    async def room(self) -> None:
        """Wait while the queue is over half full; the caller that waited longest goes on first."""
        if self.has_room:
            return
        turn: asyncio.Future[None] = self._loop.create_future()
        self._for_room.append(turn)
        await turn

    def _free(self) -> int:
        if self._bytes * 2 > self._max_bytes:
            return 0
        return self._max_entries // 2 - self._entries

    def _let_in(self) -> None:
        """Let as many callers go on as there are free places; if some of them queue nothing, look again."""
        free = self._free()
        while free > 0 and self._for_room:
            turn = self._for_room.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1
        if self._for_room and self._free() > 0:
            self._loop.call_soon(self._let_in)
