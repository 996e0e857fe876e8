"""The server of tools over HTTP and on standard input, as processes that a client talks to."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

pytest.importorskip("mcp", reason="the extra [mcp] is not installed")

import httpx2
import uvicorn
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from loom.mcp.http import create_app
from tests.cli.support import REPOSITORY, environment, invoke
from tests.mcp.test_mcp import Keyed, data, keyed, tools_of

__all__ = ["keyed"]

HELLO = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


@asynccontextmanager
async def serving(config: Path) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(tools_of(config)), log_config=None, ws="none"))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.005)
        assert not task.done(), task.exception()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task


def ask(port: int, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    sent = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    sent |= {name.replace("_", "-"): text for name, text in headers.items()}
    try:
        connection.request("POST", "/mcp", body=json.dumps(HELLO), headers=sent)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


async def test_over_http_each_request_needs_a_key_that_only_reads(keyed: Keyed) -> None:
    async with serving(keyed.config) as port:
        for role, key in keyed.keys.items():
            status, body = await asyncio.to_thread(ask, port, Authorization=f"Bearer {key}")
            wanted = {"reader": None, "auditor": None, "revoked": 401}.get(role, 403)
            assert status == wanted if wanted else status not in (401, 403), (role, status, body)
            assert key.encode() not in body
        assert (await asyncio.to_thread(ask, port))[0] == 401
        good = {"Authorization": f"Bearer {keyed.keys['reader']}"}
        assert (await asyncio.to_thread(lambda: ask(port, Origin="http://evil.example", **good)))[0] == 403
        assert (await asyncio.to_thread(lambda: ask(port, Host="evil.example", **good)))[0] in (403, 421)
        statuses = [(await asyncio.to_thread(ask, port))[0] for _ in range(30)]
        assert statuses[-1] == 429, "wrong keys can be tried without end"


async def test_a_client_over_http_reads_decisions(keyed: Keyed) -> None:
    async with serving(keyed.config) as port:
        headers = {"Authorization": f"Bearer {keyed.keys['reader']}"}
        async with (
            httpx2.AsyncClient(headers=headers) as sender,
            Client(streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=sender)) as client,
        ):
            said = await client.call_tool("list_decisions", {"limit": 1})
            assert not said.is_error
            assert data(said.content[0].text)["decisions"]  # type: ignore[union-attr]


async def test_the_command_serves_on_standard_input_with_a_key_of_its_own(keyed: Keyed) -> None:
    started = StdioServerParameters(
        command=sys.executable,
        args=["-m", "loom.cli", "-c", str(keyed.config), "mcp"],
        env=environment(LOOM_MCP_KEY=keyed.keys["reader"]),
        cwd=str(REPOSITORY),
    )
    async with Client(stdio_client(started)) as client:
        said = await client.call_tool("list_decisions", {"limit": 1})
        assert data(said.content[0].text)["decisions"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("key", "words"), [(None, "LOOM_MCP_KEY"), ("loom_x", "opens nothing"), ("admin", "only read")]
)
def test_the_command_does_not_begin_without_such_a_key(key: str | None, words: str, keyed: Keyed) -> None:
    given = None if key is None else keyed.keys.get(key, key)
    answer = invoke("mcp", config=keyed.config, env={"LOOM_MCP_KEY": given})
    assert answer.code != 0
    assert words in answer.err
    assert "Traceback" not in answer.err
