"""Read a context graph from the journal: of a run, or of a decision with its related decisions and its replays.

The views say where decisions are; their content is read from their entries.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from loom.decisions.decision import Decision
from loom.decisions.entries import DecisionJournalEntry
from loom.decisions.referring import Referred
from loom.decisions.rows import decisions_at
from loom.decisions.run import Run
from loom.decisions.runs import RunsView
from loom.decisions.trace import DecisionSummary
from loom.decisions.traces import Traces
from loom.errors import DecisionNotFoundError, RunNotFoundError
from loom.identity import check_limit
from loom.lineage.graph import ContextGraph, Node, NodeKind
from loom.projections import Queries

__all__ = ["Lineage", "Meant"]

Meant: TypeAlias = "str | Run | DecisionSummary"
"""A run or a decision: the object, its id, or the beginning of its id."""

_OF_RUN = "SELECT position FROM trace_decisions WHERE run_id = :run ORDER BY position LIMIT :limit"
_BY_ID = """
SELECT position FROM trace_decisions WHERE decision_id IN (SELECT value FROM json_each(:ids)) ORDER BY position
"""
_OBSERVED = """
SELECT DISTINCT decision_id FROM trace_outcomes WHERE decision_id IN (SELECT value FROM json_each(:ids))
"""
_NAMES = ("traces",)
_READ = (
    "decision_id",
    "decision_type",
    "policy",
    "facts",
    "evaluation.effect",
    "inputs",
    "precedents",
    "precedent_class",
    "outcome",
    "parent_decision_id",
    "run_id",
    "origin",
    "replayed_from",
    "rationale",
)
_JOINED: tuple[Referred, ...] = ("inputs",)
_MOST = 10_000
_MOST_DESCRIBED = 500
_LONGEST = 80


class Lineage:
    """The inputs and results of decisions as a graph: `await loom.lineage.graph(run_or_decision)`.

    `alike` describes the precedent class of a decision in words, by attribute.
    """

    def __init__(self, queries: Queries, *, alike: Callable[[Decision], Mapping[str, str]] = lambda _: {}) -> None:
        self._queries = queries
        self._alike = alike
        self._traces = Traces(queries)
        self._runs = RunsView(queries)

    async def graph(self, of: Meant, *, limit: int = _MOST) -> ContextGraph:
        """Return the inputs and results of decisions: those of a run, or one with its related decisions.

        Nodes are contexts (look-ups, and the situation or facts that a rule was given), policy versions, precedents
        (earlier decisions that were referred to), decisions, and outcomes (what was done; what was observed later).
        Related decisions are those that led to it, those that followed from it, and its replays. More than `limit`
        decisions are cut, and the graph says so. Raises `RunNotFoundError` or `DecisionNotFoundError`.
        """
        check_limit(limit)
        name, positions = await self._meant(of, limit + 1)
        found = await decisions_at(self._queries.entries, positions[:limit], _READ, joined=_JOINED)
        decisions = {at: dict(decision) for at, (_, decision) in found.items() if decision is not None}
        journals = {at: part.journal for at, (part, _) in found.items()}
        drawing = _Drawing()
        for at in positions[:limit]:
            if at in decisions:
                drawing.add(decisions[at], journal=journals[at])
        await self._refer(drawing)
        await self._describe(drawing, decisions)
        await self._observe(drawing)
        return ContextGraph.made(name, drawing.nodes.values(), drawing.edges, cut=len(positions) > limit)

    async def _meant(self, of: Meant, limit: int) -> tuple[str, Sequence[int]]:
        """Return the name of the run or decision, and the positions of its decisions, oldest first."""
        if isinstance(of, str):
            of = await self._named(of)
        if isinstance(of, Run):
            rows = await self._queries.fetch(_OF_RUN, {"run": of.run_id, "limit": limit}, names=_NAMES)
            return f"run {of.run_id}", [row["position"] for row in rows]
        chain = await self._traces.chain(of.decision_id)
        lineage = await self._traces.lineage(of.decision_id)
        related = [*chain.ancestors, *chain.descendants, *lineage.members]
        positions = {of.position, *(each.decision.position for each in related)}
        return f"decision {of.decision_id}", sorted(positions)[:limit]

    async def _named(self, name: str) -> Run | DecisionSummary:
        try:
            return await self._runs.get(name)
        except RunNotFoundError as no_run:
            try:
                return await self._traces.get(name)
            except DecisionNotFoundError:
                raise RunNotFoundError(
                    f"[{name!r:.80}] is neither a run nor a decision; expected [the id of one, or its beginning]"
                    ": see `loom runs` and `loom decisions`"
                ) from no_run

    async def _refer(self, drawing: _Drawing) -> None:
        """Add type and effect to decisions that are only referred to."""
        wanted = {"ids": json.dumps(sorted(drawing.referred))}
        rows = await self._queries.fetch(_BY_ID, wanted, names=_NAMES, consistent=False) if drawing.referred else ()
        found = await decisions_at(self._queries.entries, [row["position"] for row in rows], _READ)
        for part, decision in found.values():
            if decision is not None:
                drawing.name(dict(decision), journal=part.journal)

    async def _describe(self, drawing: _Drawing, decisions: Mapping[int, Mapping[str, Any]]) -> None:
        """Describe situations in words, up to a readable number."""
        firsts: dict[str, int] = {}
        for at, decision in decisions.items():
            if decision["precedent_class"] is not None:
                firsts.setdefault(decision["precedent_class"]["situation"], at)
        for recorded in (await self._queries.entries.at(list(firsts.values())[:_MOST_DESCRIBED])).values():
            if not isinstance(recorded.entry, DecisionJournalEntry):
                continue
            decided = recorded.entry.decision
            words = self._alike(decided)
            parts = [f"{name} {words[name]}" for name in words if name != "rule" and name not in decided.outcome]
            if parts and decided.precedent_class is not None:
                drawing.relabel(_situation(decided.precedent_class.situation), ", ".join(parts))

    async def _observe(self, drawing: _Drawing) -> None:
        """Add the later observed outcomes of decisions."""
        wanted = {"ids": json.dumps(sorted(drawing.decided))}
        for row in await self._queries.fetch(_OBSERVED, wanted, names=_NAMES, consistent=False):
            for observed in (await self._traces.get(row["decision_id"])).outcomes:
                correct = {True: "correct", False: "wrong", None: "observed"}[observed.correct]
                drawing.observe(row["decision_id"], correct, observed.actual)


class _Drawing:
    """Nodes and edges, as they are found."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.edges: list[tuple[str, str, str]] = []
        self.decided: set[str] = set()
        self.referred: dict[str, NodeKind] = {}

    def add(self, decision: Mapping[str, Any], *, journal: str) -> None:
        """Add a decision with everything that it refers to."""
        own = f"decision:{decision['decision_id']}"
        self.decided.add(decision["decision_id"])
        self.referred.pop(decision["decision_id"], None)
        self.nodes[own] = _decision_node(decision, journal, kind="decision")
        for node, relation in _beside(decision):
            self.nodes.setdefault(node.id, node)
            self.edges.append((own, node.id, relation) if node.kind == "outcome" else (node.id, own, relation))
        for other, relation, kind in _others(decision):
            self._refer(other, kind)
            self.edges.append((f"decision:{other}", own, relation))

    def name(self, decision: Mapping[str, Any], *, journal: str) -> None:
        """Set the attributes of a decision that others only refer to."""
        kind = self.referred.get(decision["decision_id"])
        if kind is not None:
            node = _decision_node(decision, journal, kind=kind)
            self.nodes[node.id] = node

    def relabel(self, identity: str, label: str) -> None:
        """Set the label of a node."""
        if identity in self.nodes:
            self.nodes[identity] = self.nodes[identity].model_copy(update={"label": _short(label)})

    def observe(self, decision_id: str, correct: str, actual: Any) -> None:
        """Add an observed outcome of a decision."""
        text = correct if actual is None else f"{correct}: {_as_json(actual)}"
        node = Node(id=f"outcome:{_digest(text)}", kind="outcome", label=_short(text), attributes={"observed": True})
        self.nodes.setdefault(node.id, node)
        self.edges.append((f"decision:{decision_id}", node.id, "turned out"))

    def _refer(self, decision_id: str, kind: NodeKind) -> None:
        """Add a decision that another refers to: a precedent, unless it led to one or was replayed as one."""
        if decision_id not in self.decided and self.referred.get(decision_id) != "decision":
            self.referred[decision_id] = kind
            identity = f"decision:{decision_id}"
            self.nodes[identity] = Node(id=identity, kind=kind, label=decision_id[:12])


