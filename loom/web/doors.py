"""How many connections a server has, and which of them give way when there are too many."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import time
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

from loom.telemetry import get_logger
from loom.web.config import WebConfig

__all__ = ["Doors"]

_SAY_EVERY_S = 60.0
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = get_logger("loom.web")


class Doors:
    """The connections of one server: how many there may be, and which of them give way."""

    def __init__(self, config: WebConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.config = config
        self.limit = _limit(config.max_connections)
        self.batch = max(1, min(64, self.limit // 8))
        """How many connections are accepted in one go: they have descriptors before they are counted."""
        self._clock = clock
        self._open: set[Hashable] = set()
        self._waiting: dict[Hashable, Callable[[], None]] = {}
        self._since_said: Counter[str] = Counter()
        self._said_at = float("-inf")
        if self.limit < config.max_connections:
            _log.warning(
                "fewer_connections",
                limit=self.limit,
                configured=config.max_connections,
                descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            )

    def enter(self, connection: Hashable) -> bool:
        """Take a connection in, in the place of the one that has waited longest if there is none free."""
        if len(self._open) >= self.limit:
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                self.note("refused")
                return False
            end = self._waiting[oldest]
            self.leave(oldest)
            end()
            self.note("gave_way")
        self._open.add(connection)
        return True

    def waits(self, connection: Hashable, end: Callable[[], None]) -> None:
        """Take note that no request of a connection is under way: `end` is called if its place is needed."""
        if connection in self._open:
            self._waiting.setdefault(connection, end)

    def works(self, connection: Hashable) -> None:
        """Take note that a request of a connection is under way: its place is not given away."""
        self._waiting.pop(connection, None)

    def leave(self, connection: Hashable) -> None:
        """Take note that a connection has ended."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def note(self, what: str) -> None:
        """Count what was not let in; the log hears of it at most once a minute, however much it is."""
        self._since_said[what] += 1
        if self._clock() - self._said_at >= _SAY_EVERY_S:
            self.say()

    def say(self) -> None:
        """Log what was counted since the log last heard of it."""
        if self._since_said:
            self._said_at = self._clock()
            _log.warning("connections_ended", limit=self.limit, open=len(self._open), **self._since_said)
            self._since_said.clear()

    def on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle what the loop could not: asyncio would log each connection that there is no descriptor for."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _NO_DESCRIPTORS and "accept" in str(context.get("message")):
            self.note("no_descriptor")
        else:
            loop.default_exception_handler(context)


def _limit(wanted: int) -> int:
    """Return how many connections there may be: half of the descriptors that are left, for the other half is ours."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    try:
        used = len(os.listdir("/proc/self/fd"))
    except OSError:
        used = 64
    return max(4, min(wanted, (soft - used) // 2))
