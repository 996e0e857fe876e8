"""`loom precedents`: classes by support, one class with its decisions, the class of a decision, and the rules."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from loom import Loom
from loom.policies.registry import PolicyRegistry
from tests.cli.agents import Note, NoteAgent, NoteParams, notes
from tests.cli.support import configured, invoke


async def _fill(config: Path) -> None:
    """Three light notes about two topics under one version, and one under another that was adopted after them."""
    async with Loom.open(config, by="robin") as loom:
        agent = loom.actor(NoteAgent, "a")
        for number, topic in enumerate(("plain", "plain", "odd")):
            await agent.ask(Note(text=f"note {number}", topic=topic), id=f"n{number}", by="robin")
        policies: PolicyRegistry = loom.policies
        stricter = await policies.register(
            notes.with_params(NoteParams(limit=5)), by="dana", reason="shorter is better"
        )
        await policies.adopt(stricter.version, by="kim")
        await agent.ask(Note(text="note 3"), id="n3", by="robin")


@pytest.fixture(scope="module")
def noted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = configured(tmp_path_factory.mktemp("noted"))
    asyncio.run(_fill(config))
    return config


def classes(config: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = invoke("precedents", "--json", config=config).json
    return found


def test_classes_are_listed_by_support_with_their_rule_and_what_is_superseded(noted: Path) -> None:
    assert [(each["support"], each["superseded"]) for each in classes(noted)] == [(3, 2), (1, 1)]
    said = invoke("precedents", config=noted)
    assert said.code == 0
    header, first, second = said.out.splitlines()
    assert header.split()[:4] == ["class", "cases", "superseded", "rule"]
    assert first.split()[1:5] == ["3", "2", "notes", "v1"]
    assert second.split()[1:3] == ["1", "1"]
    assert invoke("precedents", "list", "--limit", "1", config=noted).out.count("notes v1") == 1


def test_one_class_is_shown_with_what_makes_it_alike_and_its_decisions(noted: Path) -> None:
    key = classes(noted)[0]["precedent"]
    said = invoke("precedents", "show", key[:10], config=noted)
    assert said.code == 0
    assert said.out.startswith("3 like cases with a like outcome: granted=true\n2 of them are superseded: ")
    assert "notes, version rule_v1_" in said.out
    assert [line.split()[-1] for line in said.out.splitlines()[-3:]] == ["3", "1", "0"]
    assert said.out.count("another version is adopted") == 2
    whole = invoke("precedents", "show", key, "--json", config=noted).json
    assert whole["alike_by"]["topic"] == "plain"
    assert whole["alike_by"]["granted"] == "yes"
    assert [each["superseded"] for each in whole["decisions"]] == [None, "policy", "policy"]


def test_a_class_comes_in_pages(noted: Path) -> None:
    key = classes(noted)[0]["precedent"]
    first = invoke("precedents", "show", key, "--limit", "2", "--json", config=noted).json["decisions"]
    after = str(first[-1]["position"])
    rest = invoke("precedents", "show", key, "--limit", "2", "--after", after, "--json", config=noted).json["decisions"]
    assert [each["rationale"] for each in (*first, *rest)] == ["note 3", "note 1", "note 0"]
    assert f"--after {after}" in invoke("precedents", "show", key, "--limit", "2", config=noted).err


def test_the_class_of_a_decision_is_shown_and_one_case_is_a_case(noted: Path) -> None:
    odd = classes(noted)[1]
    said = invoke("precedents", "--of", odd["decision_id"][:10], config=noted)
    assert said.code == 0
    assert said.out.startswith("1 case: granted=true\nit is superseded: ")
    whole = invoke("precedents", "--of", odd["decision_id"], "--json", config=noted).json
    assert whole["class"] == odd
    assert [each["rationale"] for each in whole["decisions"]] == ["note 2"]


def test_rules_are_listed_with_who_registered_them(noted: Path) -> None:
    [rule] = invoke("precedents", "rules", "--json", config=noted).json
    assert (rule["name"], rule["number"], rule["by"]) == ("notes", 1, "robin")
    assert rule["hash"] == classes(noted)[0]["rule"]
    said = invoke("precedents", "rules", config=noted).out.splitlines()
    assert said[1].split()[:2] == ["notes", rule["version"]]
    assert said[1].endswith("topic     granted") or said[1].split()[-2:] == ["topic", "granted"]
    assert invoke("precedents", "rules", "--name", "nobody's", config=noted).out == "No equivalence rules.\n"


def test_classes_are_listed_by_the_version_of_a_rule(noted: Path) -> None:
    [rule] = invoke("precedents", "rules", "--json", config=noted).json
    for name in ("notes", rule["version"], rule["hash"][:8]):
        assert invoke("precedents", "--rule", name, "--json", config=noted).json == classes(noted)
    unknown = invoke("precedents", "--rule", "nobody's", config=noted)
    assert unknown.code == 1
    assert "is not registered; known are [rule_v1_" in unknown.err
    assert invoke("precedents", "--rule", "notes", "--text", "note", config=noted).code == 2


def test_a_class_that_is_not_there_is_a_no(noted: Path) -> None:
    said = invoke("precedents", "show", "zzzz", config=noted)
    assert said.code == 1
    assert "is not known; expected" in said.err


def test_why_says_what_makes_a_decision_alike_to_others(noted: Path) -> None:
    said = invoke("why", classes(noted)[0]["decision_id"], config=noted).out
    assert "alike by" in said
    assert "topic: plain" in said
