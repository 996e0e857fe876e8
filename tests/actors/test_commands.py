"""Asking and telling: each command id once, bounded mailboxes, and callers that may go away at any time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from loom.actors import Actor, Command
from loom.errors import (
    ActorFailedError,
    AdmissionError,
    AskTimeoutError,
    CommandConflictError,
    DuplicateKindError,
    InvalidNameError,
    LoomClosedError,
    MailboxFullError,
    NoTurnError,
)
from loom.journal.kinds import CommandReceivedEntry
from tests.actors.agents import Carry, Do, Folding, Interpreter, Lend, Lender, World
from tests.actors.support import entries, kinds, opened, until

FETCH = Carry(program=[Do(verb="fetch", key="x")])


class Held(Command[str]):
    """Wait in the world until the test lets go."""

    name: str


class Holder(Folding):
    async def execute(self, command: Held) -> str:
        await self.gather_context(
            system="test", entity="gate", query=command.name, fetcher=lambda: self.world.call(command.name)
        )
        return command.name


AGENTS = (Holder, Interpreter, Lender)


async def test_a_repeated_command_id_returns_the_recorded_reply_and_runs_nothing(tmp_path: Path) -> None:
    world = World()
    async with opened(tmp_path, world) as loom:
        first = await loom.actor(Interpreter, "one").ask(FETCH, id="same")
        again = await loom.actor(Interpreter, "one").ask(FETCH, id="same")
        before = await kinds(loom, "interpreter/one")
    async with opened(tmp_path, world) as loom:
        assert await loom.actor(Interpreter, "one").ask(FETCH, id="same") == first == again
        assert await kinds(loom, "interpreter/one") == before
    assert world.calls == {"fetch x": 1}


async def test_a_repeated_command_id_returns_the_recorded_failure_in_the_same_words(tmp_path: Path) -> None:
    told = []
    for _ in range(2):
        async with opened(tmp_path) as loom:
            for _ in range(2):
                with pytest.raises(ActorFailedError) as caught:
                    await loom.actor(Lender, "one").ask(Lend(key="k", fails=True), id="same")
                told.append((str(caught.value), caught.value.type_name))
            assert (await kinds(loom, "lender/one")).count("turn_failed") == 1
    assert set(told) == {(told[0][0], "ValueError")}


async def test_a_repeated_command_id_attaches_to_the_turn_in_progress(tmp_path: Path) -> None:
    world = World()
    world.hold("gate")
    async with opened(tmp_path, world, agents=AGENTS) as loom:
        ref = loom.actor(Holder, "one")
        asks = [asyncio.create_task(ref.ask(Held(name="gate"), id="same")) for _ in range(5)]
        await world.arrived("gate")
        told = await ref.tell(Held(name="gate"), id="same")
        world.let_go("gate")
        assert await asyncio.gather(*asks) == ["gate"] * 5
        assert (told.command_id, told.sequence) == ("same", 1)
        assert world.calls == {"gate": 1}


async def test_many_with_one_command_id_at_once_run_one_turn(tmp_path: Path) -> None:
    world = World()
    async with opened(tmp_path, world) as loom:
        ref = loom.actor(Interpreter, "one")
        replies = await asyncio.gather(*(ref.ask(FETCH, id="same") for _ in range(50)))
        assert replies == [{"x": {"key": "x"}}] * 50
        assert world.calls == {"fetch x": 1}
        assert len(loom.actors.messenger._lock) == 0


async def test_a_repeated_command_id_with_other_contents_is_a_conflict(tmp_path: Path) -> None:
    world = World()
    world.hold("gate")
    async with opened(tmp_path, world, agents=AGENTS) as loom:
        ref = loom.actor(Holder, "one")
        running = asyncio.create_task(ref.ask(Held(name="gate"), id="same"))
        await world.arrived("gate")
        with pytest.raises(CommandConflictError, match=r"came before with \[Held\]"):
            await ref.ask(Held(name="other"), id="same")
        world.let_go("gate")
        await running
        with pytest.raises(CommandConflictError, match="use a new id"):
            await ref.tell(Held(name="other"), id="same")


class Anything(Command[Any]):
    value: Any = None


class Echo(Actor[None]):
    async def execute(self, command: Anything) -> Any:
        return command.value


@pytest.mark.parametrize("other", [True, 1.0, "1", [1], None])
async def test_contents_are_compared_as_json_and_not_as_python_compares(tmp_path: Path, other: Any) -> None:
    async with opened(tmp_path, agents=[Echo]) as loom:
        ref = loom.actor(Echo, "one")
        assert await ref.ask(Anything(value=1), id="same") == 1
        with pytest.raises(CommandConflictError):
            await ref.ask(Anything(value=other), id="same")


async def test_ask_times_out_while_the_turn_goes_on(tmp_path: Path) -> None:
    world = World()
    world.hold("gate")
    async with opened(tmp_path, world, agents=AGENTS) as loom:
        ref = loom.actor(Holder, "one")
        with pytest.raises(AskTimeoutError, match=r"ask again with id \[same\]"):
            await ref.ask(Held(name="gate"), id="same", timeout_s=0.01)
        world.let_go("gate")
        assert await ref.ask(Held(name="gate"), id="same") == "gate"
        assert world.calls == {"gate": 1}


async def test_a_caller_that_is_cancelled_loses_nothing(tmp_path: Path) -> None:
    world = World()
    world.hold("gate")
    async with opened(tmp_path, world, agents=AGENTS) as loom:
        ref = loom.actor(Holder, "one")
        asking = asyncio.create_task(ref.ask(Held(name="gate"), id="same"))
        await world.arrived("gate")
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        world.let_go("gate")
        assert await ref.ask(Held(name="gate"), id="same") == "gate"


@pytest.mark.parametrize("rounds", range(0, 24, 2))
async def test_a_caller_cancelled_after_any_number_of_rounds_leaves_all_or_nothing(tmp_path: Path, rounds: int) -> None:
    """Cancel the caller ever later: whatever it had come to, asking again gives the reply, from one turn."""
    world = World()
    async with opened(tmp_path, world) as loom:
        ref = loom.actor(Interpreter, "one")
        asking = asyncio.create_task(ref.ask(FETCH, id="same"))
        for _ in range(rounds):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert await ref.ask(FETCH, id="same") == {"x": {"key": "x"}}
        assert (await kinds(loom, "interpreter/one")).count("command_received") == 1
        assert world.calls == {"fetch x": 1}


async def test_a_full_mailbox_refuses_and_journals_nothing(tmp_path: Path) -> None:
    world = World()
    world.hold("gate")
    async with opened(tmp_path, world, agents=AGENTS, mailbox_size=2) as loom:
        ref = loom.actor(Holder, "one")
        asks = [asyncio.create_task(ref.ask(Held(name="gate"), id=f"{n}")) for n in range(3)]
        await world.arrived("gate")
        await until(lambda: len(loom.actors._cells["holder/one"]._mailbox) == 2)
        with pytest.raises(MailboxFullError, match=r"holds \[2\] commands; expected fewer than \[2\]"):
            await ref.ask(Held(name="gate"), id="too many")
        world.let_go("gate")
        assert await asyncio.gather(*asks) == ["gate"] * 3
        assert "too many" not in {each.command_id for each in await entries(loom, "holder/one")}


async def test_commands_of_one_actor_run_one_at_a_time_in_order(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        ref = loom.actor(Interpreter, "one")
        await asyncio.gather(*(ref.ask(FETCH, id=f"{n}") for n in range(10)))
        recorded = await entries(loom, "interpreter/one")
        received = [each.command_id for each in recorded if each.kind == "command_received"]
        gathered = [each.command_id for each in recorded if each.kind == "context_gathered"]
        completed = [each.command_id for each in recorded if each.kind == "turn_completed"]
        assert received == gathered == completed
        last = ""
        for each in recorded:
            if each.kind in ("context_gathered", "turn_completed"):
                assert each.kind == ("context_gathered" if last != "context_gathered" else "turn_completed")
                last = each.kind


@pytest.mark.parametrize("key", ["", "a/b", "a\nb", "a\x00b", " a", "x" * 201, "\ud800", "a\u202eb"])
async def test_a_key_that_is_no_name_is_refused(tmp_path: Path, key: str) -> None:
    async with opened(tmp_path) as loom:
        with pytest.raises(InvalidNameError, match="expected"):
            loom.actor(Interpreter, key)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "\ud800", "a\x00b", 2**53, "x" * 50_000_000], ids=lambda v: repr(v)[:20]
)
async def test_a_command_that_cannot_be_journaled_is_refused_and_leaves_nothing(tmp_path: Path, value: Any) -> None:
    async with opened(tmp_path, agents=[Echo]) as loom:
        with pytest.raises(AdmissionError):
            await loom.actor(Echo, "one").ask(Anything(value=value))
        assert await entries(loom, "echo/one") == []
        assert await loom.actor(Echo, "one").ask(Anything(value=1)) == 1


async def test_a_command_id_that_is_no_name_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Echo]) as loom:
        for bad in ("a\nb", "x" * 600, "\ud800"):
            with pytest.raises(AdmissionError):
                await loom.actor(Echo, "one").ask(Anything(value=1), id=bad)
        assert await entries(loom, "echo/one") == []


class Basket(Command[list[str]]):
    things: list[str]


class Shopper(Actor[None]):
    def __init__(self, world: World) -> None:
        self.world = world

    async def execute(self, command: Basket) -> list[str]:
        await self.gather_context(system="test", entity="gate", query="q", fetcher=lambda: self.world.call("gate", []))
        return command.things


async def test_what_the_sender_changes_later_does_not_reach_the_turn(tmp_path: Path) -> None:
    world = World()
    world.hold("gate")
    async with opened(tmp_path, world, agents=[Shopper]) as loom:
        command = Basket(things=["apple"])
        asking = asyncio.create_task(loom.actor(Shopper, "one").ask(command))
        await world.arrived("gate")
        command.things.append("stolen pear")
        world.let_go("gate")
        assert await asking == ["apple"]


class Whatever(Command):  # type: ignore[type-arg]
    """A command that does not say what its reply is."""


class Wrong(Command[int]):
    """A command whose actor replies with something else."""


class Loose(Actor[None]):
    async def execute(self, command: Whatever | Wrong) -> Any:
        return {"free": "form"} if isinstance(command, Whatever) else "no integer"


async def test_a_reply_may_be_anything_where_the_command_does_not_say(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Loose]) as loom:
        assert await loom.actor(Loose, "one").ask(Whatever()) == {"free": "form"}


async def test_a_reply_of_another_type_fails_the_turn(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Loose]) as loom:
        with pytest.raises(ActorFailedError, match=r"expected .*int") as caught:
            await loom.actor(Loose, "one").ask(Wrong())
        assert caught.value.type_name == "AdmissionError"
        assert await kinds(loom, "loose/one") == ["command_received", "turn_failed"]


async def test_replies_to_several_callers_are_not_one_object(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Echo]) as loom:
        ref = loom.actor(Echo, "one")
        first, second = await asyncio.gather(
            *(ref.ask(Anything(value={"deep": {"er": []}}), id="same") for _ in range(2))
        )
        first["deep"]["er"].append("mine")
        assert second == {"deep": {"er": []}}


async def test_a_closed_loom_takes_no_commands(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Echo]) as loom:
        ref = loom.actor(Echo, "one")
    with pytest.raises(LoomClosedError):
        await ref.ask(Anything(value=1))


class Meddler(Actor[None]):
    """Uses a handle where it should use its own verb."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def execute(self, command: Whatever) -> str:
        try:
            await self.world.ref.ask(Anything(value=1))  # type: ignore[attr-defined]
        except NoTurnError as error:
            return str(error)
        return "it went through"


