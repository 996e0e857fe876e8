"""The context graph: nodes of five kinds and their edges, as GraphML, as JSON, and condensed for a drawing."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeAlias
from xml.etree import ElementTree

from pydantic import BaseModel, ConfigDict, JsonValue

__all__ = ["ContextGraph", "Edge", "Node", "NodeKind", "xml_text"]

NodeKind: TypeAlias = Literal["context", "decision", "policy", "precedent", "outcome"]
"""The kind of a node."""

_KINDS: tuple[NodeKind, ...] = ("context", "precedent", "policy", "decision", "outcome")
_NAMESPACE = "http://graphml.graphdrawing.org/xmlns"
_KEYS = (
    ("kind", "node", "string"),
    ("label", "node", "string"),
    ("count", "node", "int"),
    ("attributes", "node", "string"),
    ("relation", "edge", "string"),
    ("times", "edge", "int"),
)
_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-�𐀀-\U0010ffff]")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Node(_Frozen):
    """One node. `count` is the number of original nodes: more than one where a graph was condensed."""

    id: str
    kind: NodeKind
    label: str
    count: int = 1
    attributes: dict[str, JsonValue] = {}


class Edge(_Frozen):
    """A connection of two nodes, from `source` to `target`, with its count."""

    source: str
    target: str
    relation: str
    count: int = 1


class ContextGraph(_Frozen):
    """The inputs and results of decisions; `of` names whose. `cut` says that there are more decisions than are in it.

    Edges go from cause to effect: context, precedent and policy → decision → outcome, decision → decision.
    """

    of: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    cut: bool = False

    @classmethod
    def made(cls, of: str, nodes: Iterable[Node], edges: Iterable[tuple[str, str, str]], *, cut: bool) -> ContextGraph:
        """Return the graph of nodes by id and edges (source, target, relation), in an order independent of the input's.

        An edge without a node at either end is left out.
        """
        known = {each.id: each for each in nodes}
        counted = Counter(edge for edge in edges if edge[0] in known and edge[1] in known)
        return cls(
            of=of,
            nodes=tuple(sorted(known.values(), key=lambda each: (_KINDS.index(each.kind), each.id))),
            edges=tuple(Edge(source=a, target=b, relation=how, count=n) for (a, b, how), n in sorted(counted.items())),
            cut=cut,
        )

    def count(self, kind: NodeKind) -> int:
        """Return the number of nodes of a kind."""
        return sum(each.kind == kind for each in self.nodes)

    def condensed(self, *, most: int = 12) -> ContextGraph:
        """Return a graph for a drawing: similar nodes are one node, with a maximum for each kind.

        Decisions of one type with one effect are one node, and so are contexts, policies, precedents and outcomes of
        one label. Of each kind the most frequent are kept; the others are one node with their count.
        """
        alike = {each.id: f"{each.kind}:{_alike(each)}" for each in self.nodes}
        totals: Counter[str] = Counter()
        first: dict[str, Node] = {}
        for each in self.nodes:
            totals[alike[each.id]] += each.count
            first.setdefault(alike[each.id], each)
        place: dict[str, str] = {}
        for kind in _KINDS:
            of_kind = (each for each in first if first[each].kind == kind)
            ranked = sorted(of_kind, key=lambda each: (-totals[each], each))
            place |= {each: each if at < most else f"{kind}:…" for at, each in enumerate(ranked)}
        merged: Counter[str] = Counter()
        for name, total in totals.items():
            merged[place[name]] += total
        rest = Counter(place.values())
        nodes = [
            Node(
                id=name,
                kind=first[name].kind if name in first else _kind_of(name),
                label=_alike(first[name]) if name in first else f"{rest[name]:,} others",
                count=n,
            )
            for name, n in merged.items()
        ]
        found: Counter[tuple[str, str, str]] = Counter()
        for edge in self.edges:
            ends = place[alike[edge.source]], place[alike[edge.target]]
            found[*ends, edge.relation] += edge.count
        plain = ContextGraph.made(self.of, nodes, found, cut=self.cut)
        times = ((each, found[each.source, each.target, each.relation]) for each in plain.edges)
        return plain.model_copy(update={"edges": tuple(each.model_copy(update={"count": n}) for each, n in times)})

    def to_json(self) -> dict[str, JsonValue]:
        """Return nodes and edges in JSON form."""
        return self.model_dump(mode="json")

    def to_graphml(self) -> str:
        """Return the graph as GraphML, which graph tools read; attributes are JSON in one value."""
        root = ElementTree.Element("graphml", xmlns=_NAMESPACE)
        for name, where, kind in _KEYS:
            ElementTree.SubElement(root, "key", {"id": name, "for": where, "attr.name": name, "attr.type": kind})
        graph = ElementTree.SubElement(root, "graph", id=xml_text(self.of), edgedefault="directed")
        for node in self.nodes:
            home = ElementTree.SubElement(graph, "node", id=xml_text(node.id))
            attributes = json.dumps(node.attributes, sort_keys=True, ensure_ascii=False) if node.attributes else ""
            values = {"kind": node.kind, "label": node.label, "count": str(node.count), "attributes": attributes}
            _data(home, values)
        for number, edge in enumerate(self.edges):
            ends = {"id": f"e{number}", "source": xml_text(edge.source), "target": xml_text(edge.target)}
            home = ElementTree.SubElement(graph, "edge", ends)
            _data(home, {"relation": edge.relation, "times": str(edge.count)})
        ElementTree.indent(root)
        return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _alike(node: Node) -> str:
    """Return the label that a node shares with those that are drawn as one node with it."""
    label_of: dict[NodeKind, Callable[[Mapping[str, JsonValue]], str]] = {
        "decision": lambda of: f"{of.get('decision_type')}: {of.get('effect') or 'no rule'}",
        "precedent": lambda of: str(of.get("decision_type") or node.label),
        "context": lambda of: f"{of['system']} {of['entity']}" if "system" in of else node.label,
    }
    return label_of[node.kind](node.attributes) if node.kind in label_of and node.attributes else node.label


def _kind_of(identity: str) -> NodeKind:
    return next(each for each in _KINDS if identity.startswith(f"{each}:"))


def _data(home: ElementTree.Element, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        if value:
            ElementTree.SubElement(home, "data", key=name).text = xml_text(value)


def xml_text(value: str) -> str:
    """Return text without characters that XML cannot express."""
    return _NO_XML.sub("�", value)
