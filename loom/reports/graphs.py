"""A context graph as SVG: what decisions rested on at the left, the decisions, and their results at the right."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape as escaped
from math import log2
from typing import NamedTuple

from loom.lineage import ContextGraph, Edge, Node, NodeKind
from loom.lineage.graph import xml_text

__all__ = ["as_svg"]

_COLUMNS: dict[NodeKind, int] = {"context": 0, "precedent": 0, "policy": 0, "decision": 1, "outcome": 2}
_COLORS: dict[NodeKind, str] = {
    "context": "#2f5bd7",
    "precedent": "#6a4bc4",
    "policy": "#9a6a00",
    "decision": "#444b57",
    "outcome": "#1f7a4d",
}
_WIDTH, _BOX, _ROW, _TALL = 960, 250, 34, 26
_LEFTS = (0, 355, 710)
_TOP = 22
_LONGEST = 36


def _xml(text: str) -> str:
    return escaped(xml_text(text))


class _Box(NamedTuple):
    node: Node
    x: int
    y: int


def as_svg(graph: ContextGraph, *, most: int = 12) -> str:
    """Return a graph, condensed to at most so many nodes of each kind, as one SVG element; every text is escaped.

    Where a line is broad, many go that way: its width grows with the logarithm of their number.
    """
    drawn = graph.condensed(most=most)
    boxes = _placed(drawn)
    height = _TOP + max((each.y for each in boxes.values()), default=0) + _ROW
    about = f"Context graph of {graph.of}: {len(graph.nodes):,} nodes, {len(graph.edges):,} edges"
    lines = (_line(each, boxes[each.source], boxes[each.target]) for each in drawn.edges)
    parts = [*_heads(boxes), *lines, *(part for each in boxes.values() for part in _box(each))]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="graph" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{_xml(about)}" font-family="system-ui, sans-serif" font-size="12">\n{body}\n</svg>'
    )


def _placed(graph: ContextGraph) -> dict[str, _Box]:
    """Return where each node is, by column and by how many it stands for."""
    boxes, filled = {}, [0, 0, 0]
    order = tuple(_COLUMNS)
    for node in sorted(graph.nodes, key=lambda each: (order.index(each.kind), -each.count, each.id)):
        column = _COLUMNS[node.kind]
        boxes[node.id] = _Box(node, _LEFTS[column], _TOP + filled[column] * _ROW)
        filled[column] += 1
    return boxes


def _heads(boxes: dict[str, _Box]) -> Iterator[str]:
    there = {_COLUMNS[each.node.kind] for each in boxes.values()}
    for column, words in enumerate(("what they rested on", "decisions", "their results")):
        if column in there:
            yield f'<text x="{_LEFTS[column]}" y="12" fill="#6b7280">{words}</text>'


def _box(box: _Box) -> Iterator[str]:
    node, color = box.node, _COLORS[box.node.kind]
    label = node.label if len(node.label) <= _LONGEST else node.label[: _LONGEST - 1] + "…"
    times = f" × {node.count:,}" if node.count > 1 else ""
    yield f"<g><title>{_xml(f'{node.kind}: {node.label}{times}')}</title>"
    yield (
        f'<rect x="{box.x}" y="{box.y}" width="{_BOX}" height="{_TALL}" rx="4" fill="{color}" fill-opacity="0.10" '
        f'stroke="{color}"/>'
    )
    yield f'<text x="{box.x + 8}" y="{box.y + 17}" fill="{color}">{_xml(label)}</text>'
    if times:
        yield f'<text x="{box.x + _BOX - 8}" y="{box.y + 17}" fill="{color}" text-anchor="end">{times.strip()}</text>'
    yield "</g>"


def _line(edge: Edge, source: _Box, target: _Box) -> str:
    x1, y1, y2 = source.x + _BOX, source.y + _TALL // 2, target.y + _TALL // 2
    if source.x == target.x:  # from one decision to another: around the right of the column
        x2, bend = x1, x1 + 70
        path = f"M{x1},{y1} C{bend},{y1} {bend},{y2} {x2},{y2}"
    else:
        x2, bend = target.x, (x1 + target.x) // 2
        path = f"M{x1},{y1} C{bend},{y1} {bend},{y2} {x2},{y2}"
    width = 1 + log2(edge.count)
    words = _xml(f"{source.node.label} {edge.relation} {target.node.label}, {edge.count:,} times")
    return (
        f'<path d="{path}" fill="none" stroke="{_COLORS[source.node.kind]}" stroke-opacity="0.35" '
        f'stroke-width="{width:.1f}"><title>{words}</title></path>'
    )
