"""`loom mcp`: let a model read the journal, over the Model Context Protocol."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import typer

from loom.cli.command import command
from loom.cli.shell import Shell

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from loom.mcp import Opened, Tools

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "mcp", panel="Wings")(serve_mcp)


async def serve_mcp(
    shell: Shell,
    http: Annotated[bool, typer.Option("--http", help="Over HTTP on the loopback, not on standard input.")] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="With --http: 0 takes a free one.")] = 8766,
    explorer: Annotated[
        str | None, typer.Option("--explorer", metavar="URL", help="Where `loom serve` has its pages, for answers.")
    ] = None,
) -> None:
    """Serve the journal to a model: decisions, why, precedents, what a policy would say. Nothing is written.

    It needs a key of its own that only reads: in LOOM_MCP_KEY, or with --http in each request. A request for approval
    is answered by a person who signs in on a page.
    """
    from loom.cli.reading import open_journal
    from loom.errors import ConfigError
    from loom.mcp import KEY_VARIABLE, Tools, reading_key

    shell.allow_imports()
    if explorer is not None and not explorer.startswith(("http://", "https://")):
        raise typer.BadParameter("expected the address of a server: http://127.0.0.1:8765", param_hint="--explorer")
    _check_extra()
    async with open_journal(shell) as reader:
        workspace = await reader.workspace() or shell.place.name
        key = os.environ.get(KEY_VARIABLE)
        if not http:
            if key is None:
                raise ConfigError(
                    f"environment variable [{KEY_VARIABLE}] is not set; expected a key that only reads: "
                    "`loom keys add assistant --role reader --by YOU` makes one"
                )
            await reading_key(reader, key)
    tools = Tools(lambda: _opened(shell), workspace=workspace, explorer=explorer)
    if http:
        await _serve_http(shell, tools, port)
    else:
        from loom.mcp.server import create_server

        await create_server(tools, key_of=lambda _: key).run_stdio_async()


def _check_extra() -> None:
    import importlib.util

    from loom.errors import ConfigError

    if importlib.util.find_spec("mcp") is None:
        raise ConfigError(
            "the Model Context Protocol needs the package [mcp], which is not installed; expected the extra: "
            "pip install 'loom-journal[mcp]'"
        )


@contextlib.asynccontextmanager
async def _opened(shell: Shell) -> AsyncIterator[Opened]:
    """Yield the workspace as it is now, with the code of the config."""
    from loom.cli.reading import loaded, open_readings
    from loom.mcp import Opened
    from loom.policies.contract import AnyPolicy
    from loom.policies.registry import PolicyRegistry
    from loom.precedents import EquivalenceRegistry
    from loom.workspace import actors_of, tables_of

    async with open_readings(shell) as readings:
        policies = await loaded(PolicyRegistry(readings.reader))
        for policy in (*tables_of(shell.settings), *(each.policy for each in actors_of(shell.settings.modules))):
            if isinstance(policy, AnyPolicy):
                policies.attach(policy)
        alike = await loaded(EquivalenceRegistry(readings.reader))
        yield Opened(
            readings.reader, readings.traces, readings.approvals, readings.precedents, policies, alike.describe
        )


async def _serve_http(shell: Shell, tools: Tools, port: int) -> None:
    """Serve until SIGINT or SIGTERM."""
    import socket

    import uvicorn

    from loom.errors import ConfigError
    from loom.mcp.http import create_app

    app: ASGIApp = create_app(tools)
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise ConfigError(
            f"cannot listen on port [{port}] [{error.strerror or error}]; expected a free port of this machine: "
            "choose another, or 0 for any"
        ) from error
    with listener:
        at = listener.getsockname()[1]
        if shell.json:
            shell.output.line({"event": "listening", "host": "127.0.0.1", "port": at, "workspace": tools.workspace})
        else:
            shell.output.say(f"listening on http://127.0.0.1:{at}/mcp for [{tools.workspace}]", style="bold")
        sys.stdout.flush()
        config = uvicorn.Config(app, log_config=None, server_header=False, ws="none", timeout_graceful_shutdown=5)
        await uvicorn.Server(config).serve(sockets=[listener])
