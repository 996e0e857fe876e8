"""A reference engine: leases in a small database of its own, and nothing else.

It shows that the contract of an engine can be kept without a server, and lets the tests of several processes run
everywhere. It is not for use: it trusts the clock of one machine.

Actors are shared out in slots. A node writes its beat again and again; the slots of a node whose beat is late go to the
others, after it was fenced in the journal. Slots never move between nodes that live.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

from loom.actors.ownership import Ownership
from loom.background import Background
from loom.clock import SystemClock
from loom.engine import ClusterConfig, Delivery, Node
from loom.engine.config import cluster_of
from loom.engine.nodes.link import Link
from loom.engine.port import Reply
from loom.engine.surroundings import Surroundings
from loom.errors import AppendRefusedError, LoomClosedError, LoomError, NotOwnerError
from loom.journal.store import JournalStore
from loom.telemetry import get_logger

__all__ = ["LeaseEngine", "leases_at", "slot_of"]

SLOTS = 16
_TABLES = (
    "CREATE TABLE IF NOT EXISTS nodes (node TEXT PRIMARY KEY, writer INTEGER, beat REAL)",
    "CREATE TABLE IF NOT EXISTS slots (slot INTEGER PRIMARY KEY, node TEXT)",
    "CREATE TABLE IF NOT EXISTS scheduled (id TEXT PRIMARY KEY, slot INTEGER, at REAL, delivery TEXT, done INTEGER)",
)

_log = get_logger("tests.leases")


def slot_of(journal: str) -> int:
    return int.from_bytes(hashlib.sha256(journal.encode()).digest()[:4], "big") % SLOTS


def _weight(slot: int, node: str) -> bytes:
    return hashlib.sha256(f"{slot}/{node}".encode()).digest()


class LeaseEngine:
    """Leases of slots, in the database at `path`."""

    def __init__(
        self,
        path: Path,
        config: ClusterConfig,
        *,
        store: JournalStore | None = None,
        background: Background | None = None,
        lease_s: float = 1.5,
        beat_s: float = 0.1,
        grace_s: float = 10.0,
    ) -> None:
        self._path = path
        self._store = store
        self._lease_s = lease_s
        self._beat_s = beat_s
        self._grace_s = grace_s
        self._began = time.monotonic()
        self._background = background or Background()
        self.link = Link(config, clock=SystemClock(), background=self._background)
        self._node: Node | None = None
        self._slots: dict[int, str] = {}
        self._sure_until = 0.0
        self.lost = asyncio.Event()
        """Set once another node has taken the slots of this one: its process is to end."""

    # --- ownership ------------------------------------------------------------------------------

    @property
    def ownership(self) -> Ownership:
        return self

    def mine(self, journal: str) -> bool:
        sure = self._node is not None and not self.lost.is_set() and time.monotonic() < self._sure_until
        return sure and self._slots.get(slot_of(journal)) == self.link.node

    def address(self, journal: str) -> str | None:
        node = self._slots.get(slot_of(journal))
        return None if node is None else self.link.nodes.get(node)

    async def owner(self, journal: str) -> str | None:
        return self.address(journal)

    # --- a life ---------------------------------------------------------------------------------

    async def serve(self, node: Node) -> None:
        with self._database() as database:
            for table in _TABLES:
                database.execute(table)
        await self.link.start(node)
        self._node = node
        await self._look()
        self._beating = self._background.keep_running(self._beat, name="leases-beat")

    async def close(self) -> None:
        if self._node is None:
            return
        self.stop()
        with self._database() as database:
            database.execute("DELETE FROM nodes WHERE node = ?", (self.link.node,))
            database.execute("UPDATE slots SET node = NULL WHERE node = ?", (self.link.node,))
        await self.link.close()

    def stop(self) -> None:
        """Say and do nothing more."""
        self._node = None
        self._beating.cancel()

    # --- deliveries -----------------------------------------------------------------------------

    async def deliver(self, delivery: Delivery) -> Reply:
        if self._node is None:
            raise LoomClosedError("the engine is closed; expected an open one: open the loom")
        if self.mine(delivery.journal):
            return await self._node.receive(delivery)
        address = self.address(delivery.journal)
        if address is None or address == self.link.address:
            raise NotOwnerError(journal=delivery.journal, address=None)
        return await self.link.deliver(address, delivery)

    async def schedule(self, delivery: Delivery, *, at: datetime) -> None:
        with self._database() as database:
            database.execute(
                "INSERT INTO scheduled VALUES (?, ?, ?, ?, 0) ON CONFLICT DO NOTHING",
                (delivery.id, slot_of(delivery.journal), at.timestamp(), json.dumps(delivery.as_json())),
            )

    async def cancel(self, id: str) -> None:
        with self._database() as database:
            database.execute("UPDATE scheduled SET done = 1 WHERE id = ?", (id,))

    # --- leases ---------------------------------------------------------------------------------

    async def _beat(self) -> None:
        while not self.lost.is_set():
            await self._look()
            await self._fire()
            await asyncio.sleep(self._beat_s)

    async def _look(self) -> None:
        began, now, me = time.monotonic(), time.time(), self.link.node
        writer = 0 if self._store is None else self._store.writer
        with self._database() as database:
            rows = dict(database.execute("SELECT node, beat FROM nodes"))
            writers = dict(database.execute("SELECT node, writer FROM nodes"))
        if self._slots and writers.get(me) != writer:  # another node has taken over: what this one knows is old
            _log.warning("leases_lost", node=me)
            self.lost.set()
            self._owned()
            return
        for late in [each for each, beat in rows.items() if each != me and now - beat > self._lease_s]:
            await self._fence(writers[late])
            with self._database() as database:
                database.execute("DELETE FROM nodes WHERE node = ? AND beat = ?", (late, rows[late]))
        with self._database() as database:
            database.execute("INSERT OR REPLACE INTO nodes VALUES (?, ?, ?)", (me, writer, now))
            live = [each for (each,) in database.execute("SELECT node FROM nodes")]
            held: dict[int, str | None] = dict(database.execute("SELECT slot, node FROM slots"))
            taken = [slot for slot in range(SLOTS) if self._falls_to_me(slot, held, live)]
            database.executemany("INSERT OR REPLACE INTO slots VALUES (?, ?)", [(slot, me) for slot in taken])
            self._slots = dict(database.execute("SELECT slot, node FROM slots"))
        self._sure_until = began + self._lease_s
        if taken:
            _log.info("leases_taken", node=me, slots=taken)
            self._owned()

    def _falls_to_me(self, slot: int, held: Mapping[int, str | None], live: Collection[str]) -> bool:
        """Tell whether a slot is free and this node's: at first that of the node of the config, if it comes in time."""
        if held.get(slot) in live:
            return False
        waits = slot not in held and time.monotonic() < self._began + self._grace_s
        heirs = self.link.nodes if waits else live
        return max(heirs, key=lambda each: _weight(slot, each)) == self.link.node

    def _owned(self) -> None:
        if self._node is not None:
            self._node.ownership_changed()

    async def _fence(self, writer: int) -> None:
        if self._store is None or not writer:
            return
        try:
            await self._store.fence(writer)
        except AppendRefusedError as error:
            _log.warning("leases_not_fenced", writer=writer, error=str(error))

    async def _fire(self) -> None:
        mine = [slot for slot, node in self._slots.items() if node == self.link.node]
        with self._database() as database:
            rows = database.execute(
                "SELECT id, slot, delivery FROM scheduled WHERE NOT done AND at <= ?", (time.time(),)
            ).fetchall()
        due = [(known, text) for known, slot, text in rows if slot in mine]
        for known, text in due:
            await self._quietly(Delivery.of_json(json.loads(text)))
            await self.cancel(known)

    async def _quietly(self, delivery: Delivery) -> None:
        try:
            await self.deliver(delivery)
        except LoomError as error:
            _log.warning("leases_not_delivered", journal=delivery.journal, error=str(error))

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with closing(self._connect()) as database:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=10, isolation_level=None)


def leases_at(path: Path, *, lease_s: float = 1.5) -> Callable[[Surroundings], LeaseEngine]:
    """Return what makes a `LeaseEngine` for a loom."""

    def make(given: Surroundings) -> LeaseEngine:
        return LeaseEngine(
            path, cluster_of(given.config), store=given.store, background=given.background, lease_s=lease_s
        )

    return make
