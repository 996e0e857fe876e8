"""Takes appends from the queue batch by batch; while one is written, the next gathers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from loom.errors import LoomError
from loom.journal.postgres.options import PostgresOptions
from loom.journal.sqlite.queue import AppendQueue, Waiting
from loom.journal.sqlite.staging import Outcome, lost
from loom.journal.store import Append, Receipt
from loom.telemetry import get_logger

__all__ = ["Pump"]

_ROUNDS = 2
"""How often the event loop goes round before an idle pump starts: a turn that does not wait goes into one batch."""

_log = get_logger(__name__)


class Pump:
    """Has one batch at a time committed, in the order of the queue."""

    def __init__(self, commit: Callable[[list[Waiting]], Awaitable[list[Outcome]]], options: PostgresOptions) -> None:
        self._commit = commit
        self._loop = asyncio.get_running_loop()
        self.queue = AppendQueue(
            max_entries=options.max_pending_entries,
            max_bytes=options.max_pending_bytes,
            max_batch=options.max_batch_entries,
            loop=self._loop,
        )
        self._idle = asyncio.Event()
        self._idle.set()
        self._running: asyncio.Task[None] | None = None

    def put(self, append: Append) -> Waiting:
        """Queue an append; raise `JournalBusyError`, and queue nothing, if there is no room for it."""
        waiting = self.queue.put(append)
        if self._idle.is_set():
            self._idle.clear()
            self._loop.call_soon(self._gather, _ROUNDS)
        return waiting

    async def idle(self) -> None:
        """Wait until all that was queued has an outcome."""
        await self._idle.wait()

    def _gather(self, rounds: int) -> None:
        if rounds:
            self._loop.call_soon(self._gather, rounds - 1)
        else:
            self._running = self._loop.create_task(self._run(), name="loom-journal")

    async def _run(self) -> None:
        """Commit until the queue is empty."""
        try:
            while batch := self.queue.take():
                try:
                    outcomes = await self._commit(batch)
                except BaseException as error:  # a defect, or the end of the event loop: no caller may wait for ever
                    _log.error("writer_failed", error=repr(error))
                    self._give(batch, [lost(each.append, error) for each in batch])
                    raise
                self._give(batch, outcomes)
        finally:
            self._idle.set()

    def _give(self, batch: list[Waiting], outcomes: list[Outcome]) -> None:
        self.queue.done(batch)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if waiting.done():
                pass
            elif isinstance(outcome, Receipt):
                waiting.set_result(outcome)
            else:
                give(waiting, outcome)
            waiting.drafts.clear()  # those who keep the future need its outcome alone


def give(future: asyncio.Future[Receipt], error: LoomError) -> None:
    """Set an error that may have no waiter: the turn of a pipelined append gets it at its barrier."""
    future.set_exception(error)
    future.exception()
