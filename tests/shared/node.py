"""A loom in a process of its own, over a shared store, as told line by line.

`python -m tests.shared.node OPENER ADDRESS DIRECTORY NAME [revives]`; DIRECTORY is its own, for views and keys. A turn
waits in its fetcher until there is a file `go-NAME` next to DIRECTORY. `revives` is the control that fails: a cell that
was fenced is woken again here.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

from loom.actors import Actor, ActorSystem, Command
from loom.actors.cell import Cell
from loom.engine.local import LocalEngine
from loom.errors import LoomError
from loom.journal.store import JournalStore
from loom.runtime import Loom

ENDED_AS_FENCED = 3


class Decide(Command[str]):
    """Decide one thing; one that parks asks a person first."""

    number: int
    parks: bool = False


class Desk(Actor[None]):
    """Looks something up, does something, asks a person, decides."""

    actor_type = "desk"
    gate: ClassVar[Path]

    async def execute(self, command: Decide) -> str:
        async def look() -> str:
            while not self.gate.exists():
                await asyncio.sleep(0.005)
            return "found"

        async def effect(key: str) -> str:
            return key

        if command.parks:
            await self.request_approval(approver="vp", reason="it parks")
        found = await self.gather_context(system="s", entity="e", query=f"{command.number}", fetcher=look)
        await self.perform(action="test", effect=effect, key=f"{command.number}")
        await self.record_decision(rationale="because", outcome={"number": command.number})
        return f"{command.number} {found}"


class Owned:
    """The journals that this process owns, as it was told; None is all."""

    def __init__(self) -> None:
        self.journals: set[str] | None = set()

    def mine(self, journal: str) -> bool:
        return self.journals is None or journal in self.journals

    def address(self, journal: str) -> str | None:
        return None if self.mine(journal) else "elsewhere"


class Node(Loom):
    """A loom whose journal is the shared store."""

    opener: ClassVar[str]
    address: ClassVar[str]

    async def open_store(self) -> JournalStore:
        module, _, name = self.opener.partition(":")
        store: JournalStore = await getattr(importlib.import_module(module), name)(self.address)
        return store


async def do(loom: Loom, owned: Owned, verb: str, *args: Any) -> Any:
    match verb, args:
        case "own", (journals,):
            owned.journals = None if journals is None else set(journals)
            loom.actors.ownership_changed()
            return None
        case "ask", (key, parks):
            command = Decide(number=int(key), parks=parks)
            return await loom.actor(Desk, key).ask(command, id=f"c-{key}", by="robin")
        case "fence", (writer,):
            return await loom.store.fence(writer)
        case "grant", (count,):
            while len(pending := await loom.actors.services.requests.pending()) < count:
                await asyncio.sleep(0.01)
            for each in pending:
                await loom.approvals.grant(each.approval_id, by="alice")
            return len(pending)
        case "awake", ():
            return loom.actors.awake
    raise LookupError(verb)


async def answer(loom: Loom, owned: Owned, number: int, verb: str, *args: Any) -> None:
    try:
        said: Any = await do(loom, owned, verb, *args)
    except LoomError as error:
        said = {"error": type(error).__name__}
    print(json.dumps([number, said]), flush=True)


def revive(system: ActorSystem, cell: Cell) -> None:
    """Wake a cell that was given up again, whatever the reason: what one process alone may do."""
    system._forget(cell)
    if cell.open:
        system.waker.revive_later(cell.journal)


async def main(opener: str, address: str, directory: Path, name: str, *more: str) -> None:
    Node.opener, Node.address = opener, address
    Desk.gate = directory.parent / f"go-{name}"
    if "revives" in more:
        ActorSystem.on_invalidated = revive  # type: ignore[method-assign, assignment]
    loom = Node.open(
        f"sqlite:////{directory}/journal.db", actors=[Desk], by="ops", resume=True, engine=lambda _: LocalEngine()
    )
    async with loom:
        owned = Owned()
        loom.actors.services.ownership = owned
        loom.store.on_fenced(lambda _: os._exit(ENDED_AS_FENCED))
        print(json.dumps([0, loom.store.writer]), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            loom.background.start(answer(loom, owned, *json.loads(line)), name="answer")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *sys.argv[4:]))
