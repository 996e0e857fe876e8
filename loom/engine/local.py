"""The engine of one process: every actor lives here, and a delivery is a call."""

from __future__ import annotations

import asyncio
from datetime import datetime

from loom.actors.ownership import ALL_MINE, Ownership
from loom.background import Background, Child
from loom.clock import Clock, SystemClock, us_from_datetime
from loom.engine.port import Delivery, Node, Reply
from loom.errors import LoomClosedError, LoomError
from loom.telemetry import get_logger

__all__ = ["LocalEngine"]

_LONGEST_S = 60.0

_log = get_logger("loom.engine")


class LocalEngine:
    """Delivers within the process. What is scheduled is lost with it: actors journal what they wait for themselves."""

    def __init__(self, *, clock: Clock | None = None, background: Background | None = None) -> None:
        self._clock = clock or SystemClock()
        self._background = background or Background()
        self._node: Node | None = None
        self._scheduled: dict[str, Child[None]] = {}

    @property
    def ownership(self) -> Ownership:
        """Says that every actor lives here."""
        return ALL_MINE

    async def serve(self, node: Node) -> None:
        """Begin to take deliveries for a node."""
        self._node = node

    async def deliver(self, delivery: Delivery) -> Reply:
        """Give a delivery to the node; raise `LoomClosedError` where none is served."""
        if self._node is None:
            raise LoomClosedError("no node is served; expected an open loom: open it before anything is delivered")
        return await self._node.receive(delivery)

    async def schedule(self, delivery: Delivery, *, at: datetime) -> None:
        """Deliver at a time, as long as the process lives; the same id is scheduled once."""
        if delivery.id in self._scheduled:
            return
        child = self._background.start(self._later(delivery, us_from_datetime(at)), name=f"loom-engine {delivery.id}")
        self._scheduled[delivery.id] = child
        child.add_done_callback(lambda _: self._scheduled.pop(delivery.id, None))

    async def cancel(self, id: str) -> None:
        """Forget what was scheduled under an id."""
        if (child := self._scheduled.pop(id, None)) is not None:
            child.cancel()

    async def owner(self, journal: str) -> str | None:
        """Return None: there is no other process, so there are no addresses."""
        return None

    async def close(self) -> None:
        """Take no more deliveries, and forget what was scheduled."""
        self._node = None
        for child in tuple(self._scheduled.values()):
            child.cancel()

    async def _later(self, delivery: Delivery, at_us: int) -> None:
        left_us = at_us - self._clock.now_us()
        while left_us > 0:  # the clock may be set meanwhile
            await asyncio.sleep(min(left_us / 1_000_000, _LONGEST_S))
            left_us = at_us - self._clock.now_us()
        try:
            await self.deliver(delivery)
        except LoomError as error:
            _log.warning("scheduled_delivery_refused", journal=delivery.journal, id=delivery.id, error=str(error))
