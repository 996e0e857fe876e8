"""What if: from a keystroke to the page with the matrix over HTTP, and what that costs the turns that run meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import uvicorn

from benchmarks.judging import TABLE, Judged, _lay_down
from benchmarks.measure import Figure, median, percentile
from benchmarks.workload import BenchAgent, DecideOnce
from loom import Loom, LoomConfig
from loom.actors import ActorRef
from loom.explorer.editing import fields_of
from loom.explorer.extension import extension as explorer
from loom.replay.what_if import WhatIfProcess
from loom.web.app import create_app
from loom.web.config import WebConfig
from loom.web.extension import extension as web
from loom.web.keys import keys_of

__all__ = ["figures"]

WORKSPACE = "bench"
_KEYSTROKES = 60


def figures(place: Path, scale: float) -> Iterator[Figure]:
    """Return the figures at 10,000 and 100,000 decisions, and of turns while one judges without a pause."""
    for decisions, aim_ms in ((10_000, 200.0), (100_000, 2_000.0)):
        count = max(int(decisions * scale), 1_000)
        first, took, cpu = asyncio.run(_keystrokes(place / f"{decisions}", decisions=count))
        slow = percentile(took, 0.95) * 1e3
        yield Figure(f"what if, first page at {count:,} decisions", first * 1e3, "ms")
        yield Figure(f"what if, keystroke to matrix at {count:,}, median", median(took) * 1e3, "ms")
        name = f"what if, keystroke to matrix at {count:,}, p95"
        yield Figure(name, slow, "ms", aim=f"≤ {aim_ms:,.0f}", met=slow <= aim_ms)
        yield Figure(f"what if, CPU of a keystroke at {count:,}, of the process that judges", cpu[0] * 1e3, "ms")
        yield Figure(f"what if, CPU of a keystroke at {count:,}, of the server and the client", cpu[1] * 1e3, "ms")
    alone, judged = asyncio.run(_turns(place / "turns", decisions=max(int(10_000 * scale), 1_000), scale=scale))
    ratio = judged / alone
    yield Figure("turns at 16, nothing judged", alone, "/s")
    yield Figure(
        "turns at 16, five keystrokes a second", judged, "/s", ratio, "nothing judged", "≥ 0.95", ratio >= 0.95
    )


async def _keystrokes(path: Path, *, decisions: int) -> tuple[float, list[float], tuple[float, float]]:
    """Return the time of the first page, that of each keystroke after it, and the CPU of one, in seconds."""
    async with _served(path, decisions=decisions) as (port, key, loom):
        first, _ = await asyncio.to_thread(_typed, port, key, decisions, 1)
        pid = loom.part(WhatIfProcess).pid
        assert pid is not None
        judging, serving = _cpu_s(pid), time.process_time()
        _, took = await asyncio.to_thread(_typed, port, key, decisions, _KEYSTROKES)
        strokes = _KEYSTROKES + 1
        return first, took, ((_cpu_s(pid) - judging) / strokes, (time.process_time() - serving) / strokes)


def _cpu_s(pid: int) -> float:
    """Return the CPU that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _typed(port: int, key: str, decisions: int, strokes: int) -> tuple[float, list[float]]:
    texts = [each.text for each in fields_of(TABLE)]
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    took = []
    for number in range(strokes + 1):
        pairs = [("policy", TABLE.name), *(("v", each) for each in (str(number % 50), *texts[1:]))]
        began = time.perf_counter()
        connection.request("GET", f"/what-if?{urlencode(pairs)}", headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        page = answer.read().decode()
        took.append(time.perf_counter() - began)
        assert answer.status == 200, page[:500]
        assert f"{decisions:,} cases" in page
    connection.close()
    return took[0], took[1:]


async def _turns(path: Path, *, decisions: int, scale: float) -> tuple[float, float]:
    """Return turns per second without and with keystrokes five times a second, in turns; medians of five rounds."""
    async with _served(path, decisions=decisions) as (_, _, loom):
        refs = [loom.actor(BenchAgent, f"agent-{number}") for number in range(16)]
        process = loom.part(WhatIfProcess)
        await process.judge("bench", TABLE, TABLE)
        found: dict[bool, list[float]] = {False: [], True: []}
        await _rate(refs, max(int(1_600 * scale), 160))
        for number in range(10):
            judges = bool(number % 2)
            typing = asyncio.create_task(_type(process)) if judges else None
            found[judges].append(await _rate(refs, max(int(4_800 * scale), 160)))
            if typing is not None:
                typing.cancel()
                await asyncio.gather(typing, return_exceptions=True)
        return median(found[False]), median(found[True])


async def _type(process: WhatIfProcess) -> None:
    number = 0
    while True:
        number += 1
        await process.judge("bench", TABLE, TABLE.with_params(limit=number % 50))
        await asyncio.sleep(0.2)


async def _rate(refs: Sequence[ActorRef[BenchAgent]], count: int) -> float:
    async def work(ref: ActorRef[BenchAgent]) -> None:
        for _ in range(count // len(refs)):
            await ref.ask(DecideOnce(customer="acme", percent=5))

    began = time.perf_counter()
    await asyncio.gather(*(work(ref) for ref in refs))
    return count / (time.perf_counter() - began)


@contextlib.asynccontextmanager
async def _served(path: Path, *, decisions: int) -> AsyncIterator[tuple[int, str, Loom]]:
    """Serve decisions with the explorer; yield the port, a key, and the loom."""
    brought = [web, explorer]

    def opens() -> Loom:
        config = LoomConfig(data=path)
        return Loom.open(config, workspace=WORKSPACE, by="bench", extensions=brought, actors=[Judged, BenchAgent])

    async with opens() as loom:
        await _lay_down(loom, decisions)
        await loom.rebuild()
    settings = WebConfig(requests_per_minute=10_000_000)
    app = create_app({WORKSPACE: opens}, settings, extensions=brought)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        loom = app.state.api.loom(WORKSPACE)
        yield server.servers[0].sockets[0].getsockname()[1], await keys_of(loom).issue("b", "reader", by="bench"), loom
    finally:
        server.should_exit = True
        await serving
