"""A receiver of webhooks on the loopback, which answers as a test says, and a loom that sends to it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from loom import Loom
from loom.notices.extension import NoticeSender
from tests.cli.agents import NoteAgent

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@dataclass(frozen=True)
class Received:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.body)
        return loaded

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def type(self) -> str:
        return str(self.event["type"])

    def is_signed(self, key: bytes = KEY) -> bool:
        content = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        expected = "v1," + base64.b64encode(hmac.new(key, content, sha256).digest()).decode()
        return expected in self.headers["webhook-signature"].split()


@dataclass
class Receiver:
    """What came, and how it is answered: `answers` returns a status, or the bytes of the whole answer."""

    answers: Callable[[Received], int | bytes] = lambda _: 204
    received: list[Received] = field(default_factory=list)
    url: str = ""
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def taken(self) -> Sequence[Received]:
        """The first arrival of each notice that was answered with 2xx."""
        seen: dict[str, Received] = {}
        for each in self.received:
            if self.answers(each) == 204:
                seen.setdefault(each.id, each)
        return tuple(seen.values())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            got = Received(first.split()[1], headers, body)
            self.received.append(got)
            self.came.set()
            answer = self.answers(got)
            if isinstance(answer, int):
                answer = f"HTTP/1.1 {answer} so\r\nLocation: {self.url}/elsewhere\r\nContent-Length: 0\r\n\r\n".encode()
            writer.write(answer)
            await writer.drain()
        writer.close()

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait until something is so, which can change with each request."""
        async with asyncio.timeout(30):
            while not done():
                self.came.clear()
                await self.came.wait()


@contextlib.asynccontextmanager
async def receiving(answers: Callable[[Received], int | bytes] = lambda _: 204) -> AsyncIterator[Receiver]:
    receiver = Receiver(answers)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        server.close()


def configured(directory: Path, *urls: str, **settings: object) -> Path:
    """Write a config with an endpoint for each url: `one`, `two`, …"""
    endpoints = {name: {"url": url, "secret": SECRET} for name, url in zip(("one", "two", "three"), urls, strict=False)}
    quick = {"first_pause_s": 0.01, "longest_pause_s": 0.02, "attempts": 3, "verify_every_s": 0, "timeout_s": 5}
    notices = {"endpoints": endpoints, "base_url": "https://loom.example", **quick, **settings}
    path = directory / "loom.config.yaml"
    text = {"data": "data", "workspace": "w", "modules": ["tests.cli.agents"], "notices": notices}
    path.write_text(json.dumps(text), encoding="utf-8")
    return path


@contextlib.asynccontextmanager
async def sending(config: Path) -> AsyncIterator[tuple[Loom, NoticeSender]]:
    async with Loom.open(config, actors=[NoteAgent], by="robin") as loom:
        yield loom, loom.part(NoticeSender)
