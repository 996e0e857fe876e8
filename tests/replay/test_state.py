"""Rebuilding a state: after all of a journal, after any entry of it, and always the same as it was live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loom.errors import ActorFailedError, InvalidNameError, JournalNotFoundError, UnknownActorError
from loom.journal import Recorded
from loom.runtime import Loom
from tests.actors.agents import Carry, Do, Interpreter, Lend, Lender
from tests.actors.support import entries, opened


async def noted(loom: Loom, *texts: str) -> list[dict[str, Any]]:
    """Note texts, each in a turn of its own, and return the states that the turns saw."""
    seen = []
    for text in texts:
        command = Carry(program=[Do(verb="note", key=text)], states=True)
        seen.append((await loom.actor(Interpreter, "one").ask(command))[f"{text} state"])
    return seen


async def test_the_state_is_that_of_the_actor_after_every_entry(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        live = await noted(loom, "a", "b", "c")
        states = [
            (each.recorded.sequence, each.state.model_dump(mode="json"))
            async for each in loom.replay.states("interpreter/one")
        ]
        recorded = await entries(loom, "interpreter/one")
        assert [sequence for sequence, _ in states] == [each.sequence for each in recorded]
        at_notes = [states[each.sequence - 1][1] for each in recorded if each.kind == "test.actors.noted"]
        assert at_notes == live


async def test_the_state_until_a_sequence_is_the_one_after_that_entry(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await noted(loom, "a", "b")
        assert (await loom.replay.state("interpreter/one", until=1)).notes == []
        assert (await loom.replay.state("interpreter/one", until=2)).notes == ["a"]
        assert (await loom.replay.state("interpreter/one", until=5)).notes == ["a", "b"]
        assert (await loom.replay.state("interpreter/one")).notes == ["a", "b"]
        assert len([each async for each in loom.replay.states("interpreter/one", until=4)]) == 4


async def test_rebuilding_runs_nothing_and_writes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await noted(loom, "a")
        with pytest.raises(ActorFailedError):
            await loom.actor(Lender, "one").ask(Lend(key="k", fails=True))
        before = [_bytes(each) for each in await entries(loom)]
        await loom.replay.state("interpreter/one")
        await loom.replay.state("lender/one")
        assert [_bytes(each) for each in await entries(loom)] == before


async def test_a_journal_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        with pytest.raises(JournalNotFoundError, match=r"journal \[interpreter/nobody\] has no entries"):
            await loom.replay.state("interpreter/nobody")
        with pytest.raises(UnknownActorError, match=r"actor type \[stranger\] has no code"):
            await loom.replay.state("stranger/one")
        with pytest.raises(InvalidNameError):
            await loom.replay.state("no slash")


async def test_the_state_is_rebuilt_without_views_and_without_snapshots(tmp_path: Path) -> None:
    async with opened(tmp_path, snapshot_every=2) as loom:
        live = await noted(loom, *"abcdef")
    for file in (tmp_path / "default").glob("*.views.db*"):
        file.unlink()
    async with opened(tmp_path, snapshot_every=2) as loom:
        state = await loom.replay.state("interpreter/one")
        assert state.notes == live[-1]["notes"]
        (again,) = await noted(loom, "g")
        assert again["notes"] == [*"abcdefg"]


def _bytes(recorded: Recorded) -> tuple[Any, ...]:
    return recorded.position, recorded.body, recorded.salt, recorded.entry_hash
