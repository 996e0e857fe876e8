"""The server that Restate calls: it runs in the loom's process, as forks of it would outlive that."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

from hypercorn.asyncio import serve
from hypercorn.config import Config

from loom.background import Background, Child

__all__ = ["Worker"]

_GRACE_S = 1.0


class Worker:
    """Serves an application over HTTP/2 at an address."""

    def __init__(self, app: Any, address: str, *, background: Background) -> None:
        self._app = app
        self._address = address
        self._background = background
        self._ending = asyncio.Event()
        self._serving: Child[None] | None = None

    def start(self) -> None:
        """Begin to listen; where that fails, it is tried again."""
        config = Config()
        config.bind = [urlsplit(self._address).netloc]
        config.graceful_timeout = _GRACE_S
        config.shutdown_timeout = _GRACE_S
        config.accesslog = config.errorlog = None
        config.h2_max_concurrent_streams = 10_000

        async def run() -> None:
            await serve(self._app, config, shutdown_trigger=self._ending.wait)

        self._serving = self._background.start(run(), name="loom-restate-worker")

    async def close(self) -> None:
        """End; what is under way is called again by Restate. Closing twice is harmless."""
        self._ending.set()
        if self._serving is not None:
            await asyncio.wait([self._serving], timeout=2 * _GRACE_S)
            self._serving.cancel()
