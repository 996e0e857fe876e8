"""Wakes actors for their unfinished turns: at the start, when they could not write, when they have become ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import Protocol

from loom.actors.cell import Cell
from loom.actors.services import Services
from loom.actors.sleepers import Sleepers
from loom.actors.stopped import StoppedActors
from loom.errors import LoomError, NotOwnerError, WriterFencedError
from loom.identity import parse_journal_name
from loom.journal.entry import Recorded
from loom.telemetry import get_logger

__all__ = ["Waker"]

_FIRST_S = 0.05
_AT_LEAST_EVERY_S = 30.0

_log = get_logger("loom.actors")


class WakerHost(Protocol):
    """The actors of the loom."""

    services: Services
    sleepers: Sleepers
    stopped: StoppedActors
    closing: bool

    def knows(self, actor_type: str) -> bool:
        """Tell whether there is code for an actor type."""
        ...

    async def cell(self, journal: str) -> Cell:
        """Return the cell of an actor, waking it if need be."""
        ...


class Waker:
    """Wakes the actors that this process owns; those of another process are left to it."""

    def __init__(self, host: WakerHost) -> None:
        self._host = host
        self.without_code: dict[str, list[str]] = {}
        """The journals with turns whose actor type is unknown here, by actor type."""
        self._to_revive: set[str] = set()
        self._gave_up = asyncio.Event()

    async def resume(self) -> None:
        """Wake the actors whose turns have no end, oldest turn first, as the journal has them, not a view."""
        delay_s = _FIRST_S
        while True:
            try:
                journals = await self._host.sleepers.to_wake(self._own_unfinished())
                break
            except LoomError as error:
                _log.warning("unfinished_turns_not_found_yet", error=str(error))
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, _AT_LEAST_EVERY_S)
        await self.wake_all(journals)

    async def wake_all(self, journals: Iterable[str]) -> None:
        """Wake actors for their unfinished turns, some at a time."""
        gate = asyncio.Semaphore(self._host.services.options.resume_concurrency)

        async def wake(journal: str) -> None:
            async with gate:
                if not await self._wake_quietly(journal):
                    self.revive_later(journal)

        await asyncio.gather(*(wake(journal) for journal in journals))

    def revive_later(self, journal: str) -> None:
        """Have an actor woken again that could not write."""
        self._to_revive.add(journal)
        self._gave_up.set()

    async def revive(self) -> None:
        """Wake the invalid actors again: soon at first, then less often while nothing can be written."""
        delay_s, journals, woken_at = _FIRST_S, set[str](), 0.0
        while True:
            await self._gave_up.wait()
            again = self._to_revive & journals and time.monotonic() - woken_at < _AT_LEAST_EVERY_S
            delay_s = min(delay_s * 2, _AT_LEAST_EVERY_S) if again else _FIRST_S
            await asyncio.sleep(delay_s)
            self._gave_up.clear()
            journals, self._to_revive = self._to_revive, set()
            for journal in sorted(journals):
                if not await self._wake_quietly(journal):
                    self.revive_later(journal)
            woken_at = time.monotonic()

    async def _own_unfinished(self) -> AsyncIterator[Recorded]:
        mine = self._host.services.ownership.mine
        async for received in self._host.services.store.unfinished():
            if mine(received.journal):
                yield received

    async def _wake_quietly(self, journal: str) -> bool:
        """Wake an actor for its unfinished turns; return whether nothing remains to be done for it."""
        host = self._host
        try:
            actor_type = parse_journal_name(journal).actor_type
            if host.knows(actor_type):
                await host.cell(journal)
            else:  # they wait for their code, and are shown as such
                self.without_code.setdefault(actor_type, []).append(journal)
        except (NotOwnerError, WriterFencedError):  # it is left to its owner
            return True
        except LoomError as error:
            _log.warning("actor_not_woken", journal=journal, error=str(error))
            if (stopped := host.stopped.get(journal)) is not None:
                stopped.turns = max(stopped.turns, 1)
            return host.closing or stopped is not None
        return True
