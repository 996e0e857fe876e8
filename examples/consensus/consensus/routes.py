"""The routes of consensus."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from consensus.board import Board
from consensus.motion import Choice, Result
from loom.ext.http import Api, Listed, Shape, Workspace, read_body, takes

__all__ = ["router"]

Named = Annotated[str, Path(min_length=1, max_length=200)]


class VoteRequest(Shape):
    """A vote. Who votes, the key says."""

    choice: Choice


class MotionAnswer(Shape):
    """How a motion stands."""

    motion: str
    title: str
    voters: int
    closed: bool
    carried: bool | None
    decision_id: str | None
    votes_for: int
    votes_against: int
    abstained: int


def router(api: Api) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/consensus", tags=["consensus"])

    @routes.get("/motions", response_model=Listed[MotionAnswer])
    async def motions(request: Request, workspaceId: Workspace) -> dict[str, object]:  # noqa: N803 - as the API has it
        """Return every motion, by name."""
        loom, _ = await api.caller(request, "read")
        return {"items": await loom.part(Board).motions()}

    @routes.post("/motions/{motion}/votes", openapi_extra=takes(VoteRequest))
    async def vote(request: Request, motion: Named, workspaceId: Workspace) -> Result:  # noqa: N803
        """Vote on a motion in the name of the key."""
        loom, caller = await api.caller(request, "approve")
        given = await read_body(request, VoteRequest)
        return await loom.part(Board).vote(motion, given.choice, voter=caller.identity.name, by=caller.identity)

    return routes
