"""Precedents: when two cases are alike, by registered rules, and which earlier ones there are."""

from __future__ import annotations

from loom.precedents.answered import EarlierAnswer, EarlierAnswers
from loom.precedents.contradictions import Contradiction, Contradictions
from loom.precedents.equivalence import Attribute, Bin, EquivalenceRule, Exact, FromContext, SetOf
from loom.precedents.facets import FacetCount, FacetCounts
from loom.precedents.index import PrecedentsProjection
from loom.precedents.memory import Memory
from loom.precedents.registry import EQUIVALENCE_JOURNAL, EquivalenceRegistry, RuleVersion
from loom.precedents.resolutions import CONTRADICTION_JOURNAL, ContradictionResolvedEntry, Resolution
from loom.precedents.resolving import OpenContradictions
from loom.precedents.search import PrecedentMember, Precedents, PrecedentSupport

__all__ = [
    "CONTRADICTION_JOURNAL",
    "EQUIVALENCE_JOURNAL",
    "Attribute",
    "Bin",
    "Contradiction",
    "ContradictionResolvedEntry",
    "Contradictions",
    "EarlierAnswer",
    "EarlierAnswers",
    "EquivalenceRegistry",
    "EquivalenceRule",
    "Exact",
    "FacetCount",
    "FacetCounts",
    "FromContext",
    "Memory",
    "OpenContradictions",
    "PrecedentMember",
    "PrecedentSupport",
    "Precedents",
    "PrecedentsProjection",
    "Resolution",
    "RuleVersion",
    "SetOf",
]
