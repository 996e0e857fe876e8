"""The operation on contradictions: a person says which outcome stands."""

from __future__ import annotations

from pydantic import JsonValue

from loom.operations.arguments import ResolveContradiction
from loom.precedents import OpenContradictions

__all__ = ["resolve_contradiction"]


async def resolve_contradiction(contradictions: OpenContradictions, given: ResolveContradiction) -> JsonValue:
    """Resolve a contradiction, and return it as it is then."""
    found = await contradictions.resolve(given.id, stands=given.stands, by=given.by, reason=given.reason)
    plain: JsonValue = found.model_dump(mode="json")
    return plain
