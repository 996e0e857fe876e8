"""The watch over routing's own journal: behind the answers, turn by turn, for what must stop optimisation."""

from __future__ import annotations

import asyncio
import contextlib

from loom.background import Background, Child, stopped
from loom.errors import LoomError
from loom.journal.entry import Recorded
from loom.journal.kinds import ENDINGS
from loom.journal.store import JournalStore
from loom.routing.stops import stop_in
from loom.routing.switch import KillSwitch
from loom.telemetry import get_logger

__all__ = ["Watch"]

_LOOKS_BACK = 1_000
_GATHER_S = 0.2  # a look is a read of the journal: what comes within this time shares one
_MOST_OPEN = 10_000

_log = get_logger("loom.routing")


class Watch:
    """Reads what turns of the router wrote, once they have ended, and engages the kill switch where it has to.

    It looks when it is notified of possible news, and no caller waits for it. A new one
    looks back over the last thousand entries, as far as they are younger than the last re-arming.
    """

    def __init__(self, store: JournalStore, switch: KillSwitch, background: Background, *, journal: str) -> None:
        self._background = background
        self._store = store
        self._switch = switch
        self._journal = journal
        self._sequence: int | None = None
        self._open: dict[str, list[Recorded]] = {}
        self._task: Child[None] | None = None
        self._again = False
        self._at_once = asyncio.Event()

    def look_soon(self) -> None:
        """Look at what has been written since the last look, together with what comes in the next moment."""
        self._again = True
        if self._task is None or self._task.done():
            self._at_once = asyncio.Event()
            self._task = self._background.start(self._look(), name="loom-routing-watch")

    async def look(self) -> None:
        """Look at once, and return when everything that exists was read."""
        self.look_soon()
        self._at_once.set()
        while self._task is not None and not self._task.done():
            await asyncio.wait({self._task})

    async def close(self) -> None:
        """Stop looking; what was not looked at is looked at by the next one."""
        await stopped(self._task)

    async def _look(self) -> None:
        while self._again:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GATHER_S):
                    await self._at_once.wait()
            self._again = False
            try:
                await self._read()
            except LoomError as error:
                _log.error("care_watch_failed", error=str(error))
                return

    async def _read(self) -> None:
        if self._sequence is None:
            self._sequence = max(0, (await self._store.head(self._journal)).sequence - _LOOKS_BACK)
        async for recorded in self._store.read(self._journal, after=self._sequence):
            self._sequence = recorded.sequence
            await self._take(recorded)

    async def _take(self, recorded: Recorded) -> None:
        command_id = recorded.command_id
        if command_id is None:
            return
        if recorded.kind == "command_received" and recorded.position > self._switch.rearmed_at:
            self._open[command_id] = []
            if len(self._open) > _MOST_OPEN:
                del self._open[next(iter(self._open))]
        turn = self._open.get(command_id)
        if turn is None:
            return  # it began before the watch, or before the last re-arming
        turn.append(recorded)
        if recorded.kind not in ENDINGS:
            return
        del self._open[command_id]
        stop = stop_in(turn, self._switch.held)
        if stop is not None:
            await self._switch.stop_for(stop.condition, reason=stop.reason, request_id=stop.request_id)
