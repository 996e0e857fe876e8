"""The API: one trivial circuit over HTTP with fifty clients, and the same turn called in process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import uvicorn

from loom import Extension, Loom, LoomConfig
from loom.circuits import Circuits, circuit
from loom.circuits import extension as core
from loom.web.app import create_app
from loom.web.config import WebConfig
from loom.web.extension import extension as web
from loom.web.keys import keys_of

WORKSPACE = "bench"


@circuit(
    "CX90_TRIVIAL", category="bench", inputs=("n",), outputs=("n",), failure_mode="mark_as_neutral", success_metric="n"
)
def trivial(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Say it again."""
    return {"n": inputs["n"]}


def opens(path: Path) -> Loom:
    """Return the loom that is measured, to be entered."""
    own = Extension(
        name="circuits", projections=core.projections, start=lambda host: Circuits.open(host, circuits=(trivial,))
    )
    return Loom.open(LoomConfig(data=path), workspace=WORKSPACE, by="bench", extensions=[own, web])


async def in_process_s(path: Path, *, clients: int, count: int) -> list[float]:
    """Return how long each of `count` turns takes that `clients` callers ask for, one after the other each."""
    async with opens(path) as loom:
        circuits = Circuits.of(loom)

        async def client(number: int, each: int) -> list[float]:
            times = []
            for n in range(each):
                began = time.perf_counter()
                reply = await circuits.run(f"client-{number}", [("CX90_TRIVIAL", {"n": n})])
                times.append(time.perf_counter() - began)
                assert reply.success
            return times

        await asyncio.gather(*(client(number, 5) for number in range(clients)))
        found = await asyncio.gather(*(client(number, count // clients) for number in range(clients)))
    return [each for times in found for each in times]


async def over_http_s(path: Path, *, clients: int, count: int) -> list[float]:
    """Return the same over HTTP; the clients are a process of their own, on connections that they keep."""
    async with served(path) as (port, key):
        asked = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.api",
            str(port),
            str(clients),
            str(count),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await asked.communicate(key.encode())
        assert asked.returncode == 0
    times: list[float] = json.loads(out)
    return times


@contextlib.asynccontextmanager
async def served(path: Path) -> AsyncIterator[tuple[int, str]]:
    """Serve on a free port; yield it, and a key."""
    app = create_app({WORKSPACE: lambda: opens(path)}, WebConfig(requests_per_minute=10_000_000))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        key = await keys_of(app.state.api.loom(WORKSPACE)).issue("bench", "operator", by="bench")
        yield server.servers[0].sockets[0].getsockname()[1], key
    finally:
        server.should_exit = True
        await serving


async def _clients(port: int, key: str, clients: int, count: int) -> list[float]:
    async def client(number: int, each: int) -> list[float]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        times = []
        for n in range(each):
            body = json.dumps({"circuitId": "CX90_TRIVIAL", "clientId": f"client-{number}", "inputs": {"n": n}})
            began = time.perf_counter()
            writer.write(
                f"POST /api/circuits/execute?workspaceId={WORKSPACE} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            times.append(time.perf_counter() - began)
        writer.close()
        return times

    await asyncio.gather(*(client(number, 5) for number in range(clients)))
    found = await asyncio.gather(*(client(number, count // clients) for number in range(clients)))
    return [each for times in found for each in times]


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    print(json.dumps(asyncio.run(_clients(given[0], sys.stdin.read(), given[1], given[2]))))
