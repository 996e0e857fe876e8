"""Consensus as an extension: what it brings to a loom, and what can be asked of it from the shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, JsonValue

from consensus.board import Board, ConsensusConfig
from consensus.errors import MotionClosedError, NotAVoterError
from consensus.motion import Choice
from consensus.rule import quorum
from consensus.view import ConsensusProjection, read_cases
from loom.ext import Extension, Named, Operation

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["extension"]


_PATIENCE_S = 3.0
"""How long the shell waits for a chair who answers at once."""


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProposeMotion(_Arguments):
    """A motion, and who may vote on it."""

    motion: str
    title: str
    voters: tuple[str, ...]
    by: Named


class CastVote(_Arguments):
    """A vote, in the name of the voter."""

    motion: str
    choice: Choice
    by: Named


class CloseMotion(_Arguments):
    """Which motion is decided."""

    motion: str
    by: Named


async def _propose(board: Board, given: ProposeMotion) -> JsonValue:
    return (await board.propose(given.motion, given.title, given.voters, by=given.by)).model_dump(mode="json")


async def _vote(board: Board, given: CastVote) -> JsonValue:
    voted = await board.vote(given.motion, given.choice, voter=given.by.name, by=given.by)
    return voted.model_dump(mode="json")


async def _close(board: Board, given: CloseMotion) -> JsonValue:
    return (await board.close(given.motion, by=given.by, timeout_s=_PATIENCE_S)).model_dump(mode="json")


def _routes(api: Any) -> APIRouter:
    from consensus.routes import router  # the extra `server`

    return router(api)


extension = Extension(
    name="consensus",
    projections=(ConsensusProjection(),),
    policies=(quorum,),
    sections={"consensus": ConsensusConfig},
    operations={
        "propose": Operation(ProposeMotion, _propose),
        "vote": Operation(CastVote, _vote),
        "close": Operation(CloseMotion, _close),
    },
    start=Board.open,
    replays=Board.open,
    routes=_routes,
    errors={MotionClosedError: 423, NotAVoterError: 403},
    cases=read_cases,
)
