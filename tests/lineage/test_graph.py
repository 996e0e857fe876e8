"""The context graph: what decisions rested on and what came of them, in a run or around one decision."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom import Actor, Command, Loom
from loom.decisions import PrecedentReference
from loom.errors import OutOfRangeError, RunNotFoundError
from loom.lineage import ContextGraph, Node, NodeKind
from loom.reports.graphs import as_svg
from tests.cli.support import configured, invoke
from tests.precedents.test_memory import RULE, Rememberer

GRAPHML = "{http://graphml.graphdrawing.org/xmlns}"
SVG = "{http://www.w3.org/2000/svg}"


class Decide(Command[str]):
    customer: str
    size: int = 1
    after: str | None = None
    because_of: str | None = None


class Decider(Actor[None]):
    actor_type = "decider"
    policy = RULE
    equivalence = Rememberer.equivalence

    async def execute(self, command: Decide) -> str:
        await self.gather_context(
            system="crm", entity="account", query=command.customer, fetcher=lambda: {"id": command.customer}
        )
        self.evaluate({"size": command.size, "region": "n"})
        named = [PrecedentReference(decision_id=command.because_of)] if command.because_of else None
        return await self.record_decision(
            rationale=f"for {command.customer}",
            outcome={"granted": command.size < 3},
            parent=command.after,
            precedents=named,
        )


@pytest.fixture
async def loom(tmp_path: Path) -> AsyncIterator[Loom]:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Decider], by="robin") as opened:
        yield opened


async def decided(loom: Loom) -> dict[str, str]:
    """Decide a first case before the run, and three in it: the last two name the first, and each other."""
    agent = loom.actor(Decider, "d")
    ids = {"before": await agent.ask(Decide(customer="old"))}
    async with loom.runs.run(run_id="spring"):
        ids["a"] = await agent.ask(Decide(customer="acme"))
        ids["b"] = await agent.ask(Decide(customer="acme", size=4, because_of=ids["before"]))
        ids["c"] = await agent.ask(Decide(customer="bolt", after=ids["b"], because_of=ids["a"]))
    return ids


def of_kind(graph: ContextGraph, kind: NodeKind) -> list[Node]:
    return [each for each in graph.nodes if each.kind == kind]


def relations(graph: ContextGraph) -> set[tuple[str, str, str]]:
    labels = {each.id: each.label for each in graph.nodes}
    return {(labels[each.source], each.relation, labels[each.target]) for each in graph.edges}


async def test_a_run_is_told_with_what_its_decisions_rested_on_and_came_to(loom: Loom) -> None:
    ids = await decided(loom)
    graph = await loom.lineage.graph("spring")
    assert (graph.of, graph.cut) == ("run spring", False)
    assert {each.id for each in of_kind(graph, "decision")} == {f"decision:{ids[name]}" for name in "abc"}
    [precedent] = of_kind(graph, "precedent")
    assert precedent.id == f"decision:{ids['before']}"
    assert precedent.attributes["rationale"] == "for old"
    assert {each.label for each in of_kind(graph, "outcome")} == {"granted true", "granted false"}
    contexts = {each.label for each in of_kind(graph, "context")}
    assert contexts == {"crm account acme", "crm account bolt", "region n, size 1", "region n, size 4"}
    [policy] = of_kind(graph, "policy")
    assert policy.attributes["name"] == "remembered"
    labels = {name: f"exception {ids[name][:12]}" for name in ids}
    said = relations(graph)
    by_id = {each.id: each.label for each in graph.nodes}
    a, b, c, before = (by_id[f"decision:{ids[name]}"] for name in ("a", "b", "c", "before"))
    assert {
        ("crm account acme", "informed", a),
        ("crm account acme", "informed", b),
        (policy.label, "judged", c),
        (before, "was followed by", b),
        (a, "was followed by", c),
        (b, "led to", c),
        (b, "came to", "granted false"),
        ("region n, size 4", "was the situation of", b),
    } <= said
    assert labels
    assert all(each.count == 1 for each in graph.edges)


async def test_a_decision_is_told_with_what_led_to_it_what_followed_and_its_replays(loom: Loom) -> None:
    ids = await decided(loom)
    kept = await loom.replay.judge([ids["b"]], what_if={"size": 1}, keep=True)
    replayed = (await loom.traces.find(run_id=kept.run_id))[0]
    for meant in (ids["b"], ids["b"][:10], await loom.traces.get(ids["b"]), replayed):
        graph = await loom.lineage.graph(meant)
        there = {each.id.removeprefix("decision:") for each in of_kind(graph, "decision")}
        if meant is replayed:
            assert {ids["b"], replayed.decision_id} <= there
        else:
            assert there == {ids["b"], ids["c"], replayed.decision_id}
        labels = {each.id: each.label for each in graph.nodes}
        original, again = labels[f"decision:{ids['b']}"], labels[f"decision:{replayed.decision_id}"]
        assert (original, "was replayed as", again) in relations(graph)


async def test_a_run_of_replays_names_what_it_replays_as_decisions_and_no_precedents(loom: Loom) -> None:
    ids = await decided(loom)
    kept = await loom.replay.judge([ids["a"]], what_if={"size": 3}, keep=True)
    assert kept.run_id is not None
    graph = await loom.lineage.graph(await loom.runs.get(kept.run_id))
    assert of_kind(graph, "precedent") == []
    assert f"decision:{ids['a']}" in {each.id for each in of_kind(graph, "decision")}


async def test_what_was_observed_later_is_an_outcome_too(loom: Loom) -> None:
    ids = await decided(loom)
    await loom.outcomes.observe(ids["a"], correct=False, actual={"churned": True}, by="dana")
    graph = await loom.lineage.graph("spring")
    [observed] = [each for each in of_kind(graph, "outcome") if each.attributes.get("observed")]
    assert observed.label == 'wrong: {"churned": true}'
    assert any(each.relation == "turned out" and each.target == observed.id for each in graph.edges)


async def test_without_a_class_or_a_look_up_the_facts_are_the_context(tmp_path: Path) -> None:
    class Plain(Actor[None]):
        actor_type = "plain"
        policy = RULE

        async def execute(self, command: Decide) -> str:
            self.evaluate({"size": command.size, "region": "n"})
            return await self.record_decision(rationale="plainly")

    class Bare(Actor[None]):
        actor_type = "bare"

        async def execute(self, command: Decide) -> str:
            return await self.record_decision(rationale="barely")

    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Plain, Bare], by="robin") as loom:
        plain = await loom.lineage.graph(await loom.actor(Plain, "p").ask(Decide(customer="x")))
        [context] = of_kind(plain, "context")
        assert context.label == 'facts {"region": "n", "size": 1}'
        assert of_kind(plain, "outcome") == []
        bare = await loom.lineage.graph(await loom.actor(Bare, "b").ask(Decide(customer="x")))
        assert {each.kind for each in bare.nodes} == {"decision", "policy"}


async def test_what_is_neither_is_an_error_and_more_than_was_asked_for_is_cut(loom: Loom) -> None:
    await decided(loom)
    with pytest.raises(RunNotFoundError, match="neither a run nor a decision"):
        await loom.lineage.graph("nobody")
    with pytest.raises(OutOfRangeError):
        await loom.lineage.graph("spring", limit=0)
    cut = await loom.lineage.graph("spring", limit=2)
    assert cut.cut
    assert len(of_kind(cut, "decision")) == 2
    assert not (await loom.lineage.graph("spring", limit=3)).cut


async def test_the_same_journal_has_the_same_graph_and_nothing_is_written(loom: Loom) -> None:
    await decided(loom)
    before = (await loom.store.head("decider/d")).sequence
    first = await loom.lineage.graph("spring")
    await loom.rebuild()
    assert await loom.lineage.graph("spring") == first
    assert (await loom.store.head("decider/d")).sequence == before


# --- forms ---------------------------------------------------------------------------------------

texts = st.text(max_size=12)
kinds: st.SearchStrategy[NodeKind] = st.sampled_from(["context", "decision", "policy", "precedent", "outcome"])


@st.composite
def graphs(draw: st.DrawFn) -> ContextGraph:
    ids = draw(st.lists(st.integers(0, 40), unique=True, max_size=30))
    nodes = [
        Node(id=f"{each} {draw(texts)}", kind=draw(kinds), label=draw(texts), attributes={"x": draw(texts)})
        for each in ids
    ]
    ends = [each.id for each in nodes] or ["none"]
    edge = st.tuples(st.sampled_from(ends), st.sampled_from(ends), st.sampled_from(["informed", "led to"]))
    return ContextGraph.made(draw(texts), nodes, draw(st.lists(edge, max_size=60)), cut=draw(st.booleans()))


@given(graphs())
def test_graphml_has_every_node_and_edge_whatever_is_written_in_it(graph: ContextGraph) -> None:
    root = ElementTree.fromstring(graph.to_graphml())
    nodes = root.findall(f"{GRAPHML}graph/{GRAPHML}node")
    edges = root.findall(f"{GRAPHML}graph/{GRAPHML}edge")
    assert (len(nodes), len(edges)) == (len(graph.nodes), len(graph.edges))
    known = {each.get("id") for each in nodes}
    assert all({each.get("source"), each.get("target")} <= known for each in edges)
    keys = {each.get("id") for each in root.findall(f"{GRAPHML}key")}
    assert {each.get("key") for each in root.iter(f"{GRAPHML}data")} <= keys


@given(graphs())
def test_json_gives_the_graph_back(graph: ContextGraph) -> None:
    assert ContextGraph.model_validate_json(json.dumps(graph.to_json())) == graph


@given(graphs(), st.integers(1, 5))
def test_condensing_loses_no_node_and_no_edge_and_keeps_to_its_bound(graph: ContextGraph, most: int) -> None:
    small = graph.condensed(most=most)
    for kind in get_args(NodeKind):
        assert sum(each.count for each in of_kind(small, kind)) == len(of_kind(graph, kind))
        assert len(of_kind(small, kind)) <= most + 1
    assert sum(each.count for each in small.edges) == sum(each.count for each in graph.edges)


@given(graphs())
def test_svg_is_well_formed_and_draws_every_node_of_the_condensed_graph(graph: ContextGraph) -> None:
    small = graph.condensed(most=3)
    drawn = ElementTree.fromstring(as_svg(graph, most=3))
    assert len(drawn.findall(f".//{SVG}rect")) == len(small.nodes)
    assert len(drawn.findall(f"{SVG}path")) == len(small.edges)


# --- the shell -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = configured(tmp_path_factory.mktemp("graph"), module="tests.lineage.test_graph")

    async def fill() -> None:
        async with Loom.open(config, by="robin") as loom:
            await decided(loom)

    asyncio.run(fill())
    return config


def test_the_shell_shows_a_graph_condensed_and_gives_it_whole(made: Path) -> None:
    said = invoke("graph", "spring", config=made)
    assert said.code == 0, said.err
    assert "run spring: 4 context, 1 precedent, 1 policy, 3 decision, 2 outcome" in said.out
    assert "crm account" in said.out
    whole = ContextGraph.model_validate(invoke("graph", "spring", "--json", config=made).json)
    assert len(whole.nodes) == 11
    small = ContextGraph.model_validate(invoke("graph", "spring", "--condensed", "--json", config=made).json)
    assert sum(each.count for each in small.nodes) == 11
    assert "only the first 1 decisions" in invoke("graph", "spring", "--limit", "1", config=made).err


@pytest.mark.parametrize("form", ["graphml", "json", "svg"])
def test_the_shell_writes_each_form_for_its_owner_alone(made: Path, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"graph.{form}"
    said = invoke("graph", "spring", "--output", str(path), config=made)
    assert said.code == 0, said.err
    text = path.read_text(encoding="utf-8")
    if form == "json":
        assert len(json.loads(text)["nodes"]) == 11
    else:
        assert ElementTree.fromstring(text) is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_shell_refuses_what_is_no_graph(made: Path, tmp_path: Path) -> None:
    assert invoke("graph", "nobody", config=made).code == 1
    said = invoke("graph", "spring", "--output", str(tmp_path / "graph.png"), config=made)
    assert said.code == 2
    assert ".graphml, .json, .svg" in said.err
