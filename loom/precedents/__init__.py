"""Precedents: when two cases are alike, and which earlier ones there are."""

from __future__ import annotations

from loom.precedents.equivalence import Attribute, Bin, EquivalenceRule, SetOf
from loom.precedents.index import PrecedentsProjection
from loom.precedents.search import Precedents, PrecedentSupport

__all__ = [
    "Attribute",
    "Bin",
    "EquivalenceRule",
    "PrecedentSupport",
    "Precedents",
    "PrecedentsProjection",
    "SetOf",
]
