"""What fails is rebuilt from its journal, what fails too often is stopped, what idles is let go."""

from __future__ import annotations

import asyncio
from collections.abc import Sized
from pathlib import Path
from typing import Any

import pytest

from loom.actors import Actor, Command
from loom.errors import ActorFailedError, ActorStoppedError
from loom.journal import Entry
from loom.runtime import Loom
from tests.actors.agents import Carry, Counted, Do, Folding, Interpreter, Lend, Lender, NotedEntry, World
from tests.actors.support import entries, kinds, opened, until


class Spoil(Command[None]):
    """Note something, spoil the state in memory, and fail."""

    note: str
    hold: str | None = None
    fails: bool = True


class Clumsy(Folding):
    async def execute(self, command: Spoil) -> None:
        await self.record(NotedEntry(text=command.note))
        if command.hold is not None:
            await self.world.call(command.hold)
        if command.fails:
            self.state.notes.append("not in any journal")
            raise RuntimeError(command.note)


async def test_what_a_failed_turn_wrote_stands_and_its_caller_is_told(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Clumsy]) as loom:
        with pytest.raises(ActorFailedError, match=r"failed on \[Spoil\] with \[RuntimeError: one\]") as caught:
            await loom.actor(Clumsy, "one").ask(Spoil(note="one"))
        assert caught.value.type_name == "RuntimeError"
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert await kinds(loom, "clumsy/one") == ["command_received", "test.actors.noted", "turn_failed"]


async def test_a_failed_actor_is_rebuilt_from_its_journal(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Clumsy]) as loom:
        with pytest.raises(ActorFailedError):
            await loom.actor(Clumsy, "one").ask(Spoil(note="one"))
        cell = loom.actors._cells["clumsy/one"]
        assert cell.state_ref.state.notes == ["one"]
        assert cell.state_ref.state == await loom.replay.state("clumsy/one")


async def test_entries_that_come_in_while_it_is_rebuilt_are_not_missed(tmp_path: Path) -> None:
    world = World()
    world.hold("gate")
    async with opened(tmp_path, world, agents=[Clumsy], max_failures=100) as loom:
        ref = loom.actor(Clumsy, "one")
        failing = asyncio.create_task(ref.ask(Spoil(note="held", hold="gate")))
        await world.arrived("gate")
        world.let_go("gate")
        others: list[asyncio.Task[Any]] = []
        while not failing.done():  # received all the time while the actor fails and is rebuilt
            await asyncio.sleep(0.0005)
            others.append(asyncio.create_task(ref.tell(Spoil(note=f"{len(others)}", fails=False))))
        await asyncio.gather(failing, *others, return_exceptions=True)
        await until(lambda: not loom.actors._cells["clumsy/one"].turns)
        assert loom.actors._cells["clumsy/one"].state_ref.state == await loom.replay.state("clumsy/one")


async def test_too_many_failures_in_a_window_stop_the_actor_until_it_is_restarted(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Clumsy, Lender], max_failures=2) as loom:
        ref = loom.actor(Clumsy, "one")
        for number in range(3):
            with pytest.raises(ActorFailedError):
                await ref.ask(Spoil(note=f"{number}"))
        with pytest.raises(ActorStoppedError, match=r"failed \[3\] times within \[60\] s; expected at most \[2\]"):
            await ref.ask(Spoil(note="refused"))
        assert (await kinds(loom, "clumsy/one")).count("command_received") == 3
        assert await loom.actor(Lender, "one").ask(Lend(key="k")) == "lent k"  # others are not touched
        await ref.restart()
        with pytest.raises(ActorFailedError):
            await ref.ask(Spoil(note="again"))


async def test_commands_that_wait_for_an_actor_that_is_stopped_are_resumed_when_it_is_restarted(tmp_path: Path) -> None:
    world = World()
    async with opened(tmp_path, world, max_failures=1) as loom:
        ref = loom.actor(Lender, "one")
        asks = [asyncio.create_task(ref.ask(Lend(key=f"{n}", fails=n < 2), id=f"{n}")) for n in range(4)]
        outcomes = await asyncio.gather(*asks, return_exceptions=True)
        assert [type(each) for each in outcomes] == [ActorFailedError] * 2 + [ActorStoppedError] * 2
        await ref.restart()
        assert [await ref.ask(Lend(key=f"{n}"), id=f"{n}") for n in (2, 3)] == ["lent 2", "lent 3"]
        assert world.calls == {f"lend {n}": 1 for n in range(4)}


async def test_a_parked_turn_of_an_actor_that_is_stopped_goes_on_when_it_is_restarted(tmp_path: Path) -> None:
    async with opened(tmp_path, max_failures=1) as loom:
        ref = loom.actor(Interpreter, "one")
        approve = Carry(program=[Do(verb="approve", key="vp")])
        asking = asyncio.create_task(ref.ask(approve, id="c", by="bob"))
        await until(lambda: _parked(loom))
        broken = Carry(program=[Do(verb="decide", key="no type is as long as this one" * 10)])
        for _ in range(2):
            with pytest.raises(ActorFailedError):
                await ref.ask(broken)
        with pytest.raises(ActorStoppedError):
            await asking
        (request,) = await loom.approvals.pending()
        await loom.approvals.grant(request.approval_id, by="alice")  # journaled, though nobody is awake to hear it
        await ref.restart()
        assert await ref.ask(approve, id="c") == {"vp": True}


