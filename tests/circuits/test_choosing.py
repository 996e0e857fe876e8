"""A strategy that is in use is used: retrieval reads it, selection and generation follow, and nothing is made up."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from loom.circuits import CORE, Circuit, CircuitDefinition, Circuits, Result
from loom.circuits.entries import SubstitutedEntry
from tests.circuits.support import wired

RETRIEVE = ("CX03_PRIOR_STRATEGY_RETRIEVAL", {"audience_segment": "enterprise"})
SELECT = ("CX04_CONTENT_STRATEGY_SELECTION", {"intent": "retention", "segment": "enterprise"})
GENERATE = ("CX06_GENERATION_EXECUTION", {"approved_content": "hello"})
WHOLE: list[tuple[str, dict[str, Any]]] = [
    ("CX01_INTENT_DETECTION", {"business_profile": "SaaS B2B"}),
    ("CX02_AUDIENCE_CLASSIFICATION", {"location": "US", "industry": "Tech"}),
    ("CX03_PRIOR_STRATEGY_RETRIEVAL", {}),
    ("CX04_CONTENT_STRATEGY_SELECTION", {}),
    ("CX05_BRAND_GUARD", {"draft_content": "hello", "brand_rules": {}}),
    ("CX06_GENERATION_EXECUTION", {}),
]
BEFORE = {
    "CX01": "4e02d3e584025cebcd9758db809dde3598bf096f828592fb2f3682447e4f1687",
    "CX02": "c8e8c20ab37199d43d1a6f0b67a3aab14b59548493194fa554f21a58493e5d0f",
    "CX05": "cc24d9b3e39663397ff1a47e69a461c5139d0b81be910beee871e4b9252c016a",
    "CX07": "4e792eec63f713e429cfb2cfbb6d4949e9394777c0bdf62f8dd42399c50a4184",
    "CX08": "1eb1401885552de5ed99b6734275a68cc981aa297c21078781fe8a2e61a46294",
}


async def rotated(circuits: Circuits, client: str = "c") -> None:
    """Have a client go from strategy-456 to strategy-789."""
    for name, rate in (("strategy-456", 0.9), ("strategy-789", 0.8), ("strategy-999", 0.7)):
        await circuits.add_strategy(client, "enterprise", name, success_rate=rate, by="mira")
    for score in (0.7, 0.7, 0.3, 0.3, 0.3):
        await circuits.count_cycle(client, "enterprise", engagement=score, conversion=0.1)


# --- what is in use --------------------------------------------------------------------------------


async def test_a_rotated_strategy_is_retrieved_selected_and_generated_with(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        circuits = Circuits.of(loom)
        await circuits.add_strategy("c", "enterprise", "strategy-456", success_rate=0.9, by="mira")
        assert (await circuits.run("c", WHOLE)).final_output["final_asset"] == "[strategy-456] hello"
        await rotated(circuits)
        for chain in (WHOLE, [*WHOLE[:2], *WHOLE[3:]], [*WHOLE[:3], *WHOLE[4:]]):
            reply = await circuits.run("c", chain)
            assert reply.final_output["final_asset"] == "[strategy-789] hello"
            assert not any(each.substituted for each in reply.results)
        assert (await circuits.run("other", WHOLE)).final_output["final_asset"] != "[strategy-789] hello"


async def test_nothing_is_made_up_for_a_client_who_was_never_seen(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        circuits = Circuits.of(loom)
        found = (await circuits.run("stranger", [RETRIEVE])).results[0]
        assert (found.success, found.substituted, found.data) == (True, True, {"prior_strategy": None})
        assert found.error is not None
        assert "no strategy is known of this client and segment" in found.error
        read = loom.store.read("circuits/stranger")
        [told] = [each.entry async for each in read if isinstance(each.entry, SubstitutedEntry)]
        assert (told.failure_mode, told.outputs) == ("proceed_without_state", {"prior_strategy": None})
        chain = await circuits.run(
            "stranger", [RETRIEVE, ("CX05_BRAND_GUARD", WHOLE[4][1]), ("CX06_GENERATION_EXECUTION", {})]
        )
        assert not chain.success, "there is nothing to generate with"
        assert "there is no strategy to follow" in str(chain.results[-1].error)
        assert [name async for name in loom.store.read("strategy/stranger:enterprise")] == [], "looking leaves nothing"


@pytest.mark.parametrize("client", ["a/b", "a:b", "", " ", "x" * 300, 7, None, ["c"]])
async def test_a_client_that_is_no_name_has_no_strategies(tmp_path: Path, client: Any) -> None:
    async with wired(tmp_path) as loom:
        step = ("CX03_PRIOR_STRATEGY_RETRIEVAL", {"client_id": client, "audience_segment": "enterprise"})
        found = (await Circuits.of(loom).run("c", [step])).results[0]
        assert (found.substituted, found.data) == (True, {"prior_strategy": None})


async def test_selection_follows_what_it_is_given_then_what_is_in_use_then_intent_and_segment(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        circuits = Circuits.of(loom)

        async def selected(client: str, **more: Any) -> Any:
            step = (SELECT[0], {**SELECT[1], **more})
            return (await circuits.run(client, [step])).final_output["content_strategy_id"]

        await rotated(circuits)
        assert await selected("c", prior_strategy="strategy-1") == "strategy-1"
        assert await selected("c", prior_strategy_signature="strategy-2") == "strategy-2"
        assert await selected("c", prior_strategy="strategy-1", prior_strategy_signature="strategy-2") == "strategy-1"
        assert await selected("c", prior_strategy=None) == "strategy-789"
        assert await selected("stranger") == "strategy-retention-enterprise"


async def test_selection_that_fails_rotates_to_another_strategy_that_is_known_or_fails(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        circuits = Circuits.of(loom)
        await rotated(circuits)
        blank = (SELECT[0], {**SELECT[1], "intent": " "})
        found = (await circuits.run("c", [blank])).results[0]
        assert (found.substituted, found.data) == (True, {"content_strategy_id": "strategy-456"})
        assert not (await circuits.run("stranger", [blank])).success, "no strategy is made up"


async def test_what_is_in_use_is_read_from_the_journal_whatever_the_views_say(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        circuits = Circuits.of(loom)
        await rotated(circuits)
        await loom.reached()
        views = sqlite3.connect(loom.files.views)
        views.execute("UPDATE circuit_strategy_states SET strategy_id = 'strategy-forged'")
        views.commit()
        views.close()
        assert (await circuits.run("c", [RETRIEVE])).final_output == {"prior_strategy": "strategy-789"}


async def test_strategies_that_are_read_at_once_are_folded_once(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        circuits = Circuits.of(loom)
        await rotated(circuits)
        found = await asyncio.gather(*(circuits.strategies.of("c", "enterprise") for _ in range(20)))
        assert {each.cycle_count for each in found if each is not None} == {5}
        await rotated(circuits)
        again = await circuits.strategies.of("c", "enterprise")
        assert again is not None
        assert again.cycle_count == 10


# --- names of inputs -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["strategy_id", "content_strategy_id"])
async def test_generation_takes_its_strategy_under_both_names(tmp_path: Path, name: str) -> None:
    async with wired(tmp_path) as loom:
        circuits = Circuits.of(loom)
        step = (GENERATE[0], {**GENERATE[1], name: "strategy-1"})
        reply = await circuits.run("c", [step], execution_id="e-1")
        assert reply.final_output == {"final_asset": "[strategy-1] hello"}
        assert reply.results[0].provenance["strategy_id"] == "explicit"
        assert await circuits.run("c", [step], execution_id="e-1") == reply


async def test_an_input_under_a_further_name_is_protected_as_its_own(tmp_path: Path) -> None:
    definition = CircuitDefinition(
        circuit_id="CX40_MAIL",
        category="test",
        purpose="to send",
        inputs=("email",),
        outputs=("sent",),
        input_aliases={"email": ("mail", "address")},
        fields={"email": "mask"},
        failure_mode="escalate_to_admin",
        success_metric="n",
    )
    seen: list[Any] = []

    def send(inputs: Any) -> Result:
        seen.append(dict(inputs))
        return Result(outputs={"sent": True})

    async with wired(tmp_path, Circuit(definition, send)) as loom:
        assert (await Circuits.of(loom).run("c", [("CX40_MAIL", {"address": "ada@example.org"})])).success
        assert seen == [{"email": "ada@example.org"}]
    on_disk = b"".join(each.read_bytes() for each in tmp_path.rglob("*") if each.is_file())
    assert b"ada@example" not in on_disk


def test_further_names_of_inputs_that_are_none_are_refused() -> None:
    good = CORE[5].definition.model_dump()
    for wrong in ({"nothing": ("x",)}, {"strategy_id": ("creativity",)}, {"strategy_id": ("x",), "creativity": ("x",)}):
        with pytest.raises(ValidationError, match="input_aliases"):
            CircuitDefinition.model_validate({**good, "input_aliases": wrong})


def test_circuits_that_did_not_change_give_the_versions_that_they_gave() -> None:
    versions = {each.definition.circuit_id[:4]: each.policy.version_hash for each in CORE}
    assert {name: versions[name] for name in BEFORE} == BEFORE


@pytest.mark.parametrize(
    ("goal", "profile", "intent"),
    [
        (None, "SaaS B2B", "lead_generation"),
        ("Lead generation", "a bakery", "lead_generation"),
        ("fewer churn", "SaaS B2B", "retention"),
        (None, "a loyal crowd", "retention"),
        (None, "a bakery", "general"),
    ],
)
async def test_the_goal_says_the_intent_then_the_profile(
    tmp_path: Path, goal: str | None, profile: str, intent: str
) -> None:
    inputs = {"business_profile": profile, **({} if goal is None else {"campaign_goal": goal})}
    async with wired(tmp_path) as loom:
        reply = await Circuits.of(loom).run("c", [("CX01_INTENT_DETECTION", inputs)])
        assert reply.final_output == {"detected_intent": intent}


# --- what is missing -------------------------------------------------------------------------------


async def test_inputs_that_are_missing_again_and_again_are_escalated(tmp_path: Path) -> None:
    missing = ("CX02_AUDIENCE_CLASSIFICATION", {"location": "US"})
    async with wired(tmp_path) as loom:
        circuits = Circuits.of(loom)
        for _ in range(2):
            assert (await circuits.run("c", [missing])).results[0].code == "missing_input"
        await circuits.run("c", [("CX02_AUDIENCE_CLASSIFICATION", {**WHOLE[1][1], "detected_intent": "x"})])
        for _ in range(2):
            await circuits.run("c", [missing])
        assert circuits.escalations.open() == (), "a success in between begins the count again"
        for _ in range(2):
            await circuits.run("c", [missing])
        [opened] = circuits.escalations.open()
        assert (opened.cause, opened.repeats) == ("c/CX02_AUDIENCE_CLASSIFICATION/repeated_failure", 1)
        for _ in range(4):
            await circuits.run("c", [("CX77_NONE", {})])
        assert len(circuits.escalations.open()) == 1, "what nobody has registered is its caller's mistake alone"
