"""Lineage as a graph: what decisions rested on, under which policy, after which precedents, and what came of them."""

from __future__ import annotations

from loom.lineage.graph import ContextGraph, Edge, Node, NodeKind
from loom.lineage.reading import Lineage

__all__ = ["ContextGraph", "Edge", "Lineage", "Node", "NodeKind"]
