"""Oversight: figures of people's answers, and blind second looks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, Field

from loom.people.oversight import OversightReport, Sampled
from loom.people.oversight_looks import BlindCase
from loom.web.api import takes
from loom.web.session import Approves, Operates, Reads, body
from loom.web.shapes import Listed, Shape

__all__ = ["routes"]

routes = APIRouter(prefix="/oversight")


class SampleRequest(Shape):
    """Which share of the answers is drawn."""

    share: float = Field(gt=0, le=1)


class SecondAnswerRequest(Shape):
    """How a person would have answered, and why."""

    granted: bool
    comment: str | None = Field(default=None, max_length=2_000)


class SecondAnswer(Shape):
    """Whether a second answer agrees with the first one."""

    look_id: str
    agrees: bool


@routes.get("")
async def report(
    reads: Reads,
    since: Annotated[AwareDatetime | None, Query(description="Only answers since then.")] = None,
) -> OversightReport:
    """Return the figures of people's answers, and what stands out by the policy `oversight`."""
    return await reads.loom.oversight.report(since=since)


@routes.post("/sample", openapi_extra=takes(SampleRequest))
async def sample(operates: Operates, given: Annotated[SampleRequest, body(SampleRequest)]) -> Sampled:
    """Draw answered cases for a blind second look."""
    return await operates.loom.oversight.sample(given.share, by=operates.by)


@routes.get("/looks")
async def looks(reads: Reads, limit: Annotated[int, Query(ge=1, le=1_000)] = 50) -> Listed[BlindCase]:
    """Return the cases that wait for a second answer, without their outcomes."""
    return Listed[BlindCase](items=list(await reads.loom.oversight.looks(limit=limit)))


@routes.post("/looks/{look_id}/answer", openapi_extra=takes(SecondAnswerRequest))
async def answer(
    approves: Approves, look_id: str, given: Annotated[SecondAnswerRequest, body(SecondAnswerRequest)]
) -> SecondAnswer:
    """Answer a case a second time, in the name of the key; it changes nothing of the case."""
    look = await approves.loom.oversight.answer(look_id, granted=given.granted, by=approves.by, comment=given.comment)
    return SecondAnswer(look_id=look.look_id, agrees=look.answered is not None and look.answered.agrees)
