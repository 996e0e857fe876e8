"""`loom serve` on any node: what comes over HTTP is done where the actor lives, in the name of the key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from pydantic import SecretStr

from loom import Loom
from loom.config import JournalConfig, LoomConfig
from loom.decisions.entries import ApprovalAnsweredEntry
from loom.engine import ClusterConfig
from loom.journal.kinds import CommandReceivedEntry
from loom.web.app import create_app
from loom.web.config import WebConfig
from loom.web.extension import extension as web
from loom.web.keys import keys_of
from tests.engine.leases import leases_at
from tests.engine.ports import free_ports
from tests.engine.worker import Desk
from tests.postgres_server import Place, Server

KEY = "the key that all nodes of the tests share"


class Served(NamedTuple):
    name: str
    loom: Loom
    http: httpx2.AsyncClient
    """Asks this node with the key of an admin."""


@pytest.fixture
async def nodes(postgres: Server, tmp_path: Path) -> AsyncIterator[tuple[Served, ...]]:
    place = Place(postgres, tmp_path)
    addresses = {f"n{at}": f"http://127.0.0.1:{port}" for at, port in enumerate(free_ports(2))}

    def opens(name: str) -> Loom:
        cluster = ClusterConfig(node=name, nodes=addresses, key=SecretStr(KEY), wait_s=1)
        journal = JournalConfig(url=SecretStr(place.text))
        config = LoomConfig(data=tmp_path / name, journal=journal, sections={"cluster": cluster})
        leases = leases_at(tmp_path / "leases.db", lease_s=20)
        return Loom.open(config, actors=[Desk], by="mira", extensions=[web], engine=leases)

    async with AsyncExitStack() as stack:
        served = []
        for name in addresses:
            app = create_app({"default": partial(opens, name)}, WebConfig(allowed_hosts=("node",)))
            await stack.enter_async_context(app.router.lifespan_context(app))
            loom = app.state.api.loom("default")
            key = await keys_of(loom).issue(f"admin of {name}", "admin", by="mira")
            transport: Any = httpx2.ASGITransport(app=app)
            http = httpx2.AsyncClient(
                transport=transport, base_url="http://node", headers={"authorization": f"Bearer {key}"}
            )
            served.append(Served(name, loom, await stack.enter_async_context(http)))
        yield tuple(served)
    await place.close()


async def _key_at(node: Served, other: Served) -> str:
    async with asyncio.timeout(30):
        while True:
            for at in range(64):
                if node.loom.engine.ownership.mine(f"desk/k{at}"):
                    return f"k{at}"
            await asyncio.sleep(0.05)


async def test_a_command_and_an_answer_over_http_are_done_where_the_actor_lives(nodes: tuple[Served, ...]) -> None:
    home, other = nodes
    key = await _key_at(home, other)
    sent = await other.http.post(
        f"/api/actors/desk/{key}/Decide",
        json={"percent": 30},
        headers={"idempotency-key": "c-1", "prefer": "wait=1"},
    )
    assert sent.status_code in (200, 202), sent.text
    async with asyncio.timeout(30):
        while not (pending := await home.loom.approvals.pending()):
            await asyncio.sleep(0.05)
    assert home.loom.actors.running(f"desk/{key}", "c-1") is not None
    assert other.loom.actors.awake == 0
    grant = f"/api/approvals/{pending[0].approval_id}/grant"
    itself = await other.http.post(grant, json={})
    assert itself.json()["error"]["code"] == "self_approval", itself.text
    dana = await keys_of(other.loom).issue("dana", "approver", by="mira")
    granted = await other.http.post(grant, json={}, headers={"authorization": f"Bearer {dana}"})
    assert granted.status_code == 200, granted.text
    again = await other.http.post(
        f"/api/actors/desk/{key}/Decide",
        json={"percent": 30},
        headers={"idempotency-key": "c-1", "prefer": "wait=20"},
    )
    assert again.json()["reply"]["granted"] is True
    by = {}
    async for each in home.loom.store.read(f"desk/{key}"):
        if isinstance(each.entry, CommandReceivedEntry | ApprovalAnsweredEntry):
            by[each.kind] = each.entry.identity
    assert {kind: str(who and who.name) for kind, who in by.items()} == {
        "command_received": f"admin of {other.name}",
        "approval_answered": "dana",
    }
    for who in by.values():
        assert who is not None
        assert (who.source or "").startswith(f"forwarded:{other.name}/api_key:")
        assert who.established.startswith("api_key:")
        assert who.via == "http"