async def _parked(loom: Loom) -> bool:
    turn = loom.actors.running("interpreter/one", "c")
    return turn is not None and turn.parked


class Brittle(Actor[Counted]):
    """Its `apply` cannot take what it notes itself."""

    broken = True

    async def execute(self, command: Spoil) -> None:
        try:
            await self.record(NotedEntry(text=command.note))
        except Exception:
            await self.record(NotedEntry(text="went on"))

    def apply(self, entry: Entry) -> None:
        if isinstance(entry, NotedEntry) and self.broken:
            raise ValueError("cannot fold this")


async def test_an_apply_that_raises_stops_the_actor_and_loses_no_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, agents=[Brittle]) as loom:
        with pytest.raises(ActorStoppedError, match=r"Brittle\.apply\] raised .*cannot fold this.* on sequence \[2\]"):
            await loom.actor(Brittle, "one").ask(Spoil(note="n"), id="c")
        await until(lambda: _written(loom, "brittle/one", 2))
        assert await kinds(loom, "brittle/one") == ["command_received", "test.actors.noted"]
        with pytest.raises(ActorStoppedError):
            await loom.actor(Brittle, "one").restart()
    async with opened(tmp_path, agents=[Brittle]) as loom:
        with pytest.raises(ActorStoppedError, match="correct apply"):
            await loom.actor(Brittle, "one").ask(Spoil(note="n"), id="c")
        monkeypatch.setattr(Brittle, "broken", False)
        await loom.actor(Brittle, "one").restart()
        await loom.actor(Brittle, "one").ask(Spoil(note="n"), id="c")
        assert (await kinds(loom, "brittle/one"))[-1] == "turn_completed"


async def _written(loom: Loom, journal: str, count: int) -> bool:
    return len(await entries(loom, journal)) == count


class Unmakeable(Actor[None]):
    def __init__(self, world: World) -> None:
        world.calls["made"] += 1
        raise OSError("no database")

    async def execute(self, command: Spoil) -> None:
        return None


async def test_an_actor_that_cannot_be_made_says_so_and_is_not_tried_for_ever(tmp_path: Path) -> None:
    world = World()
    async with opened(tmp_path, world, agents=[Unmakeable]) as loom:
        for _ in range(3):
            with pytest.raises(ActorStoppedError, match=r"cannot be made \[OSError: no database\]"):
                await loom.actor(Unmakeable, "one").ask(Spoil(note="n"))
        assert world.calls["made"] == 1


async def test_an_idle_actor_is_let_go_and_comes_back_as_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path, idle_after_s=0.01) as loom:
        ref = loom.actor(Interpreter, "one")
        await ref.ask(Carry(program=[Do(verb="note", key="a")]))
        await until(lambda: loom.actors.awake == 0)
        reply = await ref.ask(Carry(program=[Do(verb="note", key="b")], states=True))
        assert reply["b state"]["notes"] == ["a", "b"]


async def test_an_actor_with_a_parked_turn_is_not_let_go(tmp_path: Path) -> None:
    async with opened(tmp_path, idle_after_s=0.01) as loom:
        asking = asyncio.create_task(
            loom.actor(Interpreter, "one").ask(Carry(program=[Do(verb="approve", key="vp")]), id="c", by="bob")
        )
        await until(lambda: _parked(loom))
        await loom.actor(Lender, "one").ask(Lend(key="k"))
        await until(lambda: "lender/one" not in loom.actors._cells)
        assert "interpreter/one" in loom.actors._cells
        (request,) = await loom.approvals.pending()
        await loom.approvals.grant(request.approval_id, by="alice")
        assert await asking == {"vp": True}


async def test_actors_that_were_let_go_leave_nothing_behind(tmp_path: Path) -> None:
    async with opened(tmp_path, idle_after_s=0.01) as loom:
        for number in range(20):
            with pytest.raises(ActorFailedError):
                await loom.actor(Lender, f"{number}").ask(Lend(key="k", fails=True), id=f"{number}")
        await until(lambda: loom.actors.awake == 0)
        system = loom.actors
        held: list[Sized] = [
            system._cells,
            system._waking,
            system.stopped,
            system.waker._to_revive,
            system.waker.without_code,
            system._still_writing,
        ]
        assert [len(each) for each in held] == [0] * len(held)
        assert len(system.messenger._lock) == 0


async def test_commands_sent_while_actors_come_and_go_all_have_their_reply(tmp_path: Path) -> None:
    async with opened(tmp_path, idle_after_s=0.01) as loom:

        async def one(number: int) -> None:
            for step in range(5):
                assert await loom.actor(Lender, f"{number % 3}").ask(Lend(key=f"{number}-{step}"))
                await asyncio.sleep(0.01 if number % 2 else 0)

        await asyncio.gather(*(one(number) for number in range(9)))
        ends = [each for each in await entries(loom) if each.kind == "turn_completed"]
        assert len(ends) == 45


async def test_turns_of_one_actor_do_not_wait_for_those_of_another(tmp_path: Path) -> None:
    world = World()
    world.hold("lend slow")
    async with opened(tmp_path, world) as loom:
        slow = asyncio.create_task(loom.actor(Lender, "slow").ask(Lend(key="slow")))
        await world.arrived("lend slow")
        assert await loom.actor(Lender, "quick").ask(Lend(key="quick")) == "lent quick"
        world.let_go("lend slow")
        await slow
