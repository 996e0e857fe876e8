"""Law 7, for `apply`: it folds what the journal holds and does no more, so the state is the same live and rebuilt."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from loom.errors import ActorStoppedError
from loom.journal import Entry
from tests.actors.agents import Carry, Case, Do, Folding, Interpreter, NotedEntry, Program, discount
from tests.actors.support import Granting, kinds, opened
from tests.actors.test_resume import programs


async def live_and_rebuilt(directory: Path, program: Program) -> None:
    async with opened(directory, approver=Granting()) as loom:
        await loom.actor(Interpreter, "one").ask(Carry(program=program), by="bob")
        cell = loom.actors._cells["interpreter/one"]
        cell.fold(cell.sequence)
        live = cell.state_ref.state
        assert live == await loom.replay.state("interpreter/one")
    async with opened(directory, snapshot_every=1) as loom:
        assert live == await loom.replay.state("interpreter/one")


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(programs())
def test_the_state_folded_live_is_the_state_folded_from_the_journal(program: Program) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(live_and_rebuilt(Path(directory), program))


class Deciding(Folding):
    """Asks its policy while it folds, which would write to the journal that it is folding."""

    policy = discount

    async def execute(self, command: Carry) -> dict[str, Any]:
        await self.record(NotedEntry(text="n"))
        return {}

    def apply(self, entry: Entry) -> None:
        if isinstance(entry, NotedEntry):
            self.evaluate(Case(percent=1))


async def test_a_verb_cannot_be_called_within_apply(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Deciding]) as loom:
        with pytest.raises(ActorStoppedError, match=r"\[evaluate\] of \[Deciding\] was called from apply\(\)"):
            await loom.actor(Deciding, "one").ask(Carry(program=[Do(verb="note", key="n")]))
        await loom.store.head("deciding/one")
        assert "evaluated" not in await kinds(loom, "deciding/one")
