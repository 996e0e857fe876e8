"""A process of its own for the kill tests: takes commands by number until it is killed.

It writes down every effect that it does and every reply that it gets, each in a line of a file next to the journal.
"""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from loom.actors import Actor, Command
from loom.decisions.entries import ApprovalRequestedEntry
from loom.runtime import Loom
from tests.on_postgres import join

TURNS = 400
ACTORS = 5


class Work(Command[str]):
    number: int


def note(directory: str, file: str, line: str) -> None:
    """Append a line to a file in one write."""
    handle = os.open(f"{directory}/{file}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)


class Worker(Actor[None]):
    async def execute(self, command: Work) -> str:
        directory, number = os.environ["WORK_DIRECTORY"], command.number

        async def look(what: str) -> str:
            note(directory, "effects", f"look {number} {what}")
            await asyncio.sleep(0)
            return what

        async def effect(key: str) -> str:
            note(directory, "effects", f"do {key}")
            await asyncio.sleep(0)
            return key

        async with asyncio.TaskGroup() as tasks:
            found = [
                tasks.create_task(self.gather_context(system="s", entity="e", query=what, fetcher=partial(look, what)))
                for what in ("a", "b")
            ]
        await self.perform(action="test", effect=effect, key=f"{number}")
        if number % 3 == 0:
            await self.request_approval(approver="vp", reason="every third")
        await self.record_decision(rationale="because", outcome={"number": number})
        return f"{number} {[await each for each in found]}"


class Granting:
    """Grants in the background, as a person would from elsewhere."""

    def __init__(self) -> None:
        self.loom: Any = None

    async def deliver(self, request: ApprovalRequestedEntry, *, journal: str) -> None:
        """Grant what is asked."""
        await self.loom.approvals.grant(request.approval_id, by="alice")


async def main(directory: Path, first: int) -> None:
    """Send commands from a number on, many at a time, and note each reply."""
    granting = Granting()
    loom = Loom.open(f"sqlite:////{directory}/journal.db", actors=[Worker], by="worker", approver=granting)
    granting.loom = loom
    async with loom:
        print("open", flush=True)
        at_once = asyncio.Semaphore(20)

        async def one(number: int) -> None:
            async with at_once:
                reply = await loom.actor(Worker, f"{number % ACTORS}").ask(Work(number=number), id=f"work-{number}")
            note(str(directory), "replies", f"{number} {reply}")

        await asyncio.gather(*(one(number) for number in range(first, TURNS)))


if __name__ == "__main__":
    join()
    os.environ["WORK_DIRECTORY"] = sys.argv[1]
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
