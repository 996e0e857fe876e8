"""Bins with borders, attributes from the context, and classes that are named by their attributes."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom import Actor, Command, Loom
from loom.errors import AdmissionError
from loom.precedents import Bin, EquivalenceRule, FromContext

RULE = EquivalenceRule(
    "loans",
    attributes=("purpose", Bin("ratio", at=[0.3, 0.8]), FromContext("tenant"), FromContext(Bin("year", at=[2020]))),
    outcome=("granted",),
)
FACTS = {"purpose": "home", "ratio": "0.3"}
CONTEXT = {"tenant": "north", "year": 2019}


def digest(domain: str, document: Any) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{domain}\n{text}".encode()).hexdigest()


def test_the_keys_are_those_of_the_declaration_computed_by_hand() -> None:
    declaration = {
        "format": "loom.equivalence/2",
        "name": "loans",
        "attributes": [
            {"exact": "tenant", "from": "context"},
            {"bin": "year", "at": ["2020"], "from": "context"},
            {"exact": "purpose"},
            {"bin": "ratio", "at": ["3/10", "4/5"]},
        ],
        "outcome": [{"exact": "granted"}],
    }
    rule = digest("loom/equivalence/v1", declaration)
    alike = {"context:tenant": "north", "context:year": 0, "purpose": "home", "ratio": 1}

    assert RULE.document() == declaration
    assert RULE.hash == rule
    assert RULE.situation_key(FACTS, context=CONTEXT) == digest("loom/situation/v1", {"rule": rule, "facts": alike})
    found = RULE.classify(FACTS, {"granted": True}, context=CONTEXT)
    assert found.precedent == digest("loom/precedent/v1", {"rule": rule, "facts": alike, "outcome": {"granted": True}})
    assert EquivalenceRule.from_document(RULE.document()).hash == rule


def test_a_rule_without_the_new_shapes_is_declared_as_ever() -> None:
    assert EquivalenceRule("old", attributes=("a", Bin("b", low=0, high=1)), outcome=("o",)).document()["format"] == (
        "loom.equivalence/1"
    )


@given(
    st.lists(st.decimals(-50, 50, places=2), min_size=1, max_size=6, unique=True),
    st.decimals(-60, 60, places=3),
)
def test_a_value_lies_in_the_part_above_the_last_border_that_it_reaches(borders: list[Any], value: Any) -> None:
    ordered = sorted(borders)
    bin_ = Bin("x", at=[float(each) for each in ordered])

    assert bin_.index(str(value)) == sum(Fraction(value) >= Fraction(each) for each in ordered)
    assert bin_.outside(str(value)) is None


def test_a_class_is_named_by_its_attributes_in_words() -> None:
    assert RULE.named(FACTS, {"granted": True}, context=CONTEXT) == (
        "tenant north, year below 2020, purpose home, ratio 0.3 to 0.8 → granted yes"
    )
    assert RULE.named({**FACTS, "ratio": 2}, context=CONTEXT).endswith("ratio 0.8 and above")
    assert RULE.describe(FACTS, context=CONTEXT)["ratio"] == "0.3 to 0.8 (part 2 of 3)"
    assert RULE.describe(FACTS)["context:tenant"].startswith("without a key")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Bin("x", at=[]),
        lambda: Bin("x", at=[2, 1]),
        lambda: Bin("x", at=[1, 1]),
        lambda: Bin("x", low=0, high=1, at=[1]),
        lambda: Bin("x"),
        lambda: EquivalenceRule("r", attributes=("a",), outcome=(FromContext("tenant"),)),
        lambda: RULE.situation_key(FACTS),
        lambda: EquivalenceRule.from_document(
            {"format": "loom.equivalence/2", "name": "r", "attributes": [{"exact": "a", "from": "air"}], "outcome": []}
        ),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: Any) -> None:
    with pytest.raises(AdmissionError):
        wrong()


class Ask(Command[int]):
    facts: dict[str, Any]
    granted: bool


class Lender(Actor[None]):
    actor_type = "lender"
    equivalence = EquivalenceRule("by-tenant", attributes=("purpose", FromContext("tenant")), outcome=("granted",))

    def context(self) -> dict[str, Any]:
        return {"tenant": self.key}

    async def execute(self, command: Ask) -> int:
        seen = await self.find_precedents(command.facts)
        await self.record_decision(rationale="so", facts=command.facts, outcome={"granted": command.granted})
        return len(seen)


async def test_an_actor_finds_the_precedents_of_its_own_context(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Lender], by="robin") as loom:
        north, south = loom.actor(Lender, "north"), loom.actor(Lender, "south")
        seen = [await each.ask(Ask(facts={"purpose": "home"}, granted=True)) for each in (north, south, north, north)]
        classes = await loom.precedents.classes()

    assert seen == [0, 0, 1, 2]
    assert sorted(each.words for each in classes) == [
        "tenant north, purpose home → granted yes",
        "tenant south, purpose home → granted yes",
    ]
