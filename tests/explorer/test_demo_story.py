"""The story of `loom demo`, by clicks: the server is a process of its own, and is killed while a request waits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from tests.explorer.conftest import Tab

CONFIG = "data: data\nworkspace: discounts\nmodules: [loom.cli.demo.agent]\n"


def arguments(place: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "loom.cli", *words, "-c", str(place)]


async def key_of(place: Path, name: str, role: str) -> str:
    made = await asyncio.create_subprocess_exec(
        *arguments(place, "keys", "add", name, "--role", role, "--by", "mira", "--json"), stdout=PIPE
    )
    said, _ = await made.communicate()
    assert made.returncode == 0
    key: str = json.loads(said)["key"]
    return key


async def begin(place: Path, port: int) -> tuple[Process, str]:
    """Start `loom serve`, and return it with its address once it listens."""
    with place.joinpath("log").open("ab") as log:
        server = await asyncio.create_subprocess_exec(
            *arguments(place, "serve", "--port", str(port)), stdout=PIPE, stderr=log
        )
    assert server.stdout is not None
    while line := (await server.stdout.readline()).decode():
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return server, found[0]
    raise AssertionError(place.joinpath("log").read_text())


@contextlib.asynccontextmanager
async def served(place: Path, port: int = 0) -> AsyncIterator[tuple[Process, str]]:
    server, url = await begin(place, port)
    try:
        yield server, url
    finally:
        if server.returncode is None:
            server.send_signal(signal.SIGTERM)
        await server.communicate()


async def ask(url: str, key: str, path: str, body: Any = None, **headers: str) -> Any:
    def send() -> Any:
        data = None if body is None else json.dumps(body).encode()
        given = {"Authorization": f"Bearer {key}", **{name.replace("_", "-"): text for name, text in headers.items()}}
        with urlopen(Request(url + path, data, given), timeout=60) as answer:
            return json.load(answer)

    return await asyncio.to_thread(send)


async def request_discount(url: str, key: str, customer: str, percent: int, *, wait_s: int) -> Any:
    path = "/api/actors/discount-agent/emea/RequestDiscount"
    return await ask(url, key, path, {"customer_id": customer, "percent": percent}, Prefer=f"wait={wait_s}")


async def test_the_story_of_the_demo_is_done_by_clicks_through_a_kill(tmp_path: Path, tab: Tab) -> None:
    (tmp_path / "loom.config.yaml").write_text(CONFIG, encoding="utf-8")
    robin, vera = await key_of(tmp_path, "robin", "operator"), await key_of(tmp_path, "vera", "approver")
    async with served(tmp_path) as (server, url):
        within = await request_discount(url, robin, "acme-health", 8, wait_s=30)
        assert within["reply"]["percent"] == 8
        over = await request_discount(url, robin, "acme-health", 20, wait_s=0)
        await tab.sign_in(url, vera)
        await tab.page.get_by_text("20 %").first.wait_for()
        server.send_signal(signal.SIGKILL)
        assert await server.wait() == -signal.SIGKILL
        port = int(url.rpartition(":")[2])
    async with served(tmp_path, port) as (server, url):
        await tab.open(f"{url}/inbox")
        assert tab.page.url.startswith(f"{url}/sign-in"), "sessions end with the server"
        await tab.sign_in(url, vera)
        await tab.page.get_by_role("link", name=re.compile("20 %")).click()
        await tab.page.get_by_label("Your words").fill("outages, and the customer stays")
        await tab.page.get_by_role("button", name="Grant").click()
        await tab.page.get_by_text("Granted").first.wait_for()
        ended = await ask(url, robin, f"/api/turns/{over['command_id']}")
        assert (ended["status"], ended["reply"]["percent"]) == ("completed", 20)

        denied = await request_discount(url, robin, "delta-retail", 30, wait_s=0)
        await tab.open(f"{url}/inbox")
        await tab.page.get_by_role("link", name=re.compile("30 %")).click()
        await tab.page.get_by_label("Your words").fill("no incidents, a small account")
        await tab.page.get_by_role("button", name="Deny").click()
        await tab.page.get_by_text("Denied").first.wait_for()
        ended = await ask(url, robin, f"/api/turns/{denied['command_id']}")
        assert ended["reply"]["percent"] == 0
    for view in (tmp_path / "data" / "discounts").glob("*views*"):
        os.unlink(view)
    async with served(tmp_path, port) as (_, url):  # everything is rebuilt from the journal
        await tab.open(url)
        await tab.sign_in(url, vera)
        await tab.open(f"{url}/decisions/{ended['reply']['decision_id']}")
        words = await tab.page.inner_text("main")
        assert "denied by vera" in words
        assert "no incidents, a small account" in words
        await tab.shot("demo-denied")
    assert not [each for each in tab.said if "ERR_CONNECTION" not in each], (
        "nothing failed, nothing came from elsewhere"
    )
