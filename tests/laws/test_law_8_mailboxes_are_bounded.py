"""Law 8, for mailboxes: a full one refuses with an error; what was taken is carried out, and nothing is dropped."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from loom.errors import MailboxFullError
from tests.actors.agents import Lend, Lender, World
from tests.actors.support import entries, opened


class Watching(World):
    """Looks into the mailbox whenever a command is carried out."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.loom: Any = None
        self.size = size

    async def call(self, name: str, value: JsonValue = None) -> JsonValue:
        assert len(self.loom.actors._cells["lender/one"]._mailbox) <= self.size
        return await super().call(name, value)


async def flood(directory: Path, *, size: int, bursts: list[int]) -> None:
    world = Watching(size)
    async with opened(directory, world, mailbox_size=size) as loom:
        world.loom = loom
        ref = loom.actor(Lender, "one")
        taken, refused = set(), set()

        async def one(number: int) -> None:
            try:
                assert await ref.ask(Lend(key=f"{number}"), id=f"{number}") == f"lent {number}"
            except MailboxFullError:
                refused.add(f"{number}")
            else:
                taken.add(f"{number}")

        number, tasks = 0, []
        for burst in bursts:
            for _ in range(burst):
                tasks.append(asyncio.create_task(one(number)))
                number += 1
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        assert len(taken) + len(refused) == number
        recorded = await entries(loom, "lender/one")
        assert {each.command_id for each in recorded if each.kind == "command_received"} == taken
        assert {each.command_id for each in recorded if each.kind == "turn_completed"} == taken
        assert world.calls == {f"lend {each}": 1 for each in taken}
        if refused:
            assert await ref.ask(Lend(key="again"), id=min(refused)) == "lent again"  # a refusal leaves no trace


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(st.integers(1, 5), st.lists(st.integers(1, 12), min_size=1, max_size=5))
def test_every_command_is_carried_out_or_its_sender_knows_that_it_was_refused(size: int, bursts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(flood(Path(directory), size=size, bursts=bursts))
