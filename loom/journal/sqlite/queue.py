"""What waits to be written: a bounded queue that slows a fast producer down and drops nothing (law 8)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from loom.errors import AppendRefusedError, JournalBusyError
from loom.journal.store import Append, Receipt

__all__ = ["AppendQueue", "Waiting"]


class Waiting(NamedTuple):
    """One append in line, and the future that will have its outcome."""

    append: Append
    future: asyncio.Future[Receipt]
    size: int


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

    def put(self, append: Append) -> asyncio.Future[Receipt]:
        """Put an append in line; raise `JournalBusyError`, and queue nothing, where it does not fit any more."""
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
        future: asyncio.Future[Receipt] = self._loop.create_future()
        self._waiting.append(Waiting(append, future, size))
        self._entries += entries
        self._bytes += size
        return future

    def take(self) -> list[Waiting]:
        """Take whole appends from the front, at least one, as long as they fit into one batch; they still count."""
        entries = 0
        for index, waiting in enumerate(self._waiting):
            entries += len(waiting.append.drafts)
            if entries > self._max_batch and index:
                batch, self._waiting = self._waiting[:index], self._waiting[index:]
                return batch
        batch, self._waiting = self._waiting, []
        return batch

    def done(self, batch: list[Waiting]) -> None:
        """Take note that a batch has been written or refused: it does not count any more."""
        for append, _, size in batch:
            self._entries -= len(append.drafts)
            self._bytes -= size
        if self._for_room:
            self._let_in()

    @property
    def has_room(self) -> bool:
        """Whether the queue is at most half full and nobody waits."""
        return not self._for_room and self._free() > 0

    async def room(self) -> None:
        """Wait while the queue is over half full; whoever waited longest goes on first."""
        if self.has_room:
            return
        turn: asyncio.Future[None] = self._loop.create_future()
        self._for_room.append(turn)
        if self._free() > 0:
            self._loop.call_soon(self._let_in)
        await turn

    def _free(self) -> int:
        if self._bytes * 2 > self._max_bytes:
            return 0
        return self._max_entries // 2 - self._entries

    def _let_in(self) -> None:
        """Let as many go on as there are free places; if some of them put nothing in line, look again."""
        free = self._free()
        while free > 0 and self._for_room:
            turn = self._for_room.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1
        if self._for_room and self._free() > 0:
            self._loop.call_soon(self._let_in)
