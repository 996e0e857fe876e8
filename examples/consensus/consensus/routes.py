"""The routes of consensus."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from consensus.board import Board
from consensus.motion import Choice, Result
from loom.ext.http import Api, Approves, Listed, Reads, Shape, body, takes

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


def router(_: Api) -> APIRouter:
    """Return the routes."""
    return routes


routes = APIRouter(prefix="/api/consensus", tags=["consensus"])


@routes.get("/motions")
async def motions(reads: Reads) -> Listed[MotionAnswer]:
    """Return every motion, by name."""
    found = await reads.loom.part(Board).motions()
    return Listed(items=[MotionAnswer.model_validate(each) for each in found])


@routes.post("/motions/{motion}/votes", openapi_extra=takes(VoteRequest))
async def vote(approves: Approves, motion: Named, given: Annotated[VoteRequest, body(VoteRequest)]) -> Result:
    """Vote on a motion in the name of the key."""
    voter = approves.by
    return await approves.loom.part(Board).vote(motion, given.choice, voter=voter.name, by=voter)
