"""Decision memory: every filter, alone and together; pages neither skip nor repeat; no text becomes a query."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from loom import Actor, Command, EquivalenceRule, Loom
from loom.decisions import DecisionSummary
from loom.errors import AdmissionError
from loom.policies.tables import Table

RULE = Table.of(
    {
        "format": "loom.table/1",
        "name": "remembered",
        "facts": {"size": {"type": "integer"}, "region": {"type": "string"}},
        "rules": [{"name": "small", "when": [["size", "<=", 2]], "effect": "allow", "why": "small"}],
        "otherwise": {"name": "large", "effect": "allow", "exception": "large", "why": "large"},
    }
)


class Keep(Command[str]):
    size: int
    region: str
    words: str


class Rememberer(Actor[None]):
    actor_type = "rememberer"
    policy = RULE
    equivalence = EquivalenceRule("remembered", attributes=("size", "region"), outcome=("granted",))

    async def execute(self, command: Keep) -> str:
        self.evaluate({"size": command.size, "region": command.region})
        outcome = {"granted": command.size % 2 == 0, "level": command.size, "note": command.region}
        return await self.record_decision(
            rationale=command.words, reasoning=["because"], outcome=outcome, context={"tenant": {"id": command.region}}
        )


async def filled(loom: Loom) -> list[Keep]:
    draw = random.Random(9)
    words = ["a good customer", "an urgent case", "nothing good about it", "Ünusual spelling"]
    sent = [Keep(size=draw.randint(0, 4), region=draw.choice("ns"), words=draw.choice(words)) for _ in range(60)]
    for number, command in enumerate(sent):
        await loom.actor(Rememberer, f"r{number % 2}").ask(command)
    return sent


FILTERS: list[tuple[dict[str, Any], Any]] = [
    ({}, lambda c: True),
    ({"facets": {"size": 3}}, lambda c: c.size == 3),
    ({"facets": {"region": "n", "size": 1}}, lambda c: (c.region, c.size) == ("n", 1)),
    ({"facets": {"tenant.id": "s"}}, lambda c: c.region == "s"),
    ({"facets": {"size": "3"}}, lambda c: False),
    ({"facets": {"size": 3.5}}, lambda c: False),
    ({"outcome": {"granted": True}}, lambda c: c.size % 2 == 0),
    ({"outcome": {"granted": 1}}, lambda c: False),
    ({"outcome": {"level": 1}}, lambda c: c.size == 1),
    ({"outcome": {"level": True}}, lambda c: False),
    ({"outcome": {"note": "n", "granted": False}}, lambda c: c.region == "n" and c.size % 2),
    ({"outcome": {"missing": None}}, lambda c: False),
    ({"text": "good"}, lambda c: "good" in c.words),
    ({"text": "CUSTOMER good"}, lambda c: c.words == "a good customer"),
    ({"text": "unusual"}, lambda c: c.words == "Ünusual spelling"),
    ({"text": '" OR 1=1 --'}, lambda c: False),
    ({"text": "good NOT customer"}, lambda c: False),
    ({"text": "***"}, lambda c: False),
    ({"is_exception": True, "text": "good"}, lambda c: c.size > 2 and "good" in c.words),
    ({"actor_key": "r1"}, lambda c: None),
    (
        {"policy": "remembered", "decision_type": "exception", "facets": {"region": "n"}},
        lambda c: c.size > 2 and c.region == "n",
    ),
]


async def test_every_filter_finds_what_it_says_before_the_limit_in_pages_without_gaps(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Rememberer], by="robin") as loom:
        sent = await filled(loom)
        for given, matches in FILTERS:
            found: list[DecisionSummary] = []
            while page := await loom.memory.search(**given, limit=7, after=found[-1].position if found else None):
                found += page
            expected = [c for c in sent if matches(c)] if matches(sent[0]) is not None else sent[1::2]
            assert [each.rationale for each in found] == [c.words for c in reversed(expected)], given
            assert await loom.memory.search(**given, limit=1_000) == tuple(found)


async def test_decisions_of_one_class_are_found_by_its_key(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Rememberer], by="robin") as loom:
        sent = await filled(loom)
        [largest, *_] = await loom.precedents.classes()
        trace = await loom.traces.get(largest.decision_id)
        assert trace.decision.facts is not None
        alike = [c for c in sent if {"size": c.size, "region": c.region} == trace.decision.facts]
        assert len(await loom.memory.search(alike=largest.precedent, limit=100)) == len(alike)
        assert len(await loom.memory.search(alike=largest.situation, limit=100)) == len(alike)
        assert await loom.memory.search(alike="ab" * 32) == ()


@pytest.mark.parametrize(
    "given",
    [
        {"facets": {"size": [1]}},
        {"outcome": {"level": {}}},
        {"outcome": {'a"b': 1}},
        {"colour": "red"},
        {"since": "yesterday"},
        {"facets": {f"f{n}": 1 for n in range(17)}},
    ],
    ids=str,
)
async def test_what_cannot_be_looked_for_is_refused(tmp_path: Path, given: dict[str, Any]) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Rememberer], by="robin") as loom:
        with pytest.raises(AdmissionError):
            await loom.memory.search(**given)
