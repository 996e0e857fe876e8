"""Changed code: turns in flight keep the branch that they follow, new ones take the new branch, also after restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from loom.actors import Command
from loom.actors.change_entries import VersionMarkedEntry
from loom.actors.open_turns import branches_in_flight
from loom.errors import ActorFailedError, TurnInterruptedError
from loom.runtime import Loom
from tests.actors.agents import Folding, World
from tests.actors.support import entries, lay_down, opened, until


class Triage(Command[str]):
    """Look two things up; changed code looks another thing up before."""

    again: bool = False


class Before(Folding):
    """The code before the change."""

    actor_type = "triage"

    async def find(self, what: str) -> str:
        found = await self.gather_context(
            system="crm", entity="case", query=what, fetcher=lambda: self.world.call(what, what)
        )
        return str(found)

    async def execute(self, command: Triage) -> str:
        return f"old {await self.find('first')} {await self.find('second')}"


class After(Before):
    """The code after it."""

    actor_type = "triage"
    newest = 2

    async def execute(self, command: Triage) -> str:
        first = await self.find("first")
        if self.version("triage", self.newest) >= 2:
            risk = await self.find("risk")
            return f"new {first} {risk} {self.version('triage', self.newest)}"
        return f"old {first} {await self.find('second')}"


class Cleaned(Before):
    """The code when no turn follows the old branch any more: it does not ask."""

    actor_type = "triage"

    async def execute(self, command: Triage) -> str:
        return f"new {await self.find('first')} {await self.find('risk')} 2"


async def cut_at(directory: Path, agent: type[Before], held: str) -> None:
    """Leave a turn of `agent` that was cut short in its look-up of `held`."""
    world = World()
    world.hold(held)
    async with opened(directory, world, agents=[agent], shutdown_grace_s=0) as loom:
        asking = asyncio.create_task(loom.actor(agent, "one").ask(Triage(), id="c"))
        await world.arrived(held)
    [outcome] = await asyncio.gather(asking, return_exceptions=True)
    assert isinstance(outcome, TurnInterruptedError)


async def finished(directory: Path, agent: type[Before]) -> tuple[str, list[VersionMarkedEntry]]:
    async with opened(directory, agents=[agent]) as loom:
        reply = await loom.actor(agent, "one").ask(Triage(), id="c")
        found = [each.entry for each in await entries(loom, "triage/one")]
        return reply, [each for each in found if isinstance(each, VersionMarkedEntry)]


async def test_a_new_turn_follows_the_newest_version_and_says_so_once(tmp_path: Path) -> None:
    reply, markers = await finished(tmp_path, After)

    assert reply == "new first risk 2"
    assert [(each.change, each.version) for each in markers] == [("triage", 2)]


async def test_a_turn_with_recorded_steps_beyond_the_change_keeps_the_old_branch(tmp_path: Path) -> None:
    """It is cut short after its second look-up, which only the old branch asks for."""
    async with opened(tmp_path / "whole", agents=[Before]) as loom:
        await loom.actor(Before, "one").ask(Triage(), id="c")
        history = await entries(loom, "triage/one")
    await lay_down(tmp_path / "cut", [each for each in history if each.kind != "turn_completed"])

    reply, markers = await finished(tmp_path / "cut", After)

    assert reply == "old first second"
    assert [each.version for each in markers] == [1]


async def test_a_turn_that_has_not_come_to_the_change_takes_the_new_branch(tmp_path: Path) -> None:
    await cut_at(tmp_path, Before, "second")  # its second look-up is not recorded: nothing says which branch it took

    assert (await finished(tmp_path, After))[0] == "new first risk 2"


@pytest.mark.parametrize("lives", [1, 3])
async def test_a_marker_holds_over_restarts_and_newer_versions(tmp_path: Path, lives: int) -> None:
    class Newest(After):
        actor_type = "triage"
        newest = 3

    await cut_at(tmp_path, After, "risk")
    for _ in range(lives - 1):
        await cut_again(tmp_path, Newest)

    reply, markers = await finished(tmp_path, Newest)

    assert reply == "new first risk 2"
    assert [each.version for each in markers] == [2]


async def cut_again(directory: Path, agent: type[Before]) -> None:
    world = World()
    world.hold("risk")
    async with opened(directory, world, agents=[agent], shutdown_grace_s=0) as loom:
        await loom.actors.cell("triage/one")
        await world.arrived("risk")


async def test_code_that_asks_no_more_follows_a_turn_with_a_marker(tmp_path: Path) -> None:
    await cut_at(tmp_path, After, "risk")

    assert (await finished(tmp_path, Cleaned))[0] == "new first risk 2"


async def test_code_without_the_branch_of_a_turn_does_nothing(tmp_path: Path) -> None:
    """A deploy that was rolled back: the turn waits for its code, and goes on with it."""

    class RolledBack(After):
        actor_type = "triage"
        newest = 1

    await cut_at(tmp_path, After, "risk")
    world = World()
    async with opened(tmp_path, world, agents=[RolledBack]) as loom:
        await loom.actors.cell("triage/one")
        stuck = await until(lambda: loom.actors.stuck("triage/one", "c"))
        assert "it follows version 2 of [triage], and its code has version 1 at most" in str(stuck)
        assert world.calls == {}
    async with opened(tmp_path, agents=[After]) as loom:
        assert await loom.actor(After, "one").ask(Triage(), id="c") == "new first risk 2"


async def test_replays_follow_the_recorded_versions(tmp_path: Path) -> None:
    await finished(tmp_path / "old", Before)
    await finished(tmp_path / "new", After)
    for directory in ("old", "new"):
        async with opened(tmp_path / directory, agents=[After]) as loom:
            (verdict,) = [each async for each in loom.replay.verify("triage/one")]
            assert verdict.verdict == "same", (directory, verdict.reason)


@pytest.mark.parametrize(
    ("change", "newest"), [("", 2), (" ", 2), ("x" * 201, 2), ("a\x00", 2), ("triage", 0), ("triage", True)]
)
async def test_a_change_that_cannot_be_one_is_refused(tmp_path: Path, change: str, newest: Any) -> None:
    class Wrong(Folding):
        actor_type = "wrong"

        async def execute(self, command: Triage) -> str:
            return str(self.version(change, newest))

    async with opened(tmp_path, agents=[Wrong]) as loom:
        with pytest.raises(ActorFailedError, match="AdmissionError"):
            await loom.actor(Wrong, "one").ask(Triage())


async def test_branches_that_open_turns_follow_are_counted(tmp_path: Path) -> None:
    class Waiting(After):
        actor_type = "triage"

        async def execute(self, command: Triage) -> str:
            if command.again:
                self.version("triage", self.newest)
            await self.request_approval(approver="vp", reason="please")
            return "never"

    class Old(Waiting):
        actor_type = "triage"
        newest = 1

    async def told(loom: Loom, agent: type[Before], key: str, *, again: bool) -> None:
        await loom.actor(agent, key).tell(Triage(again=again), id=key)
        await until(lambda: (turn := loom.actors.running(f"triage/{key}", key)) is not None and turn.parked)

    async with opened(tmp_path, agents=[Old], shutdown_grace_s=0) as loom:
        await told(loom, Old, "a", again=True)
        await told(loom, Old, "b", again=False)
    async with opened(tmp_path, agents=[Waiting], shutdown_grace_s=0) as loom:
        await told(loom, Waiting, "c", again=True)
        await told(loom, Waiting, "d", again=True)
        found = await branches_in_flight(loom.store)
        assert [(each.version, each.turns, each.example) for each in found] == [
            (None, 1, "b"),
            (1, 1, "a"),
            (2, 2, "c"),
        ]
        await loom.turns.abandon("c", by="alice", reason="over")
        await loom.turns.abandon("a", by="alice", reason="over")
        assert [(each.version, each.turns) for each in await branches_in_flight(loom.store)] == [(None, 1), (2, 1)]
