"""Requests that were answered with the baseline because the actor could not: each is journaled as such, once it can."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from loom.background import Background, Child, stopped
from loom.errors import ActorStoppedError, LoomClosedError, LoomError, TurnStuckError
from loom.telemetry import get_logger

__all__ = ["BaselineReplies"]

_AGAIN_S = 0.1
_AGAIN_AT_LEAST_EVERY_S = 5.0
_LAST_S = 5.0

_log = get_logger("loom.routing")


class BaselineReplies:
    """Remembers who has the baseline already, and tells the journal by `close_request`."""

    def __init__(
        self, close_request: Callable[[str, str | None, str], Awaitable[None]], background: Background
    ) -> None:
        self._background = background
        self._close_request = close_request
        self.closed: dict[str, str] = {}
        """Why requests were answered with the baseline although their turn chose otherwise: what the journal holds."""
        self._open: dict[str, tuple[str | None, str]] = {}
        self._task: Child[None] | None = None

    def answered(self, request_id: str) -> str | None:
        """Return why a request was answered with the baseline, None where it was not, or the journal knows."""
        return self._open[request_id][1] if request_id in self._open else None

    def note(self, request_id: str, agent: str | None, reason: str) -> None:
        """Note that the baseline was returned."""
        self._open[request_id] = (agent, reason)
        if self._task is None or self._task.done():
            self._task = self._background.start(self._journal_replies(), name="loom-routing-baseline-replies")

    async def idle(self) -> None:
        """Wait until the journal knows of all of them."""
        while self._task is not None and not self._task.done():
            await asyncio.wait({self._task})

    async def close(self) -> None:
        """Send what can be sent within a moment, then stop; the rest is lost with the process that got its answer."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_LAST_S)
            await stopped(self._task)
        if self._open:
            _log.error("care_requests_not_closed", requests=sorted(self._open)[:20], count=len(self._open))

    async def _journal_replies(self) -> None:
        pause_s = _AGAIN_S
        while self._open:
            request_id, (agent, reason) = next(iter(self._open.items()))
            try:
                await self._close_request(request_id, agent, reason)
            except LoomClosedError:
                return
            except LoomError as error:
                if isinstance(error, ActorStoppedError | TurnStuckError):
                    _log.error("care_request_not_closed", request=request_id, error=str(error))
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _AGAIN_AT_LEAST_EVERY_S)
            else:
                pause_s = _AGAIN_S
                self.closed[request_id] = reason
                self._open.pop(request_id, None)
