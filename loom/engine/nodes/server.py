"""The server of a node: it listens for the other nodes, at the address that the config has for it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import uvicorn

from loom.background import Background, Child
from loom.engine.nodes.app import NodeApp
from loom.errors import ConfigError

__all__ = ["NodeServer"]

_BACKLOG = 1_024
_GRACE_S = 1


class NodeServer:
    """Serves a `NodeApp` at an address; TLS is for what is in front of it."""

    def __init__(self, app: NodeApp, address: str, *, background: Background) -> None:
        self.app = app
        self._address = address
        self._background = background
        self._server: uvicorn.Server | None = None
        self._serving: Child[None] | None = None

    async def start(self) -> None:
        """Listen; raise `ConfigError` where that is not possible."""
        parts = urlsplit(self._address)
        try:
            listener = socket.create_server(
                (str(parts.hostname), int(parts.port or 0)),
                family=socket.AF_INET6 if ":" in str(parts.hostname) else socket.AF_INET,
                backlog=_BACKLOG,
            )
        except OSError as error:
            raise ConfigError(
                f"this node cannot listen at [{self._address}] [{error.strerror or error}]; expected a free port of "
                "this machine: correct cluster.nodes"
            ) from error
        listener.setblocking(False)
        config = uvicorn.Config(
            self.app,
            lifespan="off",
            log_config=None,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=_GRACE_S,
            access_log=False,
        )
        self._server = _Server(config)
        self._serving = self._background.start(self._server.serve(sockets=[listener]), name="loom-node")

    async def close(self) -> None:
        """Listen no more, and end. Closing twice is harmless."""
        if self._server is None or self._serving is None:
            return
        self._server.should_exit = True
        await asyncio.wait([self._serving], timeout=_GRACE_S + 2)
        self._serving.cancel()
        self._server = None


class _Server(uvicorn.Server):
    """A server that leaves signals to the loom that owns it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
