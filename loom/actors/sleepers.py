"""The turns of a loom that wait for a long time: those that are let go, those found at the start, those that are due.

A turn that has been parked for `park_keep_s` is let go: its code is cancelled, and an entry says so. At the next start
that entry is enough, so its actor is not woken and its journal not read. When it is due, its actor is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from itertools import islice
from typing import Protocol

from loom.actors.cell import Cell
from loom.actors.services import Services
from loom.actors.stalling import settled
from loom.actors.turn import Turn
from loom.actors.wait_entries import TurnParkedEntry, WaitBegunEntry
from loom.clock import elapsed_us
from loom.decisions.entries import ApprovalAnsweredEntry
from loom.errors import LoomError
from loom.journal.entry import Recorded, Step
from loom.telemetry import get_logger

__all__ = ["Sleepers"]

_AT_ONCE = 200
_LOOK_AT_LEAST_EVERY_S = 30.0

_log = get_logger("loom.actors")


class SleepersHost(Protocol):
    """The actors of the loom."""

    services: Services

    def cells(self) -> tuple[Cell, ...]:
        """Return the cells of the actors that are awake."""
        ...

    async def wake(self, journal: str) -> None:
        """Wake an actor for its unfinished turns."""
        ...


class Sleepers:
    """Lets turns go that only wait, and wakes the actors of those that are due."""

    def __init__(self, host: SleepersHost) -> None:
        self._host = host
        self._due: dict[str, None] = {}
        self._is_due = asyncio.Event()

    # --- letting go -----------------------------------------------------------------------------

    async def watch(self) -> None:
        """Let turns go, again and again."""
        keep_s = self._host.services.options.park_keep_s
        while True:
            await asyncio.sleep(min(max(keep_s / 4, 0.02), _LOOK_AT_LEAST_EVERY_S))
            try:
                self.let_go()
            except LoomError as error:  # a cell that has just become invalid
                _log.warning("turns_not_let_go", error=str(error))

    def let_go(self) -> int:
        """Let go every turn that has only waited for long enough; return how many there were."""
        services = self._host.services
        before_us = elapsed_us(services.sources.clock) - round(services.options.park_keep_s * 1e6)
        old: dict[Turn, Cell] = {
            turn: cell
            for cell in self._host.cells()
            if cell.invalidated_by is None
            for turn in cell.turns.values()
            if turn.can_be_let_go and turn.parked_at_us is not None and turn.parked_at_us <= before_us
        }
        if not old:
            return 0
        found = settled(old)
        for turn in found:
            old[turn].let_go(turn)
        return len(found)

    # --- waking ---------------------------------------------------------------------------------

    def due(self, journal: str) -> None:
        """Have an actor woken that is not awake, and has a turn that is due."""
        self._due[journal] = None
        self._is_due.set()

    async def wake(self) -> None:
        """Wake the actors that are due, some at a time."""
        gate = asyncio.Semaphore(self._host.services.options.resume_concurrency)
        async with asyncio.TaskGroup() as group:
            while True:
                await self._is_due.wait()
                self._is_due.clear()
                while self._due:
                    await gate.acquire()
                    journal = next(iter(self._due))
                    del self._due[journal]
                    group.create_task(self._wake(journal)).add_done_callback(lambda _: gate.release())

    async def _wake(self, journal: str) -> None:
        await self._host.wake(journal)

    # --- the start ------------------------------------------------------------------------------

    async def to_wake(self, unfinished: AsyncIterator[Recorded]) -> list[str]:
        """Return the journals to be woken for turns without an end, by the oldest turn; others wait for their time.

        A turn stays asleep if it is the only one of its journal without an end, and if the last entry of that journal
        says that it was let go. Both are read from the journal.
        """
        journals: dict[str, Recorded | None] = {}
        async for received in unfinished:
            journals[received.journal] = None if received.journal in journals else received
        alone = iter([received for received in journals.values() if received is not None])
        while some := list(islice(alone, _AT_ONCE)):
            for journal in await self._asleep(some):
                del journals[journal]
        return list(journals)

    async def _asleep(self, some: list[Recorded]) -> list[str]:
        store, timer = self._host.services.store, self._host.services.timer
        heads = {received.journal: (await store.head(received.journal)).sequence for received in some}
        last = await store.steps(list(heads.items()))
        asleep, answered = [], await self._answered(last.values())
        for received in some:
            found = last.get((received.journal, heads[received.journal]))
            if found is None or found.command_id != received.command_id:
                continue
            step: Step | None = None
            entry = found.entry
            if (found.journal, str(found.command_id)) in answered:
                continue
            if isinstance(entry, TurnParkedEntry) and len(entry.waits) <= 1:
                step = next(iter(entry.waits), None)
            elif not (isinstance(entry, WaitBegunEntry) and entry.what == "begin"):
                continue
            if entry.until is not None:
                said_us = found.recorded_at_us - found.clock_back_us
                timer.set_again((found.journal, str(found.command_id)), step, entry.until, said_us=said_us)
            asleep.append(received.journal)
        return asleep

    async def _answered(self, last: Iterable[Recorded]) -> set[tuple[str, str]]:
        """Return the turns that were let go with an answer on record: whether they went on with it, all of them says.

        An earlier loom could let a turn go just after its answer.
        """
        turns = [(each.journal, str(each.command_id)) for each in last if isinstance(each.entry, TurnParkedEntry)]
        marks = await self._host.services.store.marks(turns) if turns else []
        return {(each.journal, str(each.command_id)) for each in marks if each.kind == ApprovalAnsweredEntry.kind}
