"""The clock of requests for approval: deadlines, reminders, and requests that too few people are left to grant."""

from __future__ import annotations

import asyncio

from loom.actors.approvals import Approvals
from loom.actors.services import Services
from loom.background import Background, Child, stopped
from loom.errors import LoomError
from loom.telemetry import get_logger

__all__ = ["DeadlineClock"]

_MAX_SLEEP_S = 60.0  # a sleep does not count suspension, as deadlines do; looking again now and then costs nothing
_AGAIN_S = 1.0

_log = get_logger("loom.actors")


class DeadlineClock:
    """Handles deadlines of approvals, of this process and from before the last restart, and their reminders."""

    def __init__(self, approvals: Approvals, services: Services, background: Background | None = None) -> None:
        self._approvals = approvals
        self._requests = services.requests
        self._reminders = approvals.reminders
        self._background = background or Background()
        self._task: Child[None] | None = None
        self._people_at_s = 0.0
        """When to look next whether enough people are left, by the clock of the event loop."""

    def start(self) -> None:
        """Start to watch deadlines."""
        self._task = self._background.keep_running(self._watch, name="loom-deadlines")

    def directory_changed(self) -> None:
        """Look soon whether there are requests that too few people are left to grant."""
        self._people_at_s = 0.0
        self._requests.changed.set()

    async def close(self) -> None:
        """Stop watching; deadlines that pass from now on are handled at the next start."""
        await stopped(self._task)

    async def _watch(self) -> None:
        while True:
            self._requests.changed.clear()
            sleep_s = await self._look()
            try:
                async with asyncio.timeout(sleep_s):
                    await self._requests.changed.wait()
            except TimeoutError:
                continue

    async def _look(self) -> float | None:
        """Handle what is due; return the seconds until the next look, or None to wait until a deadline is set."""
        looks = [await self._look_at_deadlines()]
        try:
            looks += [await self._look_at_people(), await self._reminders.remind_due()]
        except LoomError as error:
            _log.warning("reminders_not_sent", error=str(error))
            return _AGAIN_S
        return min((min(each, _MAX_SLEEP_S) for each in looks if each is not None), default=None)

    async def _look_at_people(self) -> float | None:
        """Deny what too few are left to grant; return the seconds until the next look, None without a directory.

        Every pending request is looked at, so that it is not done with each new one.
        """
        if not self._approvals.has_directory:
            return None
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._people_at_s:
            self._people_at_s = now_s + _MAX_SLEEP_S
            await self._approvals.deny_hopeless()
        return self._people_at_s - now_s

    async def _look_at_deadlines(self) -> float | None:
        try:
            await self._approvals.expire_due()
            following = await self._requests.next_deadline()
        except LoomError as error:
            _log.warning("deadlines_not_seen_to", error=str(error))
            return _MAX_SLEEP_S
        if following is None:
            return None
        # What is due and still pending could not be handled just now.
        return min(following[1], _MAX_SLEEP_S) if following[1] > 0 else _AGAIN_S
