"""A real server on a free port of the loopback, and a client that says exactly what it is told to."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import uvicorn
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.routing import Match

from loom import Actor, Command, Loom, LoomConfig
from loom.circuits import Circuit, Circuits
from loom.circuits import extension as circuits
from loom.extension import Extension
from loom.web.api import REFUSALS, Api
from loom.web.app import create_app
from loom.web.config import WebConfig
from loom.web.extension import extension as web
from loom.web.keys import Role, keys_of
from loom.web.serving import server_of
from loom.web.shapes import ErrorAnswer

ROLES: tuple[Role, ...] = get_args(Role)


class Ask(Command[bool]):
    why: str = "because"


class Asker(Actor[None]):
    actor_type = "asker"

    async def execute(self, command: Ask) -> bool:
        granted = (await self.request_approval(approver="boss", reason=command.why)).granted
        await self.record_decision(rationale=command.why, outcome={"granted": granted})
        return granted


@dataclass(frozen=True)
class Said:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        code: str = self.json["error"]["code"]
        return code


class Client:
    """Talks to the server; `keys` are by workspace and role."""

    def __init__(self, port: int, app: FastAPI, server: uvicorn.Server) -> None:
        self.port = port
        self.server = server
        self.app = app
        self.api: Api = app.state.api
        self.keys: dict[tuple[str, str], str] = {}

    def loom(self, workspace: str = "one") -> Loom:
        return self.api.loom(workspace)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        role: str | None = "admin",
        workspace: str = "one",
        of: str | None = None,
        key: str | None = None,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        **more: str,
    ) -> Said:
        """Send a request for a workspace with the key of a role in it (or in `of`), and return what is said."""
        sent = {
            "Content-Type": "application/json",
            **{name.replace("_", "-"): text for name, text in {**more, **(headers or {})}.items()},
        }
        if key is None and role is not None:
            key = self.keys[of or workspace, role]
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        mark = "&" if "?" in path else "?"
        where = f"{path}{mark}workspaceId={workspace}" if workspace else path
        said = await asyncio.to_thread(self._send, method, where, data, sent)
        self._check_shape(method, path, said)
        return said

    def _check_shape(self, method: str, path: str, said: Said) -> None:
        """Hold an answer against the shape that the OpenAPI document says it has."""
        if not said.headers.get("content-type", "").startswith("application/json"):
            return
        if said.status >= 400:
            ErrorAnswer.model_validate_json(said.body)
            assert said.status in REFUSALS or said.status == 405, said.status
            return
        scope = {"type": "http", "method": method, "path": path.partition("?")[0], "headers": []}
        for route in self.app.routes:
            if isinstance(route, APIRoute) and route.matches(scope)[0] is Match.FULL:
                adapter = TypeAdapter(route.response_model)
                shaped = adapter.dump_python(adapter.validate_json(said.body), mode="json")
                assert set(shaped) == set(said.json), (path, set(said.json) ^ set(shaped))

    def _send(self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]) -> Said:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=data, headers=dict(headers))
            answer = connection.getresponse()
            return Said(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()


@asynccontextmanager
async def served(
    path: Path,
    *,
    patience_s: int | None = None,
    mine: tuple[Circuit, ...] = (),
    workspaces: tuple[str, ...] = ("one", "two"),
    actors: tuple[type[Actor[Any]], ...] = (Asker,),
    extensions: tuple[Extension, ...] = (),
    **config: Any,
) -> AsyncIterator[Client]:
    """Serve two workspaces, or those that are named, each with a key of every role."""

    def opens(name: str) -> Loom:
        own = replace(circuits, start=lambda host: Circuits.open(host, circuits=mine))
        return Loom.open(
            LoomConfig(data=path), workspace=name, by="mira", extensions=[own, web, *extensions], actors=actors
        )

    settings = WebConfig(**config)
    app = create_app({name: partial(opens, name) for name in workspaces}, settings)
    listener = socket.create_server(("127.0.0.1", 0))
    server = server_of(app, settings, drain_s=patience_s)
    server.config.lifespan = "on"
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.005)
        assert not serving.done(), serving.exception()
    client = Client(listener.getsockname()[1], app, server)
    for workspace in workspaces:
        keys = keys_of(client.loom(workspace))
        for role in ROLES:
            client.keys[workspace, role] = await keys.issue(f"{role}@{workspace}", role, by="mira")
    try:
        yield client
    finally:
        server.should_exit = True
        await serving
