"""Extensions: what a package brings, how it is found, and that the spine need not know of it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, JsonValue

from loom import Actor, Command, Extension, Loom, LoomConfig
from loom import extension as extensions
from loom.config import Section
from loom.errors import ConfigError, ControlError
from loom.extension import Host, Operation
from loom.operations import Operations
from loom.projections import Projection


class GreetingConfig(Section):
    word: str = "hello"


class Greet(Command[str]):
    name: str


class Greeter(Actor[None]):
    async def execute(self, command: Greet) -> str:
        await self.record_decision(rationale="one greets", outcome={"name": command.name})
        return command.name


class Greeted:
    name = "greeted"
    version = 1
    kinds = frozenset({"decision"})
    schema = "CREATE TABLE greeted (position INTEGER PRIMARY KEY) STRICT"
    tables = ("greeted",)

    def apply(self, recorded: Any, view: sqlite3.Connection) -> None:
        view.execute("INSERT INTO greeted VALUES (?)", (recorded.position,))


class Part:
    def __init__(self, host: Host) -> None:
        section = host.config.sections.get("greeting")
        self.word = section.word if isinstance(section, GreetingConfig) else "hi"
        self.host = host
        self.left = False


class Word(BaseModel):
    name: str


async def _say(part: Part, given: Word) -> JsonValue:
    name: str = await part.host.actor(Greeter, "one").ask(Greet(name=given.name))
    return f"{part.word} {name}"


@contextlib.asynccontextmanager
async def _start(host: Host) -> AsyncIterator[Part]:
    part = Part(host)
    yield part
    part.left = True


GREETING = Extension(
    name="greeting",
    actors=(Greeter,),
    projections=(Greeted(),),
    sections={"greeting": GreetingConfig},
    operations={"say": Operation(Word, _say)},
    start=_start,
)


class Point:
    """An entry point, as an installed package has it."""

    value = "a_package:extension"

    def __init__(self, name: str, loaded: Any) -> None:
        self.name = name
        self._loaded = loaded

    def load(self) -> Any:
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install packages that bring these extensions."""

    def install(**loaded: Any) -> None:
        points = [Point(name, each) for name, each in loaded.items()]
        monkeypatch.setattr(extensions, "entry_points", lambda group: points)
        extensions.installed.cache_clear()

    yield install
    monkeypatch.undo()
    extensions.installed.cache_clear()


async def test_an_extension_brings_an_actor_a_projection_a_section_operations_and_a_part(
    tmp_path: Path, packages: Any
) -> None:
    packages(greeting=GREETING)
    path = tmp_path / "loom.config.yaml"
    path.write_text("data: data\ngreeting: {word: good day}\n")
    async with Loom.open(path, by="mira") as loom:
        part: Part = loom.parts["greeting"]
        assert await Operations(loom).call("greeting.say", {"name": "robin"}) == "good day robin"
        assert len(await loom.queries.fetch("SELECT * FROM greeted", names=["greeted"])) == 1
        with pytest.raises(ControlError, match="operation"):
            await Operations(loom).call("greeting.say", {"nobody": 1})
    assert part.left, "what was started is left before the loom closes"


async def test_an_extension_is_used_where_a_config_names_it_or_fills_in_a_section(
    tmp_path: Path, packages: Any
) -> None:
    packages(greeting=GREETING)
    path = tmp_path / "loom.config.yaml"
    asked = {"": False, "greeting:\n": False, "extensions: [greeting]\n": True, "greeting: {word: x}\n": True}
    for text, used in asked.items():
        path.write_text(f"data: data\n{text}")
        async with Loom.open(path, by="mira") as loom:
            assert ("greeting" in loom.parts) == used, text


async def test_one_that_is_handed_in_and_asked_for_is_there_once(tmp_path: Path, packages: Any) -> None:
    packages(greeting=GREETING)
    async with Loom.open(LoomConfig(data=tmp_path, extensions=("greeting",)), by="mira", extensions=[GREETING]) as loom:
        assert [each.name for each in loom.extensions] == ["greeting"]


@pytest.mark.parametrize(
    ("loaded", "problem"),
    [
        (ImportError("no such thing"), r"extension \[broken\] of \[a_package:extension\] cannot be loaded"),
        ("what", r"is \['what'\]; expected an Extension of that name"),
        (GREETING, "expected an Extension of that name"),
    ],
)
def test_a_package_that_brings_something_else_is_named(packages: Any, loaded: Any, problem: str) -> None:
    packages(broken=loaded)
    with pytest.raises(ConfigError, match=problem):
        extensions.installed()


def test_an_extension_that_is_not_installed_is_an_error_of_the_config(tmp_path: Path, packages: Any) -> None:
    packages(greeting=GREETING)
    with pytest.raises(ConfigError, match=r"extension \[gretting\] of \[extensions\] is not installed; .*\[greeting\]"):
        Loom.open(LoomConfig(data=tmp_path, extensions=("gretting",)), by="mira")


async def test_views_of_an_extension_come_back_when_it_does(tmp_path: Path) -> None:
    config = LoomConfig(data=tmp_path)
    async with Loom.open(config, by="mira", extensions=[GREETING]) as loom:
        await loom.actor(Greeter, "one").ask(Greet(name="a"))
    async with Loom.open(config, by="mira", actors=[Greeter]) as loom:
        await loom.actor(Greeter, "one").ask(Greet(name="b"))
    async with Loom.open(config, by="mira", extensions=[GREETING]) as loom:
        assert len(await loom.queries.fetch("SELECT * FROM greeted", names=["greeted"])) == 2


def test_loom_s_own_wings_come_as_any_package_does() -> None:
    installed = extensions.installed()
    assert "routing" in installed
    projection: Projection = installed["routing"].projections[0]
    assert projection.name == "routing"
