"""R18: commands that are delivered many times over, with the same contents and with others."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from loom import Loom
from loom.errors import CommandConflictError
from loom.journal import CommandReceivedEntry
from tests.reliability.agents import Add, Adder
from tests.reliability.board import Tally, row
from tests.reliability.journals import check_verified

DELIVERIES, IDS, KEYS, AT_ONCE = 10_000, 60, 30, 100

Delivery = tuple[str, str, int]
"""The key of an actor, the id of a command, its number."""


@row("R18")
async def test_a_command_delivered_many_times_is_one_entry_and_other_contents_are_a_conflict(
    tmp_path: Path, tally: Tally
) -> None:
    path = tmp_path / "journal.db"
    deliveries = [
        (f"k{tally.dice.randrange(KEYS)}", f"c{tally.dice.randrange(IDS)}", tally.dice.randrange(2))
        for _ in range(DELIVERIES)
    ]
    answers: dict[Delivery, list[int | None]] = {}
    async with Loom.open(f"sqlite:///{path}", actors=[Adder], by="ana") as loom:
        waiting = iter(deliveries)

        async def deliver() -> None:
            for key, command_id, number in waiting:
                tally.tried()
                try:
                    answer = await loom.actor(Adder, key).ask(Add(number=number), id=command_id, by="ana")
                    told: int | None = answer.total
                except CommandConflictError:
                    told = None
                answers.setdefault((key, command_id, number), []).append(told)

        async with asyncio.timeout(100):
            await asyncio.gather(*(deliver() for _ in range(AT_ONCE)))
        await check_once(tally, loom, answers)
    check_verified(tally, path, "after all deliveries")


async def check_once(tally: Tally, loom: Loom, answers: dict[Delivery, list[int | None]]) -> None:
    """See that what was journaled is what was answered for, and nothing else."""
    received: dict[tuple[str, str], int] = {}
    ended: Counter[tuple[str, str]] = Counter()
    async for recorded in loom.store.read_all():
        key, command_id = recorded.journal.partition("/")[2], str(recorded.command_id)
        if isinstance(recorded.entry, CommandReceivedEntry):
            tally.check((key, command_id) not in received, f"{key} {command_id} was received twice")
            payload = recorded.entry.payload
            assert isinstance(payload, dict)
            received[key, command_id] = payload["number"]  # type: ignore[assignment]
        ended[key, command_id] += recorded.kind == "turn_completed"
    for (key, command_id, number), told in answers.items():
        stands = received[key, command_id]
        if stands == number:
            tally.check(len(set(told)) == 1 and None not in told, f"{key} {command_id} was answered {set(told)}")
        else:
            tally.check(set(told) == {None}, f"{key} {command_id} with other contents was answered {set(told)}")
    tally.check(all(ended[each] == 1 for each in received), "a command had more turns than one")
