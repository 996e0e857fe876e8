"""The document of the DropSim upgrades: its folder trees, ids, classes and invariants, held against what runs.

It has no code of its own but trees of files and names of fields. Each file of a tree is answered by something in loom,
which `ANSWERS` names; what its principles promise is tried on a simulation of a few personas.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import cast

import pytest

from examples import onboarding_drop_off as story
from loom import Loom, LoomConfig, Window
from loom.decisions import DecisionTrace
from loom.drift import DriftReport
from loom.errors import PolicyNotRegisteredError
from loom.policies.canonical import version_id

TREES = """
policy_registry/
├── policies/
│   ├── v1_3f8a1b2c.json  # Policy definition snapshot
│   ├── v2_7d9e4f5a.json
│   └── ...
├── policy_resolver.py     # Resolve version -> definition
└── policy_auditor.py      # Validate trace-policy consistency

trace_store/
├── traces/
│   ├── {trace_id}.json    # Immutable trace file
│   └── ...
├── lineage/
│   ├── simulation_runs.json  # Run metadata
│   └── policy_versions.json  # Policy version registry link
├── index/
│   ├── by_policy_version.json
│   ├── by_simulation_run.json
│   └── by_persona_step.json
└── trace_reader.py        # Read-only access layer

precedents/
├── equivalence_rules.py   # Defines equivalence criteria
├── precedent_hasher.py    # Generate precedent hash
├── precedent_registry.py  # Hash -> trace_ids mapping
└── precedent_queries.py   # Query by precedent

replay/
├── replay_engine.py       # Replay trace under new policy
├── counterfactual_builder.py  # Build counterfactual scenarios
└── replay_storage.py      # Store replayed traces separately

