"""Serving an application until a signal ends it: what is under way is answered first, then its looms are closed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from loom.errors import ConfigError

__all__ = ["serve"]


class _Server(uvicorn.Server):
    """A server that leaves signals to whoever runs it: it would raise them again before the looms are closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(app: FastAPI, *, host: str, port: int, drain_s: float, listening: Callable[[str, int], None]) -> None:
    """Serve until SIGINT or SIGTERM, and have `drain_s` for what is under way; `listening` is told where, once it is.

    A second signal ends it at once. Raises `ConfigError` where nobody can listen there.
    """
    with _bound(host, port) as listener:
        async with app.router.lifespan_context(app):
            server = _Server(
                uvicorn.Config(
                    app, lifespan="off", log_config=None, server_header=False,
                    timeout_graceful_shutdown=max(1, round(drain_s)),
                )
            )  # fmt: skip

            def end() -> None:
                server.force_exit = server.should_exit
                server.should_exit = True

            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, end)
            at = listener.getsockname()
            # The socket listens already: who connects from here on is served as soon as the server is up.
            listening(at[0], at[1])
            await server.serve(sockets=[listener])


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot(host, port, error) from error
    with listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2_048)
        except OSError as error:
            raise _cannot(host, port, error) from error
        listener.setblocking(False)
        yield listener


def _cannot(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(
        f"nobody can listen on [{host}], port [{port}] [{error.strerror or error}]; expected a free port of this "
        "machine: choose another, or 0 for any"
    )
