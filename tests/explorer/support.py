"""A real server with the explorer, people with keys in it, and browsers that talk to it."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from html.parser import HTMLParser
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlencode

from loom import Actor, Command, Extension, Loom, LoomConfig
from loom.decisions import Approval
from loom.explorer.extension import extension as explorer
from loom.policies import Table
from loom.precedents import EquivalenceRule
from loom.web.app import create_app
from loom.web.config import WebConfig
from loom.web.extension import extension as web
from loom.web.keys import Role, keys_of
from loom.web.serving import server_of

DISCOUNT = Table.of(
    {
        "format": "loom.table/1",
        "name": "discount",
        "facts": {"percent": {"type": "integer"}, "industry": {"type": "string"}},
        "parameters": {"ceiling": {"type": "integer", "value": 10, "min": 0, "max": 50}},
        "rules": [
            {
                "name": "within-the-limit",
                "when": [["percent", "<=", {"param": "ceiling"}]],
                "effect": "allow",
                "why": "the discount is within the limit",
            },
            {
                "name": "over-the-limit",
                "when": [["percent", "<=", 40]],
                "effect": "require_approval",
                "tier": "vp_sales",
                "why": "the discount is over the limit, so a person decides",
            },
        ],
        "otherwise": {"name": "far-over", "effect": "deny", "why": "no discount is over 40 percent"},
    }
)


class RequestDiscount(Command[bool]):
    percent: int
    industry: str = "healthcare"
    why: str = "they had service outages twice"


class DiscountAgent(Actor[None]):
    policy = DISCOUNT
    equivalence = EquivalenceRule("discounts", attributes=("industry",), outcome=("granted",))

    async def execute(self, command: RequestDiscount) -> bool:
        said = self.evaluate({"percent": command.percent, "industry": command.industry})
        earlier = await self.find_precedents({"percent": command.percent, "industry": command.industry}, limit=3)
        granted = said.allowed
        if said.needs_approval:
            words = f"{command.percent} % discount: {command.why}"
            granted = (await self.request_approval(approver="vp_sales", reason=words)).granted
        await self.record_decision(
            rationale=f"{command.why}; {len(earlier)} earlier cases",
            outcome={"granted": granted, "percent": command.percent},
        )
        return granted


class _Form(HTMLParser):
    """Finds the fields of a page, hidden ones, too."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input" and given.get("name"):
            self.fields[str(given["name"])] = given.get("value") or ""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def field(self, name: str) -> str:
        parser = _Form()
        parser.feed(self.text)
        return parser.fields.get(name, "")

    @property
    def token(self) -> str:
        return self.field("token")

    def header(self, name: str) -> str:
        return next((text for each, text in self.headers if each.lower() == name), "")

    @property
    def cookie(self) -> tuple[str, str]:
        found = re.match(r"([^=]+)=([^;]*)", self.header("set-cookie"))
        assert found is not None, self.headers
        return found[1], found[2]


@dataclass
class Browser:
    """A browser without a screen: it keeps cookies, and sends what browsers send."""

    port: int
    host: str = ""
    cookies: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.host = self.host or f"127.0.0.1:{self.port}"

    async def ask(
        self, method: str, path: str, *, body: str | None = None, headers: Mapping[str, str | None] | None = None
    ) -> Answer:
        sent: dict[str, str | None] = {
            "Host": self.host,
            "Sec-Fetch-Site": "same-origin",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
        }
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body is not None:
            sent |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://{self.host}"}
        sent |= dict(headers or {})
        given = {name: text for name, text in sent.items() if text is not None}
        answer = await asyncio.to_thread(self._send, method, path, body, given)
        if answer.header("set-cookie"):
            name, value = answer.cookie
            self.cookies[name] = value
        return answer

    def _send(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=None if body is None else body.encode(), headers=dict(headers))
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    async def open(self, path: str, **headers: str | None) -> Answer:
        given = {name.replace("_", "-"): text for name, text in headers.items()}
        return await self.ask("GET", path, headers=given)

    async def send(self, path: str, *, token: str | None = None, on: str = "/inbox", **fields: str) -> Answer:
        """Send a form, with the token of a page."""
        if token is None:
            token = (await self.open(on)).token
        given = {"Referer": f"http://{self.host}{on}"}
        return await self.ask("POST", path, body=urlencode({"token": token, **fields}), headers=given)

    async def answer(self, approval_id: str, how: str, **fields: str) -> Answer:
        """Answer a request, from its page."""
        where = f"/inbox/{approval_id}"
        page = await self.open(where)
        return await self.send(f"{where}/{how}", token=page.token, on=where, seen=page.field("seen"), **fields)

    async def sign_in(self, key: str, *, wanted: str = "/") -> Answer:
        page = await self.open("/sign-in")
        return await self.send("/sign-in", token=page.token, on="/sign-in", key=key, next=wanted)