drift/
├── pattern_drift.py       # Compare precedent distributions
├── drift_explainer.py     # Explain which patterns changed
└── drift_monitor.py       # Integrate with existing drift system
"""

ANSWERS = {
    "v1_3f8a1b2c.json": "loom.policies.entries:PolicyRegisteredEntry",
    "v2_7d9e4f5a.json": "loom.policies.entries:PolicyRegisteredEntry",
    "policy_resolver.py": "loom.policies.registry:PolicyRegistry.resolve",
    "policy_auditor.py": "loom.replay.audit:audit",
    "{trace_id}.json": "loom.decisions.entries:DecisionJournalEntry",
    "simulation_runs.json": "loom.decisions.runs:RunsView",
    "policy_versions.json": "loom.decisions.run:Run.versions",
    "by_policy_version.json": "loom.decisions.traces:Traces.find:policy_version",
    "by_simulation_run.json": "loom.decisions.traces:Traces.find:run_id",
    "by_persona_step.json": "loom.decisions.traces:Traces.find:actor_key",
    "trace_reader.py": "loom.decisions.traces:Traces",
    "equivalence_rules.py": "loom.precedents.equivalence:EquivalenceRule",
    "precedent_hasher.py": "loom.precedents.equivalence:EquivalenceRule.classify",
    "precedent_registry.py": "loom.precedents.registry:EquivalenceRegistry",
    "precedent_queries.py": "loom.precedents.search:Precedents.members",
    "replay_engine.py": "loom.replay:Replay.judge",
    "counterfactual_builder.py": "loom.replay:Scenario",
    "replay_storage.py": "loom.replay.recorder:ReplayRecorder",
    "pattern_drift.py": "loom.drift.comparison:Drift.compare",
    "drift_explainer.py": "loom.drift.report:DriftReport.explanation",
    "drift_monitor.py": "loom.drift.metrics:MetricReading",
}
"""What a file of a tree is in loom: module, a name in it, and an argument where that is what answers it."""

VERSION = "policy_v2_3f8a1b2c"
"""How the document writes a hash-derived version id."""

PERSONAS = 40


def test_every_file_of_the_trees_has_its_counterpart() -> None:
    files = re.findall(r"[├└]── ([^\s/]+\.(?:py|json))", TREES)
    assert set(files) == set(ANSWERS)
    for file, answer in ANSWERS.items():
        module, name, *argument = answer.split(":")
        found: object = import_module(module)
        for part in name.split("."):
            fields = getattr(found, "model_fields", {})
            found = fields[part] if part in fields else getattr(found, part)
        if argument:
            assert argument[0] in getattr(found, "__annotations__", {}), file


def test_a_version_is_called_as_the_document_calls_one() -> None:
    assert version_id(2, "3f8a1b2c" + "0" * 56) == VERSION


@pytest.fixture
async def simulated(tmp_path: Path) -> Path:
    """Simulate a few personas under v2, and keep their replays under v3, and replays of those."""
    async with Loom.open(LoomConfig(data=tmp_path), actors=[story.Persona], by="robin") as loom:
        wary = story.behaviour.with_params(story.Behaviour(risk=0.4))
        for rule in (story.behaviour, wary):
            await loom.policies.register(rule, by="robin")
        await story.walk_all(loom, "spring", personas=PERSONAS, hurried=0.1)
    return tmp_path


async def replayed(loom: Loom) -> tuple[DecisionTrace, DecisionTrace, DecisionTrace]:
    """Return a decision, its replay under the other version, and the replay of that under its own again."""
    [first, other] = [each.version for each in loom.policies.versions("onboarding-behaviour")]
    [walked, *_] = await loom.traces.find(run_id="spring")
    once = await loom.replay.judge([walked.decision_id], under=other, keep=True, by="vera")
    [second] = await loom.traces.find(run_id=once.run_id)
    again = await loom.replay.judge([second.decision_id], under=first, keep=True, by="vera")
    [third] = await loom.traces.find(run_id=again.run_id)
    traces = loom.traces
    return (
        await traces.get(walked.decision_id),
        await traces.get(second.decision_id),
        await traces.get(third.decision_id),
    )


async def test_counterfactuals_are_new_traces_in_a_chain_and_originals_stay(simulated: Path) -> None:
    async with Loom.open(LoomConfig(data=simulated), actors=[story.Persona], by="robin") as loom:
        before = [each.entry_hash async for each in loom.store.read_all()]
        original, once, twice = await replayed(loom)
        assert [each.origin for each in (original, once, twice)] == ["original", "replayed", "replayed"]
        assert once.decision.replayed_from == original.decision_id
        assert twice.decision.replayed_from == once.decision_id
        lineage = await loom.traces.lineage(twice.decision_id)
        assert [each.decision.decision_id for each in lineage.members] == [
            original.decision_id,
            once.decision_id,
            twice.decision_id,
        ]
        assert (lineage.original.run_id, original.policy_version) == ("spring", twice.policy_version)
        assert once.policy_version not in (None, original.policy_version)
        assert once.decision.facts == original.decision.facts, "the saved state is the input"
        after = [each.entry_hash async for each in loom.store.read_all()]
        assert after[: len(before)] == before
        assert (await loom.policies.audit()).sound
        with pytest.raises(PolicyNotRegisteredError):
            loom.policies.resolve("policy_v9_00000000")


async def test_precedents_share_the_five_things_of_the_document_and_nothing_is_inferred(simulated: Path) -> None:
    rule = story.Persona.equivalence
    assert rule is not None
    attributes = cast("list[dict[str, object]]", rule.document()["attributes"])
    assert {each["bin"]: each["bins"] for each in attributes if "bin" in each} == {
        f"mind.{each}": 5 for each in ("energy", "risk", "effort", "value", "control")
    }
    assert {each["exact"] for each in attributes if "exact" in each} == {"step", "intent"}
    assert [each["set"] for each in attributes if "set" in each] == ["dominant_factors"]
    assert rule.document()["outcome"] == [{"exact": "decision"}]
    async with Loom.open(LoomConfig(data=simulated), actors=[story.Persona], by="robin") as loom:
        [largest, *_] = await loom.precedents.classes(limit=1)
        members = await loom.precedents.members(largest.precedent, limit=100)
        described = {
            tuple(rule.describe(each.decision.facts or {}, each.decision.outcome).items())
            for each in [await loom.traces.get(one.decision_id) for one in members]
        }
        assert len(members) == largest.support > 1
        assert len({without_values(each) for each in described}) == 1


def without_values(described: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return what a class is in words, without the values that lie in its parts."""
    return tuple((name, said.split(" (")[0]) for name, said in described)


async def test_drift_is_measured_in_the_documents_terms_and_explained(simulated: Path) -> None:
    async with Loom.open(LoomConfig(data=simulated), actors=[story.Persona], by="robin") as loom:
        await story.walk_all(loom, "autumn", personas=PERSONAS, hurried=0.9)
        report: DriftReport = await loom.drift.compare(Window(run="spring"), Window(run="autumn"), split=False)
        assert 0 < cast("float", report.js_divergence) <= 1
        assert report.chi_square is not None
        assert report.severity in ("minor", "warning", "critical", None)
        assert report.explanation
        assert {each.name for each in report.metrics.shifts} >= {"completion rate"}


def test_storage_is_append_only(simulated: Path) -> None:
    with closing(sqlite3.connect(simulated / "default" / "journal.db")) as connection:
        for statement in ("DELETE FROM entries", "UPDATE entries SET kind = 'other'"):
            with pytest.raises(sqlite3.DatabaseError):
                connection.execute(statement)
