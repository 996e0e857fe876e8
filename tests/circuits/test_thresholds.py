"""Thresholds that a person adopts are those that count, and an execution ends under the version it began with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from loom import Loom
from loom.circuits import Circuit, CircuitDefinition, Circuits, Result
from loom.circuits.definition import policy_of
from loom.circuits.entries import CircuitEnteredEntry, CircuitSucceededEntry
from loom.decisions import Decision, DecisionJournalEntry
from loom.policies import Table
from tests.circuits.support import wired
from tests.golden.reading import HERE, copied

DEFINITION = CircuitDefinition(
    circuit_id="CX10_SURE",
    category="test",
    purpose="to be so sure",
    inputs=(),
    outputs=("x",),
    failure_mode="mark_as_neutral",
    success_metric="n",
)


def sure(definition: CircuitDefinition = DEFINITION, *, confidence: float = 0.8) -> Circuit:
    def run(_: Mapping[str, Any]) -> Result:
        return Result(outputs=dict.fromkeys(definition.outputs, 1), confidence=confidence)

    return Circuit(definition, run)


async def adopt(loom: Loom, table: Table) -> str:
    version = await loom.policies.register(table, by="mira", reason="other thresholds")
    await loom.policies.adopt(version.hash, by="vera", reason="agreed")
    return version.hash


async def ran(loom: Loom) -> tuple[str, str]:
    """Run the circuit; return its band, and the hash of the version that it was decided under."""
    reply = await Circuits.of(loom).run("c", [("CX10_SURE", {})])
    [decision] = await decided(loom, "c", execution_id=reply.execution_id)
    assert decision.under.rule is not None
    return decision.under.rule, decision.under.hash


async def decided(loom: Loom, client: str, **context: str) -> list[Decision]:
    """Return the decisions of a client's circuits that say this of their context."""
    read = [each.entry async for each in loom.store.read(f"circuits/{client}")]
    found = [each.decision for each in read if isinstance(each, DecisionJournalEntry)]
    return [each for each in found if context.items() <= each.context.items()]


@pytest.mark.parametrize(
    ("thresholds", "band"),
    [
        ({"act_above": "0.75"}, "act"),
        ({"act_above": "0.8"}, "monitor"),
        ({"act_above": "0.97"}, "monitor"),
        ({"escalate_below": "0.81"}, "escalate"),
        ({}, "monitor"),
    ],
)
async def test_adopted_thresholds_say_what_a_confidence_calls_for(
    tmp_path: Path, thresholds: dict[str, str], band: str
) -> None:
    mine = sure()
    async with wired(tmp_path, mine) as loom:
        assert await ran(loom) == ("monitor", mine.policy.version_hash)
        adopted = await adopt(loom, mine.policy.with_params(**thresholds))
        assert await ran(loom) == (band, adopted)
        assert len(Circuits.of(loom).escalations.open()) == (band == "escalate")
    async with wired(tmp_path, mine) as loom:
        assert await ran(loom) == (band, adopted), "also after a restart"
        audited = await loom.policies.audit()
        assert audited.confirmed == audited.decisions == 3


async def test_adopted_thresholds_go_with_a_definition_that_has_changed_since(tmp_path: Path) -> None:
    async with wired(tmp_path, sure()) as loom:
        adopted = await adopt(loom, sure().policy.with_params(act_above="0.75"))
    changed = sure(DEFINITION.model_copy(update={"outputs": ("x", "y")}))
    async with wired(tmp_path, changed) as loom:
        band, version = await ran(loom)
        assert band == "act"
        assert version not in (adopted, changed.policy.version_hash)
        parameters: Any = loom.policies.resolve(version).document["parameters"]
        assert (parameters["outputs"]["value"], parameters["act_above"]["value"]) == ("x,y", "0.75")
        assert await ran(loom) == ("act", version), "it is registered once"
        current = loom.policies.adopted(changed.policy.name)
        assert current is not None
        assert current.hash == adopted, "what a person adopted stays adopted"


async def test_a_replay_keeps_to_the_versions_that_executions_began_with(tmp_path: Path) -> None:
    async with wired(tmp_path, sure()) as loom:
        await ran(loom)
        await adopt(loom, sure().policy.with_params(act_above="0.75"))
        await ran(loom)
        driven = [each async for each in loom.replay.verify("circuits/c")]
        assert [each.verdict for each in driven] == ["same", "same"]


async def test_rules_of_other_names_act_where_they_allow_and_ask_where_they_do_not(tmp_path: Path) -> None:
    written = policy_of(DEFINITION).written()
    for rule in written["rules"]:
        rule["name"] = {"act": "go-ahead", "monitor": "careful"}.get(rule["name"], rule["name"])
    written["otherwise"]["name"] = "halt"
    async with wired(tmp_path, sure()) as loom:
        await adopt(loom, Table.of(written))
        assert (await ran(loom))[0] == "careful"
        succeeded = [each.entry async for each in loom.store.read("circuits/c")]
        assert [each.band for each in succeeded if isinstance(each, CircuitSucceededEntry)] == ["act"]


async def test_an_execution_ends_under_the_version_that_it_began_with(tmp_path: Path) -> None:
    copied(HERE / "corrections", tmp_path)
    async with wired(tmp_path) as loom:  # a turn of before is resumed: it was cut short in its fifth circuit
        guard = next(each for each in Circuits.of(loom)._circuits.values() if each.definition.circuit_id[:4] == "CX05")
        strict = await adopt(loom, guard.policy.with_params(act_above="0.99"))
        steps: Any = [("CX08_SELF_CORRECTION", {"engagement_score": 1, "baseline": 1})]
        await Circuits.of(loom).run("client-3", steps)  # after the turn that was resumed
        entered = [
            each.entry
            async for each in loom.store.read("circuits/client-3")
            if isinstance(each.entry, CircuitEnteredEntry) and each.entry.circuit_id == "CX05_BRAND_GUARD"
        ]
        done = await decided(loom, "client-3", execution_id="cut-1", circuit_id="CX05_BRAND_GUARD")
        assert [each.version for each in entered] == [guard.policy.version_hash]
        assert [each.under.hash for each in done] == [guard.policy.version_hash]
        assert strict != guard.policy.version_hash
        driven = [each async for each in loom.replay.verify("circuits/client-3")]
        assert [each.verdict for each in driven][-1] == "same"
