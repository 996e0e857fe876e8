"""Serving an application until a signal ends it: what is under way is answered first, then its looms are closed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from loom.background import done_before
from loom.errors import ConfigError
from loom.web.api import Api
from loom.web.config import WebConfig
from loom.web.doors import Doors
from loom.web.protocol import protocol_of

__all__ = ["serve", "server_of"]


class _WithoutQueries(logging.Filter):
    """Takes the query out of the lines that say what was asked for: it has the codes of invitations and sign-ins."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change a line of uvicorn's, which has the path as its third argument."""
        if isinstance(record.args, tuple) and len(record.args) == _OF_ACCESS:
            client, method, path, *rest = record.args
            before, mark, _ = str(path).partition("?")
            record.args = (client, method, f"{before}?…" if mark else before, *rest)
        return True


_OF_ACCESS = 5
"""So many arguments has a line of `uvicorn.access`."""

_WITHOUT_QUERIES = _WithoutQueries()
_BACKLOG = 2_048
"""Connections that wait in the kernel; how many are accepted in one go is another number, which asyncio mixes up."""


class _Server(uvicorn.Server):
    """A server that leaves signals to its caller: it would raise them again before the looms are closed."""

    def __init__(self, config: uvicorn.Config, doors: Doors, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._doors = doors
        self._ending = ending

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        asyncio.get_running_loop().set_exception_handler(self._doors.on_loop_error)
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(_BACKLOG)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: streams of events and waits for replies first, for they would go on as long as they are let."""
        self._ending()
        await super().shutdown(sockets)
        self._doors.say()
        asyncio.get_running_loop().set_exception_handler(None)


def server_of(app: FastAPI, config: WebConfig, *, drain_s: float | None = None) -> uvicorn.Server:
    """Return the server of an application, with deadlines and a limit of connections: see `loom.web.protocol`."""
    logging.getLogger("uvicorn.access").addFilter(_WITHOUT_QUERIES)
    doors = Doors(config)
    api: Api = app.state.api
    patience_s = config.drain_s if drain_s is None else drain_s
    return _Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            server_header=False,
            ws="none",
            http=protocol_of(doors),
            backlog=doors.batch,
            proxy_headers=bool(config.trusted_proxies),
            forwarded_allow_ips=list(config.trusted_proxies),
            timeout_graceful_shutdown=max(1, round(patience_s)),
        ),
        doors,
        api.live.ending.set,
    )


async def serve(
    app: FastAPI,
    *,
    host: str,
    port: int,
    config: WebConfig,
    listening: Callable[[str, int], None],
    waits: bool = False,
) -> None:
    """Serve until SIGINT or SIGTERM, then finish running requests within `drain_s`; `listening` gets the address.

    A second signal ends it at once, and a loom that was fenced ends it too. With `waits`, it does not listen before the
    looms are open, and a signal ends the wait. Raises `ConfigError` if it cannot listen there.
    """
    async with contextlib.AsyncExitStack() as stack:
        looms = app.router.lifespan_context(app)
        if waits:
            ended = asyncio.Event()
            _on_signals(ended.set)
            if not await done_before(stack.enter_async_context(looms), ended) or ended.is_set():
                return
        listener = stack.enter_context(_bound(host, port))
        if not waits:
            await stack.enter_async_context(looms)
        server = server_of(app, config)

        def end() -> None:
            server.force_exit = server.should_exit
            server.should_exit = True

        _on_signals(end)
        api: Api = app.state.api
        for loom in api.looms.values():  # another process has taken its place: what waits here would wait for ever
            loom.store.on_fenced(lambda _: setattr(server, "should_exit", True))
        at = listener.getsockname()
        # The socket listens already: who connects from here on is served as soon as the server is up.
        listening(at[0], at[1])
        await server.serve(sockets=[listener])


def _on_signals(end: Callable[[], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end)


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
            listener.listen(_BACKLOG)
        except OSError as error:
            raise _cannot(host, port, error) from error
        listener.setblocking(False)
        yield listener


def _cannot(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot listen on [{host}], port [{port}] [{error.strerror or error}]; expected a free port of this "
        "machine: choose another, or 0 for any"
    )
