"""A decision says how far the control journals were folded by the process that made it, where several write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loom import Actor, Command, Loom
from loom.decisions.entries import DecisionJournalEntry
from loom.journal.sqlite import SqliteStore
from tests.journal.processes import Node


class Decide(Command[str]):
    pass


class Desk(Actor):
    async def execute(self, command: Decide) -> str:
        return await self.record_decision(rationale="it is asked for", outcome={"done": True})


class SharedLoom(Loom):
    """A loom that believes that others write its journal too."""

    async def open_store(self) -> Any:
        store = await super().open_store()
        assert isinstance(store, SqliteStore)
        return Node(store)


async def _decide(loom: Loom, key: str) -> DecisionJournalEntry:
    await loom.actor(Desk, key).ask(Decide())
    entries = [each.entry async for each in loom.store.read(f"{Desk.actor_type}/{key}")]
    return next(each for each in entries if isinstance(each, DecisionJournalEntry))


@pytest.mark.sqlite("a file that one process writes, and a store made of it that several do")
async def test_a_decision_says_which_suspensions_its_process_knew_of(tmp_path: Path) -> None:
    source = f"sqlite:////{tmp_path}/journal.db"
    async with SharedLoom.open(source, actors=[Desk], by="ops") as loom:
        assert (await _decide(loom, "a")).controls == {"loom/standings": 0}
        await loom.standings.suspend("desk", by="ada", reason="it answers nonsense")
        assert (await _decide(loom, "b")).controls == {"loom/standings": 1}
    async with Loom.open(source, actors=[Desk], by="ops") as loom:
        assert isinstance(loom.store, SqliteStore)
        assert (await _decide(loom, "c")).controls is None
