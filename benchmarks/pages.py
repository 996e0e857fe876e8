"""Pages of the explorer among very many decisions: how long the server takes, and how much it sends.

`python -m benchmarks.pages [DECISIONS] [--at DIRECTORY]`: with a directory, the journal there is used, or is laid down.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.growth import caught_up
from benchmarks.listing import BEGIN, lay_down
from benchmarks.measure import Figure, percentile
from loom import Loom, LoomConfig
from loom.explorer.extension import extension as explorer
from loom.explorer.page import Page, all_pages
from loom.web.app import create_app
from loom.web.config import WebConfig
from loom.web.extension import extension as web
from loom.web.keys import keys_of

__all__ = ["costs", "figures"]

_AIM_S = 0.05
_AIM_BYTES = 70_000
_BOUNDED_ELSEWHERE = ("sql", "what-if")
"""Pages that run what a person writes: they have bounds of their own."""
_ASSET = re.compile(r'(?:href|src)="(/assets/[^"]+)"')


def _addresses(pages: Sequence[Page], draw: random.Random, decision_id: str) -> dict[str, list[str]]:
    """Return the addresses that are asked for, by what they are; each has several, so that not one answer is kept."""
    found: dict[str, list[str]] = {}
    for page in pages:
        if page.name.startswith(_BOUNDED_ELSEWHERE) or "what_if" in page.name:
            continue
        path = page.path.replace("{decision_id}", decision_id)
        if "{" not in path:
            found[f"{page.title}: {page.path}"] = [path]

    def asked(**given: str) -> str:
        return f"/decisions?{urlencode(given)}"

    def month() -> dict[str, str]:
        begin = BEGIN.toordinal() + draw.randrange(3_600)
        return {
            "since": type(BEGIN).fromordinal(begin).date().isoformat(),
            "until": type(BEGIN).fromordinal(begin + 30).date().isoformat(),
        }

    found |= {
        "Decisions: of a kind": [asked(type="loan"), asked(type="mortgage")],
        "Decisions: by whom": [asked(person="ann"), asked(person="bo")],
        "Decisions: what the rule said": [asked(effect="deny"), asked(effect="allow")],
        "Decisions: exceptions": [asked(exception="1")],
        "Decisions: words in all of them": [asked(words="always")],
        "Decisions: a kind, by a person": [asked(type="mortgage", person="bo")],
        "Decisions: a month": [asked(**month()) for _ in range(8)],
        "Decisions: a month, by a person": [asked(person="ann", **month()) for _ in range(8)],
    }
    return found


async def costs(place: Path, *, tries: int) -> tuple[dict[str, list[tuple[float, float]]], dict[str, int]]:
    """Return wall and CPU seconds of the server for each kind of address, and the bytes of its first load."""
    config = LoomConfig.model_validate({"data": place})
    opened = {
        "default": lambda: Loom.open(config, workspace="default", by="bench", extensions=[web, explorer], resume=False)
    }
    app = create_app(opened, WebConfig(requests_per_minute=1_000_000), extensions=[web, explorer])
    taken: dict[str, list[tuple[float, float]]] = {}
    sizes: dict[str, int] = {}
    async with app.router.lifespan_context(app):
        loom: Loom = app.state.api.loom("default")
        await caught_up(loom)
        key = await keys_of(loom).issue("bench", "admin", by="bench")
        [newest] = await loom.traces.find(limit=1)
        draw = random.Random(3)  # noqa: S311 - the same questions every time
        asked = _addresses(all_pages(), draw, newest.decision_id)
        for name, addresses in asked.items():
            status, first = await _get(app, addresses[0], key)
            if status != 200:
                raise RuntimeError(f"{addresses[0]}: {status} {first[:200]!r}")
            assets = [len((await _get(app, each, key))[1]) for each in set(_ASSET.findall(first.decode()))]
            sizes[name] = len(first) + sum(assets)
            taken[name] = []
            for number in range(tries):
                began = time.perf_counter(), time.process_time()
                await _get(app, addresses[number % len(addresses)], key)
                taken[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    return taken, sizes


async def _get(app: Any, address: str, key: str) -> tuple[int, bytes]:
    """Ask the application for an address, as a server would, and return the status and the body of its answer."""
    path, _, query = address.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [
            (b"host", b"127.0.0.1"),
            (b"authorization", f"Bearer {key}".encode()),
            (b"accept-encoding", b"gzip"),  # as browsers do
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    status, body = 0, []
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if asked:
            await asyncio.Event().wait()  # the client is still there
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        body.append(message.get("body", b""))

    await app(scope, receive, send)
    return status, b"".join(body)


def figures(place: Path, decisions: int, *, tries: int = 40) -> Iterator[Figure]:
    """Lay decisions down if they are not there, and yield time and size of each page."""
    path = place / "default" / "journal.db"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        asyncio.run(lay_down(path, decisions=decisions))
    yield Figure("decisions", decisions, "decisions")
    taken, sizes = asyncio.run(costs(place, tries=tries))
    for name, seconds in taken.items():
        wall, cpu = zip(*seconds, strict=True)
        slow = percentile(wall, 0.95)
        yield Figure(f"{name}, p50", percentile(wall, 0.5) * 1e3, "ms")
        yield Figure(f"{name}, CPU of all threads, p50", percentile(cpu, 0.5) * 1e3, "ms")
        yield Figure(f"{name}, p95", slow * 1e3, "ms", aim="< 50", met=slow < _AIM_S)
        yield Figure(f"{name}, first load", sizes[name], "bytes", aim="≤ 70,000", met=sizes[name] <= _AIM_BYTES)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("decisions", nargs="?", type=int, default=100_000)
    parser.add_argument("--at", type=Path, help="a directory with a journal, or for one")
    given: Any = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as directory:
        for each in figures((given.at or Path(directory)).resolve(), given.decisions):
            met = "" if each.met is None else " met" if each.met else " NOT MET"
            sys.stdout.write(f"{each.name}: {each.value:,.4g} {each.unit}{met}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
