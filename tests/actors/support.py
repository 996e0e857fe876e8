"""Opening looms for tests, cutting journals where a crash would, and reading what is in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from loom.actors import Actor, Approver, Sources
from loom.config import LoomConfig
from loom.decisions.entries import ApprovalRequestedEntry
from loom.journal import Append, Draft, Recorded
from loom.journal.sqlite import SqliteStore
from loom.runtime import Loom
from tests.actors.agents import Interpreter, Lender, World

MARKERS = frozenset({"turn_resumed", "turn_started"})
"""What says that a turn was cut short or had waited, and nothing of what it did."""


@asynccontextmanager
async def opened(
    directory: Path,
    world: World | None = None,
    *,
    agents: Iterable[type[Actor[Any]]] = (Interpreter, Lender),
    sources: Sources | None = None,
    approver: Approver | None = None,
    resume: bool = True,
    **actors: Any,
) -> AsyncIterator[Loom]:
    """Open the loom in a directory, with agents that share a world, and options of actors."""
    world = world or World()
    source: str | LoomConfig = f"sqlite:////{directory}/default/journal.db"
    if actors:
        source = LoomConfig.model_validate({"data": directory, "workspace": "default", "actors": actors})
    loom = Loom.open(source, by="the tester", sources=sources, approver=approver, resume=resume)
    if isinstance(approver, Granting):
        approver.loom = loom
    async with loom:
        for cls in agents:
            await loom.register(cls, _made(cls, world))
        yield loom


def _made(cls: type[Actor[Any]], world: World) -> Callable[[], Actor[Any]]:
    return lambda: cls(world) if cls.__init__ is not object.__init__ else cls()  # type: ignore[call-arg]


class Granting:
    """Grants whatever it is asked, as soon as it is asked."""

    def __init__(self) -> None:
        self.loom: Loom | None = None

    async def deliver(self, request: ApprovalRequestedEntry, *, journal: str) -> None:
        assert self.loom is not None
        await self.loom.approvals.grant(request.approval_id, by="the granter")


async def entries(loom: Loom, journal: str | None = None) -> list[Recorded]:
    """Return what a journal holds, or all of them."""
    stream = loom.store.read_all() if journal is None else loom.store.read(journal)
    return [recorded async for recorded in stream]


async def kinds(loom: Loom, journal: str) -> list[str]:
    return [recorded.kind for recorded in await entries(loom, journal)]


async def lay_down(directory: Path, history: Sequence[Recorded]) -> None:
    """Write a history as it was into a new journal, as a crash right after it would have left it."""
    store = await SqliteStore.open(directory / "default" / "journal.db")
    try:
        for recorded in history:
            assert recorded.body is not None
            assert recorded.salt is not None
            entry = Draft(
                recorded.kind,
                recorded.schema_version,
                recorded.command_id,
                recorded.policy_hash,
                recorded.salt,
                recorded.body,
                recorded.body_digest,
            )
            await store.append(Append(recorded.journal, recorded.sequence - 1, (entry,)))
    finally:
        await store.close()


async def until(condition: Callable[[], Any], *, timeout_s: float = 20.0) -> Any:
    """Wait until a condition holds, looking again and again, and return what it gave.

    It pauses between looks, as one that spins keeps the threads of the store from running.
    """
    async with asyncio.timeout(timeout_s):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.001)
