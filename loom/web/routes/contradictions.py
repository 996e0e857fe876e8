"""Contradictions: equal situations that were decided in more than one way, until a person says what stands."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from loom.precedents import Contradiction, Contradictions
from loom.web.api import takes
from loom.web.session import Approves, Reads, body
from loom.web.shapes import ResolveRequest

__all__ = ["routes"]

routes = APIRouter(prefix="/contradictions")


@routes.get("")
async def contradictions(
    reads: Reads,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    status: Literal["open", "resolved", "all"] = "open",
    rule: Annotated[str | None, Query(max_length=200)] = None,
) -> Contradictions:
    """Return contradictions with the largest minority first; `status=all` brings also resolved ones."""
    return await reads.loom.contradictions.list(status=None if status == "all" else status, rule=rule, limit=limit)


@routes.get("/{situation}")
async def contradiction(reads: Reads, situation: str) -> Contradiction:
    """Return one contradiction, with what a person said of it."""
    return await reads.loom.contradictions.get(situation)


@routes.post("/{situation}/resolve", openapi_extra=takes(ResolveRequest))
async def resolve(
    approves: Approves, situation: str, given: Annotated[ResolveRequest, body(ResolveRequest)]
) -> Contradiction:
    """Say which outcome stands, in the name of the key, and why."""
    return await approves.loom.contradictions.resolve(
        situation, stands=given.stands, by=approves.by, reason=given.reason
    )
