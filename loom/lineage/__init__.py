"""Lineage as a graph: the inputs of decisions, their policies, their precedents, and their results."""

from __future__ import annotations

from loom.lineage.graph import ContextGraph, Edge, Node, NodeKind
from loom.lineage.reading import Lineage

__all__ = ["ContextGraph", "Edge", "Lineage", "Node", "NodeKind"]
