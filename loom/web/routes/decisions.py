"""Decisions: a page of them, one with all that is joined to it, and counts by a fact."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from loom.decisions import DecisionSummary, Explanation
from loom.precedents import FacetCounts
from loom.web.routes.paging import After, Id, Limit, Word, page
from loom.web.session import Reads
from loom.web.shapes import ExplainedTrace, Page

__all__ = ["routes"]

routes = APIRouter()


@routes.get("/decisions")
async def decisions(
    reads: Reads,
    limit: Limit = 50,
    after: After = None,
    type: Word = None,
    policy: Word = None,
    run: Annotated[str | None, Query(max_length=200)] = None,
    actor_type: Word = None,
    exception: bool | None = None,  # noqa: FBT001 - a parameter of the query
    since: AwareDatetime | None = None,
) -> Page[DecisionSummary]:
    """Return decisions, newest first."""
    found = await reads.loom.traces.find(
        decision_type=type,
        policy=policy,
        run_id=run,
        actor_type=actor_type,
        is_exception=exception,
        since=since,
        limit=limit,
        after=after,
    )
    return page(Page[DecisionSummary], found, limit)


@routes.get("/facets")
async def facets(
    reads: Reads,
    name: Id,
    limit: Limit = 50,
    type: Word = None,
    policy: Word = None,
    actor_type: Word = None,
    exception: bool | None = None,  # noqa: FBT001 - a parameter of the query
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
) -> FacetCounts:
    """Return how many decisions there are of each value of a fact; `complete` says whether all were read."""
    return await reads.loom.precedents.facets(
        name,
        limit=limit,
        decision_type=type,
        policy=policy,
        actor_type=actor_type,
        is_exception=exception,
        since=since,
        until=until,
    )


@routes.get("/decisions/{decision_id}")
async def decision(reads: Reads, decision_id: str) -> ExplainedTrace:
    """Return a decision with everything that is joined to it."""
    trace = await reads.loom.traces.get(decision_id)
    explained = await reads.loom.traces.explain(trace.decision_id)
    return ExplainedTrace(**dict(trace), explanation=explained)


@routes.get("/decisions/{decision_id}/why")
async def why(reads: Reads, decision_id: str) -> Explanation:
    """Return a decision in the order in which a person asks."""
    return await reads.loom.traces.explain(decision_id)