class _Beside(NamedTuple):
    node: Node
    relation: str


def _decision_node(decision: Mapping[str, Any], journal: str, *, kind: NodeKind) -> Node:
    attributes = {
        "decision_type": decision["decision_type"],
        "effect": (decision.get("evaluation") or {}).get("effect"),
        "journal": journal,
        "policy_version": (decision["policy"] or {}).get("version"),
        "rule": (decision["policy"] or {}).get("rule"),
        "run_id": decision.get("run_id"),
        "origin": decision.get("origin") or "original",
        "rationale": decision["rationale"],
    }
    label = f"{decision['decision_type']} {decision['decision_id'][:12]}"
    told = {name: value for name, value in attributes.items() if value is not None}
    return Node(id=f"decision:{decision['decision_id']}", kind=kind, label=label, attributes=told)


def _beside(decision: Mapping[str, Any]) -> Iterator[_Beside]:
    """Yield the inputs and the result of a decision."""
    for each in decision.get("inputs") or ():
        about = {name: each[name] for name in ("system", "entity", "query")}
        label = _short(" ".join(map(str, about.values())))
        yield _Beside(Node(id=f"context:{_digest(about)}", kind="context", label=label, attributes=about), "informed")
    if (alike := decision.get("precedent_class")) is not None:
        identity = _situation(alike["situation"])
        node = Node(id=identity, kind="context", label=identity.removeprefix("context:"))
        yield _Beside(node, "was the situation of")
    elif (facts := decision.get("facts")) is not None:
        node = Node(id=f"context:{_digest(facts)}", kind="context", label=_short(f"facts {_as_json(facts)}"))
        yield _Beside(node, "were the facts of")
    if policy := decision["policy"]:  # an observed one has none
        told = {"name": policy["name"], "version": policy["version"]}
        label = f"{policy['name']} {policy['version']}"
        yield _Beside(Node(id=f"policy:{policy['hash']}", kind="policy", label=label, attributes=told), "judged")
    if outcome := decision.get("outcome"):
        parts = (f"{name} {value if isinstance(value, str) else _as_json(value)}" for name, value in outcome.items())
        label, identity = _short(", ".join(parts)), f"outcome:{_digest(outcome)}"
        yield _Beside(Node(id=identity, kind="outcome", label=label, attributes={"outcome": outcome}), "came to")


def _others(decision: Mapping[str, Any]) -> Iterator[tuple[str, str, NodeKind]]:
    """Yield the decisions that a decision refers to, with the relation."""
    for each in decision.get("precedents") or ():
        yield each["decision_id"], f"was {each.get('relation', 'followed')} by", "precedent"
    if decision.get("parent_decision_id"):
        yield decision["parent_decision_id"], "led to", "decision"
    if decision.get("replayed_from"):
        yield decision["replayed_from"], "was replayed as", "decision"


def _situation(key: str) -> str:
    return f"context:situation {key[:12]}"


def _digest(value: object) -> str:
    return hashlib.sha256(_as_json(value).encode()).hexdigest()[:16]


def _as_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
