"""Tables in the config: registered when a loom opens, named by actors, changed by editing the file."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from loom import Actor, Command, Loom
from loom.config import load_config
from loom.errors import ConfigError, PolicyNotRegisteredError
from loom.policies.tables import Table
from loom.workspace import sections
from tests.cli.support import invoke

TABLE = """\
  - format: loom.table/1
    name: discount
    facts: {percent: {type: integer}}
    parameters: {limit: {type: integer, value: LIMIT, min: 0, max: 40}}
    rules: [{name: within, when: [[percent, "<=", {param: limit}]], effect: allow, why: "it is small"}]
    otherwise: {name: over, effect: deny, why: "it is large"}
"""


class Ask(Command[bool]):
    percent: int


class Seller(Actor[None]):
    actor_type = "configured-seller"
    policy = "discount"

    async def execute(self, command: Ask) -> bool:
        said = self.evaluate({"percent": command.percent})
        await self.record_decision(rationale=said.why, outcome={"granted": said.allowed})
        return said.allowed


def written(directory: Path, policies: str) -> Path:
    path = directory / "loom.config.yaml"
    path.write_text(f"data: data\npolicies:\n{policies}", encoding="utf-8")
    return path


def opened(config: Path, *actors: type[Actor[None]]) -> Loom:
    return Loom.open(config, actors=actors or [Seller], by="robin")


async def test_an_actor_decides_under_the_table_of_the_config_that_it_names(tmp_path: Path) -> None:
    config = written(tmp_path, TABLE.replace("LIMIT", "10"))
    async with opened(config) as loom:
        assert [await loom.actor(Seller, "a").ask(Ask(percent=percent)) for percent in (10, 15)] == [True, False]
        first = loom.policies.adopted("discount")
        assert first is not None
        [decision, _] = await loom.traces.find()
        assert decision.policy_version == first.version
    written(tmp_path, TABLE.replace("LIMIT", "20"))
    async with opened(config) as loom:
        assert await loom.actor(Seller, "a").ask(Ask(percent=15)) is True
        assert [each.number for each in loom.policies.versions("discount")] == [1, 2]
        assert [each.verdict async for each in loom.replay.verify("configured-seller/a")] == ["same"] * 3
    assert (await asyncio.to_thread(partial(invoke, "policies", "audit", config=config))).code == 0


async def test_a_path_is_seen_from_the_file_of_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rules").mkdir()
    table = TABLE.replace("LIMIT", "12").replace("  - ", "", 1).replace("\n    ", "\n")
    (tmp_path / "rules" / "discount.yaml").write_text(table, encoding="utf-8")
    config = written(tmp_path, "  - rules/discount.yaml\n")
    monkeypatch.chdir("/")
    assert load_config(config, sections=sections()).policies == (str(tmp_path / "rules" / "discount.yaml"),)
    async with opened(config) as loom:
        assert await loom.actor(Seller, "a").ask(Ask(percent=12)) is True


@pytest.mark.parametrize(
    ("policies", "words"),
    [
        ("  - nowhere.yaml\n", r"key \[policies.0\] has no valid table: table \[.*nowhere.yaml\] cannot be read"),
        ("  - {name: discount}\n", r"key \[policies.0\] has no valid table"),
        (f"{TABLE}{TABLE}".replace("LIMIT", "1"), r"key \[policies.1\] is another table of the name \[discount\]"),
        (TABLE.replace("LIMIT", "0.5"), r"key \[policies.0\] has no valid table"),
        (TABLE.replace("LIMIT", "1").replace('"<="', '"is about"'), r"key \[policies.0\] has no valid table"),
    ],
)
async def test_what_is_no_table_is_refused_by_its_place(tmp_path: Path, policies: str, words: str) -> None:
    config = written(tmp_path, policies)
    with pytest.raises(ConfigError, match=words):
        async with opened(config):
            pass
    assert (await asyncio.to_thread(partial(invoke, "doctor", config=config))).code == 1


async def test_a_table_in_a_file_that_is_wrong_is_named_by_its_file(tmp_path: Path) -> None:
    table = TABLE.replace("LIMIT", "12").replace("  - ", "", 1).replace("\n    ", "\n").replace('"<="', '"=="')
    (tmp_path / "discount.yaml").write_text(table, encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"in file \[.*discount.yaml\]: .* at \[rules.0.when.0\]: operator \[==\] is unknown"
    ):
        async with opened(written(tmp_path, "  - discount.yaml\n")):
            pass


async def test_a_name_that_nobody_registered_and_one_that_is_given_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        PolicyNotRegisteredError, match=r"\[discount\] of actor type \[configured-seller\] is not regis"
    ):
        async with opened(written(tmp_path, "  []\n")):
            pass

    class Twice(Actor[None]):
        actor_type = "twice"
        policy = Table.of(
            {
                "format": "loom.table/1",
                "name": "discount",
                "facts": {"percent": {"type": "integer"}},
                "rules": [{"name": "any", "when": [["percent", ">", 0]], "effect": "allow", "why": "so"}],
            }
        )

        async def execute(self, command: Ask) -> bool:
            return True

    with pytest.raises(ConfigError, match=r"policy \[discount\] of actor type \[twice\] is in its class and under"):
        async with opened(written(tmp_path, TABLE.replace("LIMIT", "10")), Twice):
            pass


async def test_a_version_that_somebody_registered_can_be_named_as_well(tmp_path: Path) -> None:
    config = written(tmp_path, "  []\n")
    table = Table.of({**_plain(), "name": "discount"})
    async with Loom.open(config, by="robin") as loom:
        version = await loom.policies.register(table, by="vera")
        await loom.policies.adopt(version.hash, by="kim")
    async with opened(config) as loom:
        assert await loom.actor(Seller, "a").ask(Ask(percent=10)) is True


def _plain() -> dict[str, object]:
    import yaml

    [table] = yaml.safe_load(TABLE.replace("LIMIT", "10"))
    return dict(table)


async def test_answering_somebody_registers_nothing_of_the_config(tmp_path: Path) -> None:
    """A workspace that is opened for a moment, to answer, is opened in the name of who answers."""
    config = written(tmp_path, TABLE.replace("LIMIT", "10"))
    async with Loom.open(config, by="robin"):
        pass
    written(tmp_path, TABLE.replace("LIMIT", "20"))
    assert (await asyncio.to_thread(partial(invoke, "runs", "end", "nothing", "--by", "vera", config=config))).code == 1
    assert len((await asyncio.to_thread(partial(invoke, "policies", "--json", config=config))).json) == 1
