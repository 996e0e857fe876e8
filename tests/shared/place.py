"""Where the reference of a shared store is served, for one test: in this process, or in one of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from loom.clock import SystemClock
from loom.journal.sqlite import SqliteOptions
from tests.journal.support import environment
from tests.shared.server import OPTIONS, ServedStore, Server
from tests.shared.store import SharedStore

OPENER = "tests.shared.place:connect"


async def connect(address: str) -> SharedStore:
    """Open the store as another process does."""
    return await SharedStore.connect(address, options=OPTIONS)


class ReferencePlace:
    """A server and the clients that a test has opened."""

    opener = OPENER

    def __init__(self, address: Path) -> None:
        self.address = str(address)
        self.opened: list[SharedStore] = []

    async def open(self, *, page: int = 1_000) -> SharedStore:
        options = SqliteOptions(writer=OPTIONS.writer, page=page)
        store = await SharedStore.connect(self.address, options=options)
        self.opened.append(store)
        return store

    async def close(self) -> None:
        for store in self.opened:
            await store.close()


@asynccontextmanager
async def served(directory: Path, *, has_epochs: bool = True) -> AsyncIterator[ReferencePlace]:
    """Serve a new journal from the event loop of the test."""
    address = directory / "shared.sock"
    store = await ServedStore.open(address.with_suffix(".db"), options=OPTIONS, clock=SystemClock())
    assert isinstance(store, ServedStore)
    store.shared_writer.has_epochs = has_epochs
    answering = Server(store)
    server = await asyncio.start_unix_server(answering.serve, address)
    place = ReferencePlace(address)
    try:
        yield place
    finally:
        await place.close()
        server.close()
        await answering.close()
        await server.wait_closed()
        await store.close()


def start_server(directory: Path, *more: str) -> tuple[subprocess.Popen[str], str]:
    """Serve a journal from a process of its own; return it, and the address."""
    address = directory / "shared.sock"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.shared.server", str(address.with_suffix(".db")), str(address), *more],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "serving"
    return process, str(address)
