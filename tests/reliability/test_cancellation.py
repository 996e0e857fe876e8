"""R9: a storm of cancellations. Cancelling a wait never touches what is written, and it can be found out afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiosqlite
import anyio
import pytest

from loom import Loom
from loom.errors import AppendRefusedError, DuplicateCommandError
from loom.journal import Append, Receipt
from loom.journal.sqlite import SqliteStore
from tests.journal.support import PLENTY, note, received
from tests.reliability.agents import Add, Adder
from tests.reliability.board import Tally, row
from tests.reliability.journals import check_verified, rows_of

APPENDS, ASKS, TASKS = 14_000, 6_000, 40
PATIENCE_S = 90.0

Work = Callable[[], Awaitable[object]]


class GivenUpError(Exception):
    """What ends a task group from within."""


async def by_timeout(work: Work, dice: random.Random) -> None:
    async with asyncio.timeout(dice.random() * 0.004):
        await work()


async def by_cancel(work: Work, dice: random.Random) -> None:
    task = asyncio.ensure_future(work())
    for _ in range(dice.randrange(6)):
        await asyncio.sleep(0)
    task.cancel()
    await task


async def by_task_group(work: Work, dice: random.Random) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_awaited(work))
        await asyncio.sleep(dice.random() * 0.003)
        raise GivenUpError


async def by_scope(work: Work, dice: random.Random) -> None:
    with anyio.fail_after(dice.random() * 0.004):
        await work()


async def by_anyio_group(work: Work, dice: random.Random) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(_awaited, work)
        await anyio.sleep(dice.random() * 0.003)
        group.cancel_scope.cancel()
    raise TimeoutError


async def not_at_all(work: Work, dice: random.Random) -> None:
    await work()


async def _awaited(work: Work) -> None:
    await work()


WAYS = (by_timeout, by_cancel, by_task_group, by_scope, by_anyio_group, not_at_all)


async def given_up(work: Work, dice: random.Random) -> bool:
    """Do something and perhaps give it up, one way or another; tell whether it was given up."""
    try:
        await dice.choice(WAYS)(work, dice)
    except (TimeoutError, asyncio.CancelledError, ExceptionGroup):
        return True
    return False


@pytest.mark.seconds(30)
@row("R9")
async def test_appends_whose_callers_give_up_are_whole_or_absent_and_can_be_resolved(
    tmp_path: Path, tally: Tally
) -> None:
    store = await SqliteStore.open(tmp_path / "journal.db", options=PLENTY)
    acknowledged: dict[tuple[str, str], Receipt] = {}
    unknown: list[tuple[str, str]] = []

    async def storm(journal: str) -> None:
        for number in range(APPENDS // TASKS):
            command_id = f"c{number}"

            async def append(command_id: str = command_id) -> None:
                at = (await store.head(journal)).sequence
                receipt = await store.append(Append(journal, at, [received(command_id), note()]))
                acknowledged[journal, command_id] = receipt

            tally.tried()
            with contextlib.suppress(AppendRefusedError):  # one that was given up stands before it in line
                if await given_up(append, tally.dice):
                    unknown.append((journal, command_id))

    async def resolve_all(journal: str) -> None:
        for of, command_id in unknown:
            if of == journal:
                await check_resolved(tally, store, journal, command_id)

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(storm(f"a/{number}") for number in range(TASKS)))
        assert not await store._in_thread(lambda: store._writer._connection.sqlite().in_transaction)
        await asyncio.gather(*(resolve_all(f"a/{number}") for number in range(TASKS)))
        await store.close()
    check_acknowledged(tally, tmp_path / "journal.db", acknowledged)
    tally.note(f"{len(unknown)} appends given up, {len(acknowledged)} acknowledged")
    assert len(unknown) > APPENDS // 4


async def check_resolved(tally: Tally, store: SqliteStore, journal: str, command_id: str) -> None:
    """See that it can be said for certain whether an append that was given up stands: it does, or can be made now."""
    stands = await store.find_command(journal, command_id) is not None
    at = (await store.head(journal)).sequence
    try:
        await store.append(Append(journal, at, [received(command_id), note()]))
    except DuplicateCommandError:
        tally.check(stands, f"{journal} {command_id} was not found and is there")
    else:
        tally.check(not stands, f"{journal} {command_id} was found and is not there")


def check_acknowledged(tally: Tally, path: Path, acknowledged: dict[tuple[str, str], Receipt]) -> None:
    check_verified(tally, path, "after the storm")
    there = {each.position: each.entry_hash for each in rows_of(path)}
    lost = [key for key, receipt in acknowledged.items() if there.get(receipt.position) != receipt.entry_hash]
    tally.check(not lost, f"lost {lost[:5]}")
    by_command = [(each.journal, each.command_id) for each in rows_of(path) if each.command_id is not None]
    tally.check(len(by_command) == len(set(by_command)), "a command is there twice")


@pytest.mark.seconds(30)
@row("R9")
async def test_asks_whose_callers_give_up_go_on_and_have_one_reply(tmp_path: Path, tally: Tally) -> None:
    async with Loom.open(f"sqlite:///{tmp_path / 'journal.db'}", actors=[Adder], by="ana") as loom:
        replies: dict[tuple[str, str], int] = {}

        async def storm(key: str) -> None:
            ref = loom.actor(Adder, key)
            for number in range(ASKS // TASKS):

                async def ask(number: int = number) -> None:
                    reply = await ref.ask(Add(number=number), id=f"c{number}", by="ana")
                    replies[key, f"c{number}"] = reply.total

                tally.tried()
                await given_up(ask, tally.dice)

        async def settle(key: str) -> None:
            """Ask again for everything: what was given up has had its turn, or has it now."""
            for number in range(ASKS // TASKS):
                reply = await loom.actor(Adder, key).ask(Add(number=number), id=f"c{number}", by="ana")
                before = replies.get((key, f"c{number}"), reply.total)
                tally.check(reply.total == before, f"{key} c{number} had the reply {before}, now {reply.total}")
            state = await loom.replay.state(f"adder/{key}")
            expected = (sum(range(ASKS // TASKS)), ASKS // TASKS)
            tally.check((state.sum, state.turns) == expected, f"{key} is at {state}, expected {expected}")

        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(storm(f"k{number}") for number in range(TASKS)))
            await asyncio.gather(*(settle(f"k{number}") for number in range(TASKS)))
            await loom.reached()
    check_verified(tally, tmp_path / "journal.db", "after the storm")


# --- the control ---------------------------------------------------------------------------------


@row("R9")
async def test_the_usual_shape_with_aiosqlite_is_left_in_a_transaction_by_a_storm(tmp_path: Path, tally: Tally) -> None:
    found = 0
    for number in range(20):
        async with aiosqlite.connect(tmp_path / f"{number}.db", isolation_level=None) as naive:
            await naive.execute("CREATE TABLE entries (n INTEGER)")
            tasks = [asyncio.ensure_future(append_naively(naive, n, asyncio.Lock())) for n in range(5)]
            for task in tasks:
                await asyncio.sleep(tally.dice.random() * 0.001)
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await naive.execute("SELECT 1")  # whatever is in line there is done now
            found += naive.in_transaction
    tally.control(trials=20, found=found)


async def append_naively(connection: aiosqlite.Connection, number: int, lock: asyncio.Lock) -> None:
    """Append as most code does it: begin, insert, commit, and roll back where something is raised."""
    async with lock:
        await connection.execute("BEGIN IMMEDIATE")
        try:
            await connection.execute("INSERT INTO entries VALUES (?)", (number,))
            await connection.commit()
        except Exception:
            await connection.rollback()
            raise
