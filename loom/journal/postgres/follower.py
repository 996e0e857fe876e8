"""Hears of what other processes append, tells them of what this one does, and says that it lives.

A notification is sent after a commit and outside of it: within a transaction it would take a lock of the whole
database. One notification covers several commits. What is not heard, as a connection broke, is found by a poll.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from loom.journal.postgres.connecting import Connection, connect
from loom.journal.postgres.options import PostgresOptions
from loom.journal.postgres.url import PostgresUrl
from loom.telemetry import get_logger

__all__ = ["Follower"]

_TAIL = "SELECT position, recorded_at_us FROM tail"
_NOTIFY = "SELECT pg_notify($1, $2)"
_BEAT = "UPDATE writers SET beat_at = now() WHERE writer = $1 AND fenced_at IS NULL RETURNING 1"
_TOGETHER_S = 0.005
_PAUSE_S = 0.2

_log = get_logger(__name__)


class Follower:
    """Follows the tail of a journal until it is cancelled."""

    def __init__(
        self,
        url: PostgresUrl,
        *,
        options: PostgresOptions,
        writer: int,
        reached: Callable[[int, int], None],
        fenced: Callable[[], None],
    ) -> None:
        self._url = url
        self._options = options
        self._writer = writer
        self._reached = reached
        self._fenced = fenced
        self._connection: Connection | None = None
        self._wake = asyncio.Event()
        self._own = 0
        self._notified = 0

    def tell(self, position: int) -> None:
        """Have other processes notified that this one has appended up to a position."""
        self._own = max(self._own, position)
        self._wake.set()

    async def run(self) -> None:
        """Follow, over and over again; a server that is gone is waited for."""
        beat_at, failing = 0.0, False
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    connection = self._connection or await self._listen()
                    if failing:
                        _log.warning("follower_recovered", journal=str(self._url))
                        failing = False
                    await self._once(connection)
                    if loop.time() - beat_at >= self._options.beat_s:
                        beat_at = loop.time()
                        await self._beat(connection)
                except Exception as error:
                    if not failing:
                        _log.warning("follower_stalled", journal=str(self._url), error=type(error).__name__)
                    failing = True
                    self._drop()
                    await asyncio.sleep(_PAUSE_S)
        finally:
            self._drop()

    async def _once(self, connection: Connection) -> None:
        """Wait until something happens or it is time to look; tell what was appended here, and read the tail."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._options.poll_s):
                await self._wake.wait()
        self._wake.clear()
        if self._own > self._notified:
            self._notified = self._own
            await connection.execute(_NOTIFY, self._url.channel, str(self._notified))
            await asyncio.sleep(_TOGETHER_S)
            return
        row = await connection.fetchrow(_TAIL)
        self._reached(row["position"], row["recorded_at_us"])

    async def _beat(self, connection: Connection) -> None:
        if not await connection.fetchval(_BEAT, self._writer):
            self._fenced()

    async def _listen(self) -> Connection:
        connection = await connect(self._url, self._options, name="loom follower", writing=True)
        try:
            await connection.execute("SET synchronous_commit = off")  # a beat that is lost is followed by another
            await connection.add_listener(self._url.channel, self._heard)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        return connection

    def _heard(self, _connection: Any, _process: int, _channel: str, payload: str) -> None:
        if payload.isdecimal() and int(payload) > self._notified:
            self._wake.set()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
