"""nginx and Caddy with TLS before a loom, with the configs of the page: what comes through, and what does not."""

from __future__ import annotations

import asyncio
import json
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from loom.explorer.config import ExplorerConfig
from tests.explorer.support import Place, asked, granted, house
from tests.production.proxies import HOST, Front, proxy

pytestmark = pytest.mark.slow
SECRET = "a secret of sixteen"
SERVED: dict[str, Any] = {
    "allowed_hosts": [HOST, "127.0.0.1", "localhost"],
    "trusted_proxies": ["127.0.0.1"],
    "failed_keys_per_minute": 3,
}
PEOPLE = {
    "sections": {
        "explorer": ExplorerConfig.model_validate(
            {"proxy": {"name": "front", "secret": SECRET, "access": {"maria": "approver", "root": "admin"}}}
        )
    }
}
SIGNED_IN = {
    "nginx": {
        'proxy_set_header X-Remote-User "";': "proxy_set_header X-Remote-User maria;",
        'proxy_set_header X-Proxy-Secret "";': f'proxy_set_header X-Proxy-Secret "{SECRET}";',
    },
    "caddy": {
        "header_up -X-Remote-User": "header_up X-Remote-User maria",
        "header_up -X-Proxy-Secret": f'header_up X-Proxy-Secret "{SECRET}"',
    },
}
both = pytest.mark.parametrize("name", ["nginx", "caddy"])


def key(place: Place, role: Any = "admin") -> dict[str, str]:
    return {"Authorization": f"Bearer {place.keys['one', role]}"}


@both
async def test_people_sign_in_with_a_secure_cookie_and_programs_with_a_key(name: str, tmp_path: Path) -> None:
    async with house(tmp_path / "loom", **SERVED) as place:
        with proxy(name, tmp_path, place.port) as front:
            browser = front.browser()
            assert (await browser.open("/inbox")).header("location") == "/sign-in?next=%2Finbox"
            entered = await browser.sign_in(place.keys["one", "approver"], wanted="/inbox")
            assert (entered.status, entered.header("location")) == (303, "/inbox"), entered.text
            cookie = entered.header("set-cookie")
            assert cookie.startswith("__Host-loom=")
            assert {"secure", "httponly"} <= {each.strip().lower() for each in cookie.split(";")}
            waiting = await asked(place.loom())
            [request] = await place.loom().approvals.pending()
            assert (await browser.answer(request.approval_id, "grant")).status == 303
            assert await waiting
            decided = await front.browser().ask("GET", "/api/decisions", headers=key(place))
            assert decided.status == 200
            [decision] = json.loads(decided.text)["items"]
            assert decision["verdict"] == "granted"
            assert (await front.browser().ask("GET", "/api/decisions")).status == 401


@both
async def test_what_is_not_for_this_server_or_not_over_tls_is_refused(name: str, tmp_path: Path) -> None:
    async with house(tmp_path / "loom", **SERVED) as place:
        with proxy(name, tmp_path, place.port) as front:
            stranger = front.browser()
            stranger.host = "elsewhere.example.org"
            refused = await stranger.ask("GET", "/api/decisions", headers=key(place))
            if name == "caddy":
                assert refused.text == "", "it asks loom nothing for a name that it does not serve"
            else:
                assert refused.status == 421
        past = place.browser()
        past.host = HOST
        assert "people sign in over HTTPS" in (await past.open("/sign-in")).text


@both
async def test_who_tries_keys_is_the_peer_of_the_proxy_whatever_it_says_of_itself(name: str, tmp_path: Path) -> None:
    async with house(tmp_path / "loom", **SERVED) as place:
        with proxy(name, tmp_path, place.port) as front:
            answers = []
            for number in range(6):
                forged = {"Authorization": "Bearer loom_0_0", "X-Forwarded-For": f"198.51.100.{number}"}
                answers.append((await front.browser().ask("GET", "/api/decisions", headers=forged)).status)
            assert answers == [401] * 3 + [429] * 3


@both
async def test_a_client_cannot_name_itself_and_the_proxy_can(name: str, tmp_path: Path) -> None:
    forged = {"X-Remote-User": "root", "X-Proxy-Secret": SECRET}
    async with house(tmp_path / "loom", sections=PEOPLE, **SERVED) as place:
        with proxy(name, tmp_path, place.port) as front:
            page = await front.browser().ask("GET", "/sign-in", headers=forged)
            assert (page.status, "Your key" in page.text) == (200, True), "neither header came through"
        with proxy(name, tmp_path, place.port, SIGNED_IN[name]) as front:
            browser = front.browser()
            arrived = await browser.ask("GET", "/sign-in?next=%2Finbox", headers=forged)
            assert (arrived.status, arrived.header("location")) == (303, "/inbox")
            request = await granted(place, browser)
            assert (request.answered_by, request.answered_identity_source) == ("maria", "proxy:front")


@both
async def test_an_event_comes_while_its_stream_is_open(name: str, tmp_path: Path) -> None:
    async with house(tmp_path / "loom", heartbeat_s=600, **SERVED) as place:
        with proxy(name, tmp_path, place.port) as front:
            assert await event(front, place)


async def test_a_proxy_that_keeps_events_back_would_be_found(tmp_path: Path) -> None:
    keeps = {"proxy_http_version 1.1;": "proxy_http_version 1.1; proxy_ignore_headers X-Accel-Buffering;"}
    async with house(tmp_path / "loom", heartbeat_s=600, **SERVED) as place:
        with proxy("nginx", tmp_path, place.port, keeps) as front, pytest.raises(TimeoutError):
            await event(front, place, within_s=3)


async def event(front: Front, place: Place, *, within_s: float = 30) -> bytes:
    """Open a stream, read what has happened so far, have something happen, and return the line that says it."""
    stream: HTTPConnection = front.connect()
    try:
        stream.sock.settimeout(within_s)
        stream.request("GET", "/api/entries/events?after=0", headers={"Host": HOST, **key(place)})
        answer = await asyncio.to_thread(stream.getresponse)
        assert answer.status == 200

        def next_line(words: bytes) -> bytes:
            while words not in (line := answer.readline()):
                assert line, "the stream ended"
            return line

        await asyncio.to_thread(next_line, b"key_issued")
        await place.loom().people.add("nora", by="mira")
        return await asyncio.to_thread(next_line, b"person")
    finally:
        stream.close()
