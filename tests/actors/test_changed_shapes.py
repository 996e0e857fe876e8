"""Shapes that changed: commands and replies that are in the journal are read in the shape of the code at hand."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from loom.actors import Actor, Command
from loom.errors import CommandConflictError, EntryUnreadableError, TurnInterruptedError, TurnStuckError
from tests.actors.agents import Folding, World
from tests.actors.support import opened, until


class Old(Command[str]):
    """A command and a reply as they were: a name in one field, and a text."""

    command_type = "Greet"

    name: str


class Greeted(BaseModel):
    text: str
    polite: bool


class New(Command[Greeted]):
    """As they are: two fields, and an object."""

    command_type = "Greet"
    schema_version: ClassVar[int] = 3
    reply_version: ClassVar[int] = 2

    first: str
    last: str
    title: str

    @classmethod
    def upcast(cls, version: int, payload: dict[str, Any]) -> dict[str, Any]:
        if version == 1:
            first, _, last = payload["name"].partition(" ")
            return {"first": first, "last": last}
        return {**payload, "title": ""}

    @classmethod
    def upcast_reply(cls, version: int, reply: Any) -> Any:
        return {"text": reply, "polite": False}


class NoStep(Command[str]):
    """As they are, without the steps."""

    command_type = "Greet"
    schema_version: ClassVar[int] = 2
    reply_version: ClassVar[int] = 2

    first: str


class Before(Folding):
    actor_type = "greeter"

    async def execute(self, command: Old) -> str:
        return f"hello {await self.gather_context(**self.look_up(command.name))}"

    def look_up(self, what: str) -> dict[str, Any]:
        return {
            "system": "crm",
            "entity": "name",
            "query": what,
            "fetcher": lambda: self.world.call("name", what),
        }


class After(Before):
    actor_type = "greeter"

    async def execute(self, command: New) -> Greeted:  # type: ignore[override]
        found = await self.gather_context(**self.look_up(f"{command.first} {command.last}"))
        return Greeted(text=f"hello {found}", polite=bool(command.title))


class Stepless(Before):
    actor_type = "greeter"

    async def execute(self, command: NoStep) -> str:  # type: ignore[override]
        return command.first


class Asking(Folding):
    """Asks the greeter, then is cut short."""

    actor_type = "asking"

    async def execute(self, command: Question) -> str:
        greeter: Any = command.agent()
        reply = await self.ask(greeter, "g", command.sent())
        await self.world.call("asked")
        return str(getattr(reply, "text", reply))


class Question(Command[str]):
    new: bool = False

    def agent(self) -> type[Actor[Any]]:
        return AGENTS[0]

    def sent(self) -> Any:
        return New(first="Ada", last="L", title="") if AGENTS[0] is After else Old(name="Ada L")


AGENTS: list[type[Actor[Any]]] = [Before]


async def test_a_recorded_command_and_reply_are_read_in_the_present_shape(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Before]) as loom:
        assert await loom.actor(Before, "one").ask(Old(name="Ada Lovelace"), id="c") == "hello Ada Lovelace"
    async with opened(tmp_path, agents=[After]) as loom:
        same = New(first="Ada", last="Lovelace", title="")
        assert await loom.actor(After, "one").ask(same, id="c") == Greeted(text="hello Ada Lovelace", polite=False)
        with pytest.raises(CommandConflictError):
            await loom.actor(After, "one").ask(New(first="Ada", last="King", title=""), id="c")
        (verdict,) = [each async for each in loom.replay.verify("greeter/one")]
        assert verdict.verdict == "same", verdict.reason
        fresh = await loom.actor(After, "one").ask(New(first="A", last="B", title="Dr"), id="d")
        assert fresh == Greeted(text="hello A B", polite=True)
    async with opened(tmp_path, agents=[After]) as loom:
        assert await loom.actor(After, "one").ask(New(first="A", last="B", title="Dr"), id="d") == fresh


async def test_a_turn_in_flight_goes_on_with_its_command_in_the_present_shape(tmp_path: Path) -> None:
    await cut(tmp_path, Before, Old(name="Ada Lovelace"), held="name")
    async with opened(tmp_path, agents=[After]) as loom:
        same = New(first="Ada", last="Lovelace", title="")
        assert (await loom.actor(After, "one").ask(same, id="c")).text == "hello Ada Lovelace"


async def test_a_turn_whose_command_has_no_step_waits_for_a_person(tmp_path: Path) -> None:
    await cut(tmp_path, Before, Old(name="Ada"), held="name")
    async with opened(tmp_path, agents=[Stepless]) as loom:
        await loom.actors.cell("greeter/one")
        stuck = await until(lambda: loom.actors.stuck("greeter/one", "c"))
        assert isinstance(stuck, TurnStuckError)
        assert "[Greet] has no step from version [1] to [2]" in str(stuck)
        [found] = [each async for each in loom.replay.check()]
        assert found.verdict == "cannot_continue"
    async with opened(tmp_path, agents=[Before]) as loom:
        assert await loom.actor(Before, "one").ask(Old(name="Ada"), id="c") == "hello Ada"


async def test_an_asked_actors_reply_in_the_journal_is_read_in_the_present_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    world.hold("asked")
    async with opened(tmp_path, world, agents=[Before, Asking], shutdown_grace_s=0) as loom:
        asking = asyncio.create_task(loom.actor(Asking, "one").ask(Question(), id="c"))
        await world.arrived("asked")
    await asyncio.gather(asking, return_exceptions=True)
    monkeypatch.setattr("tests.actors.test_changed_shapes.AGENTS", [After])
    async with opened(tmp_path, agents=[After, Asking]) as loom:
        assert await loom.actor(Asking, "one").ask(Question(), id="c") == "hello Ada L"


def test_a_step_that_is_missing_is_named() -> None:
    with pytest.raises(EntryUnreadableError, match=r"version \[1\] to \[2\].*NoStep\.upcast"):
        NoStep.upcast(1, {})
    with pytest.raises(EntryUnreadableError, match=r"NoStep\.upcast_reply"):
        NoStep.upcast_reply(1, "x")


async def cut(directory: Path, agent: Any, command: Command[Any], *, held: str) -> None:
    world = World()
    world.hold(held)
    async with opened(directory, world, agents=[agent], shutdown_grace_s=0) as loom:
        asking = asyncio.create_task(loom.actor(agent, "one").ask(command, id="c"))
        await world.arrived(held)
    outcomes: Any = await asyncio.gather(asking, return_exceptions=True)
    assert isinstance(outcomes[0], TurnInterruptedError)
