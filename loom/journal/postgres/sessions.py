"""A few connections for readers, and for what a writer does outside of its batches; opened at first use."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from loom.errors import JournalClosedError, LoomError
from loom.journal.postgres.connecting import Connection, arguments, check_server, connect, meta_of, without_cause
from loom.journal.postgres.faults import explained
from loom.journal.postgres.options import PostgresOptions
from loom.journal.postgres.url import PostgresUrl

__all__ = ["Sessions"]

_CLOSE_S = 2.0


class Sessions:
    """Connections to one journal, at most so many at a time. Close it when done.

    Those of a process that writes go to the `primary` server: a replica may be behind what it has appended.
    """

    def __init__(self, url: PostgresUrl, options: PostgresOptions, *, name: str, primary: bool = False) -> None:
        self._url = url
        self._options = options
        self._name = name
        self._primary = primary
        self._pool: Any = None
        self._opening = asyncio.Lock()
        self._process = os.getpid()
        self._closed = False

    @contextlib.asynccontextmanager
    async def one(self, *, writing: bool = False) -> AsyncIterator[Connection]:
        """Yield a connection; what fails meanwhile is raised as what it means, and within the time for an answer."""
        self.check_open()
        try:
            async with asyncio.timeout(self._options.answer_timeout_s + self._options.lock_timeout_s):
                pool = self._pool or await self._opened()
                async with pool.acquire() as connection:
                    yield connection
        except (LoomError, asyncio.CancelledError):
            raise
        except Exception as error:
            self.check_open()
            raise explained(error, self._url, writing=writing) from without_cause(error)

    async def close(self) -> None:
        """Close the connections. Closing twice is harmless; a server that does not answer is not waited for."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is None or self._process != os.getpid():
            return
        try:
            async with asyncio.timeout(_CLOSE_S):
                await pool.close()
        except Exception:  # what it waits for is a server that is gone
            pool.terminate()

    def check_open(self) -> None:
        """Raise `JournalClosedError` after the end, and in a forked child, to which the connections do not belong."""
        if self._closed or self._process != os.getpid():
            why = "is closed" if self._closed else "was opened by the parent of this forked process"
            raise JournalClosedError(f"journal [{self._url}] {why}; expected an open one: open it again")

    async def _opened(self) -> Any:
        async with self._opening:
            if self._pool is None:
                first = await connect(self._url, self._options, name=self._name, writing=self._primary)
                try:
                    await check_server(first, self._url, self._options, writing=False)
                    await meta_of(first, self._url)
                finally:
                    first.terminate()
                self._pool = await asyncpg.create_pool(
                    **arguments(self._url, self._options, name=self._name, primary=self._primary),
                    min_size=0,
                    max_size=self._options.readers,
                    reset=_as_it_is,
                )
            return self._pool


async def _as_it_is(connection: Connection) -> None:
    """Reset nothing when a connection is given back: all that is set is set for a transaction."""
