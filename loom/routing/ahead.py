"""Signals that are read before the turn that asks for them, so that its look-up waits for nothing.

A turn that waits for nothing is one append: the request, what was seen, and what was decided are durable together. The
signals are then some milliseconds older than the turn; a switch that was thrown in between still counts, as the turn
looks at it. What could not be read ahead, or was read for a turn that is resumed, the turn reads itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from loom.routing.request import Candidate
from loom.routing.signals import AgentSignals, SignalSource

__all__ = ["ReadAhead"]


class ReadAhead:
    """Reads a source of signals for requests that are about to be sent, and keeps what came until it is taken."""

    def __init__(self, source: SignalSource) -> None:
        self._source = source
        self._came: dict[str, Mapping[str, AgentSignals] | Exception] = {}

    async def read(self, request_id: str, candidates: Sequence[Candidate], *, timeout_s: float | None) -> None:
        """Read the signals of candidates for a request; how it failed is kept, too, and raised where it is taken.

        `timeout_s` is how long the source may take.
        """
        try:
            async with asyncio.timeout(timeout_s):
                self._came[request_id] = await self._source.read(candidates)
        except Exception as error:  # a source may be code of anyone
            self._came[request_id] = error

    async def take(self, request_id: str, candidates: Sequence[Candidate]) -> Mapping[str, AgentSignals]:
        """Return what came for a request, or read it now; raise what reading it raised."""
        came = self._came.pop(request_id, None)
        if isinstance(came, Exception):
            raise came
        return await self._source.read(candidates) if came is None else came

    def forget(self, request_id: str) -> None:
        """Drop what was read for a request whose turn did not ask for it."""
        self._came.pop(request_id, None)
