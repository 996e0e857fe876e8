"""A cluster of real processes on PostgreSQL, with leases or Restate as its engine."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Self

from loom.journal import Recorded
from tests.engine.ports import free_ports
from tests.engine.worker import Worker
from tests.postgres_server import Place, Server
from tests.reliability.forks import Zygote
from tests.restate_server import RestateServers

__all__ = ["Cluster"]

KEY = "the key that all nodes of the tests share"


class Cluster:
    """Nodes `n0`, `n1`, … in processes of their own, on a schema of their own; `async with` ends them."""

    def __init__(
        self,
        server: Server,
        directory: Path,
        *,
        count: int = 3,
        restate: bool = False,
        zygote: Zygote | None = None,
        wrong: Mapping[str, tuple[str, ...]] | None = None,
        routing: bool = False,
    ) -> None:
        """Make it of `count` nodes, with the wing of `routing` or without.

        `wrong` says how nodes are wrong on purpose, by name: see `tests.engine.wrong`. A `zygote` forks them.
        """
        self.place = Place(server, directory)
        self._zygote = zygote
        self._directory = directory
        ports = free_ports(count + 4)
        self.nodes = {f"n{at}": f"http://127.0.0.1:{ports[at]}" for at in range(count)}
        self.servers = (
            RestateServers(count=count, ports=ports[count : count + 3], worker_port=ports[-1]) if restate else None
        )
        self.workers: dict[str, Worker] = {}
        self._wrong = dict(wrong or {})
        self._routing = routing

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all nodes and servers, and take the tables away."""
        await asyncio.gather(*(each.close() for each in self.workers.values()))
        if self.servers is not None:
            self.servers.stop()
        await self.place.close()

    async def start(self, *names: str) -> None:
        """Start the servers, and then all nodes at once, or those of some `names`."""
        if self.servers is not None:
            for at in range(len(self.nodes)):
                self.servers.start(at)
            await asyncio.to_thread(self.servers.ready)
        await asyncio.gather(*(self.start_node(name) for name in names or self.nodes))
        if self.servers is not None:
            async with asyncio.timeout(60):
                for at in range(len(self.nodes)):
                    while not await asyncio.to_thread(self.servers.services, at):
                        await asyncio.sleep(0.1)

    async def start_node(self, name: str, *, newer: bool = False) -> Worker:
        """Start a node, or start it again; a `newer` one writes shapes that the others do not know."""
        given: dict[str, Any] = {
            "url": self.place.text,
            "directory": str(self._directory),
            "node": name,
            "nodes": self.nodes,
            "key": KEY,
            "wrong": self._wrong.get(name, ()),
            "newer": newer,
            "routing": self._routing,
        }
        if self.servers is None:
            given["leases"] = str(self._directory / "leases.db")
        else:
            at = list(self.nodes).index(name)
            given["restate"] = {
                "ingress": self.servers.ingress(at),
                "admin": self.servers.admin(at),
                "worker": f"http://{self.servers.host(at)}:{self.servers.worker_port}",
                "deployment": self.servers.deployment,
                "answer_timeout_s": 3,
                "claim_after_s": 3,
                "register_every_s": 0.3,
            }
        worker = self.workers[name] = Worker(given, log=self._directory / f"{name}.log", zygote=self._zygote)
        await worker.start()
        return worker

    def stop_node(self, name: str) -> None:
        """Stop a node (SIGSTOP), but not while it keeps the database of the leases locked: all others would wait."""
        if self.servers is not None:
            self.workers[name].kill(signal.SIGSTOP)
            return
        with closing(sqlite3.connect(self._directory / "leases.db", timeout=10, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            self.workers[name].kill(signal.SIGSTOP)
            database.execute("ROLLBACK")

    async def home_of(self, key: str) -> str:
        """Return the node where an actor lives, once one says that it does."""
        async with asyncio.timeout(60):
            while True:
                for name, worker in self.workers.items():
                    with contextlib.suppress(ConnectionError):
                        if key in await worker.do(mine=[key]):
                            return name
                await asyncio.sleep(0.05)

    async def approval_of(self, key: str, *, seen_by: str, within_s: float = 60.0) -> str:
        """Return the request of an actor, once a node knows of it."""
        async with asyncio.timeout(within_s):
            while True:
                for approval_id, journal in await self.workers[seen_by].do(pending=True):
                    if journal == f"desk/{key}":
                        return str(approval_id)
                await asyncio.sleep(0.1)

    async def kinds(self) -> dict[str, Counter[str]]:
        """Return how many entries of each kind the journals of actors have, as another process reads them."""
        store = await self.place.open(node="reader")
        found: dict[str, Counter[str]] = {}
        entries: list[Recorded] = [each async for each in store.read_all()]
        for each in entries:
            if each.journal.startswith("desk/"):
                found.setdefault(each.journal, Counter())[each.kind] += 1
        await store.close()
        return found

    @asynccontextmanager
    async def held_up(self) -> AsyncIterator[None]:
        """Hold up all appends: what is done meanwhile is queued in the nodes."""
        connection = await self.place.connect()
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM tail FOR UPDATE")
            yield
        await connection.close()

    async def received(self, keys: Collection[str], command_id: str) -> int:
        """Return how many actors have received a command, as it is durable."""
        connection = await self.place.connect()
        found = await connection.fetchval(
            "SELECT count(*) FROM entries WHERE kind = 'command_received' AND command_id = $1 AND journal = ANY ($2)",
            command_id,
            [f"desk/{key}" for key in keys],
        )
        await connection.close()
        return int(found)

    async def turns(self) -> dict[tuple[str, str], Counter[str]]:
        """Return how many entries of each kind each turn of an actor has, by journal and command id."""
        store = await self.place.open(node="reader")
        found: dict[tuple[str, str], Counter[str]] = {}
        async for each in store.read_all():
            if each.journal.startswith("desk/") and each.command_id is not None:
                found.setdefault((each.journal, each.command_id), Counter())[each.kind] += 1
        await store.close()
        return found