async def test_a_handle_used_within_a_turn_is_refused_as_it_would_not_be_recorded(tmp_path: Path) -> None:
    world = World()
    async with opened(tmp_path, world, agents=[Meddler, Echo]) as loom:
        world.ref = loom.actor(Echo, "one")  # type: ignore[attr-defined]
        assert "write self.ask(Echo, 'one', …)" in await loom.actor(Meddler, "one").ask(Whatever())


class Twin(Actor[None]):
    actor_type = "echo"

    async def execute(self, command: Whatever) -> None:
        return None


async def test_two_classes_of_one_actor_type_are_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Echo]) as loom:
        with pytest.raises(DuplicateKindError, match=r"actor type \[echo\] is claimed by"):
            await loom.actor(Twin, "one").ask(Whatever())


async def test_the_requester_and_the_correlation_go_along(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        program = [Do(verb="ask", key="a"), Do(verb="tell", key="t")]
        await loom.actor(Interpreter, "one").ask(Carry(program=list(program)), id="root", by="somebody")
        await until(lambda: _ended(loom, "lender/told-t"))
        for journal in ("lender/asked-a", "lender/told-t"):
            first = (await entries(loom, journal))[0].entry
            assert isinstance(first, CommandReceivedEntry)
            assert (first.by, first.correlation_id, first.causation_id) == ("somebody", "root", "root")


async def _ended(loom: Any, journal: str) -> bool:
    return "turn_completed" in await kinds(loom, journal)


class Dated(BaseModel):
    model_config = ConfigDict(strict=True)

    when: str


class StrictCommand(Command[Dated]):
    model_config = ConfigDict(strict=True, frozen=True)

    pair: tuple[int, str]


class Strict(Actor[None]):
    async def execute(self, command: StrictCommand) -> Dated:
        return Dated(when=f"{command.pair!r}")


async def test_strict_commands_survive_the_journal(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Strict]) as loom:
        assert (await loom.actor(Strict, "one").ask(StrictCommand(pair=(1, "a")))).when == "(1, 'a')"
