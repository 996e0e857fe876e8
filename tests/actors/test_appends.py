"""What a turn writes without a wait is one append: all of it is in the journal, or none."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from loom.errors import DiskFullError
from loom.journal import Append, Draft, Receipt
from loom.runtime import Loom
from tests.actors.agents import Carry, Do, Interpreter, NotedEntry, World
from tests.actors.support import entries, kinds, opened

TURN = ["command_received", "context_gathered", "evaluated", "decision", "turn_completed"]
WORK = Carry(program=[Do(verb="fetch", key="x"), Do(verb="evaluate", key="5"), Do(verb="decide", key="d")])


def appends_of(loom: Loom, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Have the kinds of each append noted, in the order in which the appends began."""
    noted: dict[asyncio.Future[Receipt], list[str]] = {}
    submit, extend = loom.store.submit, loom.store.extend

    def submitted(append: Append) -> asyncio.Future[Receipt]:
        future = submit(append)
        noted[future] = [draft.kind for draft in append.drafts]
        appends.append(noted[future])
        return future

    def extended(future: asyncio.Future[Receipt], draft: Draft) -> bool:
        if not extend(future, draft):
            return False
        noted[future].append(draft.kind)
        return True

    appends: list[list[str]] = []
    monkeypatch.setattr(loom.store, "submit", submitted)
    monkeypatch.setattr(loom.store, "extend", extended)
    return appends


async def test_a_turn_that_waits_for_nothing_is_one_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as loom:
        refs = [loom.actor(Interpreter, f"{number}") for number in range(20)]
        await asyncio.gather(*(ref.ask(WORK) for ref in refs))
        appends = appends_of(loom, monkeypatch)
        await asyncio.gather(*(ref.ask(WORK) for ref in refs))
        assert appends == [TURN] * 20


async def test_what_comes_after_a_wait_is_an_append_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    async with opened(tmp_path, world) as loom:
        ref = loom.actor(Interpreter, "one")
        await ref.ask(WORK)
        world.hold("fetch x")
        appends = appends_of(loom, monkeypatch)
        asked = asyncio.create_task(ref.ask(WORK, id="c"))
        while not await loom.store.find_command("interpreter/one", "c"):
            await asyncio.sleep(0)
        world.let_go("fetch x")
        await asked
        assert appends == [TURN[:1], TURN[1:]]


async def test_the_receipt_of_a_tell_is_that_of_its_command(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        ref = loom.actor(Interpreter, "one")
        await ref.ask(WORK)
        sent = [await ref.tell(WORK, id="c"), await ref.tell(WORK, id="c")]
        await ref.ask(WORK, id="c")
        [received] = [each for each in await entries(loom) if each.command_id == "c" and each.kind == TURN[0]]
        assert {(each.sequence, each.position) for each in sent} == {(received.sequence, received.position)}


async def test_what_is_written_from_outside_a_turn_is_an_append_of_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await loom.actor(Interpreter, "one").ask(WORK)
        cell = await loom.actors.cell("interpreter/one")
        first, answer, after = (cell.draft(NotedEntry(text=text), command_id="c") for text in ("1", "2", "3"))
        before = cell.sequence
        cell.write(first)
        answered = asyncio.create_task(cell.write_and_wait(answer))
        await asyncio.sleep(0)
        later = cell.write(after)
        assert (await answered).sequence == before + 2
        assert (await later).sequence == before + 3


@pytest.mark.sqlite("a disk of this machine, which a server does not have")
async def test_a_full_disk_refuses_all_that_a_turn_wrote_without_a_wait(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        ref = loom.actor(Interpreter, "one")
        await ref.ask(WORK)
        before = await kinds(loom, "interpreter/one")
        store: Any = loom.store
        await store._in_thread(
            lambda: store._writer._connection.sqlite().execute("PRAGMA max_page_count = 1").fetchone()
        )
        large = Carry(program=[Do(verb="note", key=f"{number}" * 90) for number in range(60)])
        with pytest.raises(DiskFullError):
            await ref.ask(large, id="large")
        assert await kinds(loom, "interpreter/one") == before