@dataclass
class Place:
    """A server that runs, and a key for each role of each workspace."""

    port: int
    app: Any
    actors: Mapping[str, Sequence[type[Actor[Any]]]]
    keys: dict[tuple[str, Role], str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def loom(self, workspace: str = "one") -> Loom:
        loom: Loom = self.app.state.api.loom(workspace)
        return loom

    def browser(self) -> Browser:
        return Browser(self.port)

    async def signed_in(self, role: Role = "approver", *, workspace: str = "one") -> Browser:
        browser = self.browser()
        answer = await browser.sign_in(self.keys[workspace, role])
        assert answer.status == 303, answer.text
        return browser


@asynccontextmanager
async def house(
    path: Path,
    *,
    actors: Sequence[type[Actor[Any]]] | Mapping[str, Sequence[type[Actor[Any]]]] = (DiscountAgent,),
    workspaces: Sequence[str] = ("one",),
    extensions: Sequence[Extension] = (),
    sections: Mapping[str, Any] | None = None,
    **config: Any,
) -> AsyncIterator[Place]:
    """Serve workspaces with some actors, the same or each with its own; a key is named after its role."""
    brought = [web, explorer, *extensions]
    known = actors if isinstance(actors, Mapping) else dict.fromkeys(workspaces, actors)

    def opens(name: str) -> Loom:
        given = LoomConfig.model_validate({"data": path, **(sections or {})})
        return Loom.open(given, workspace=name, by="mira", extensions=brought, actors=known[name])

    settings = WebConfig(**{"drain_s": 1.0, **config})
    app = create_app({name: partial(opens, name) for name in workspaces}, settings, extensions=brought)
    listener = socket.create_server(("127.0.0.1", 0))
    server = server_of(app, settings)
    server.config.lifespan = "on"
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.005)
        assert not serving.done(), serving.exception()
    place = Place(listener.getsockname()[1], app, known)
    roles: tuple[Role, ...] = get_args(Role)
    for workspace in workspaces:
        keys = keys_of(place.loom(workspace))
        for role in roles:
            place.keys[workspace, role] = await keys.issue(role, role, by="mira")
    try:
        yield place
    finally:
        server.should_exit = True
        await serving


async def asked(
    loom: Loom, key: str = "acme", *, percent: int = 15, by: str = "robin", **more: Any
) -> asyncio.Task[bool]:
    """Ask for a discount that a person has to approve, and return once the request waits."""
    before = len(await loom.approvals.pending())
    task = asyncio.create_task(loom.actor(DiscountAgent, key).ask(RequestDiscount(percent=percent, **more), by=by))
    while len(await loom.approvals.pending()) == before:
        await asyncio.sleep(0.005)
        assert not task.done(), task.result()
    return task


async def granted(place: Place, browser: Browser) -> Approval:
    """Have the person in a browser grant a request, and return it as it is then."""
    waiting = await asked(place.loom())
    [request] = await place.loom().approvals.pending()
    await browser.answer(request.approval_id, "grant")
    assert await waiting
    [answered] = await place.loom().approvals.list(status="granted")
    return answered
