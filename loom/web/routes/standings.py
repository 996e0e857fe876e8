"""Standings: who may act, and how a person suspends, reinstates or retires a subject."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field

from loom.standings.standings import Standing, StandingName
from loom.web.api import takes
from loom.web.session import Approves, Operates, Reads, Session, body, may
from loom.web.shapes import Listed, Shape

__all__ = ["routes"]

routes = APIRouter(prefix="/standings")

Administers = Annotated[Session, may("administer")]


class StandingRequest(Shape):
    """Whose standing is changed, and why. Who does it, the key says."""

    subject: str = Field(min_length=1, max_length=300)
    reason: str = Field(min_length=1, max_length=10_000, pattern=r"\S")


class StandingAnswer(Shape):
    """The standing of a subject, since when, by whom and why."""

    subject: str
    standing: StandingName
    by: str | None
    identity_source: str | None
    via: str | None
    trigger: Literal["person", "system"] | None
    reason: str | None
    cause: str | None
    since: datetime | None
    position: int


@routes.get("")
async def standings(reads: Reads) -> Listed[StandingAnswer]:
    """Return the standing of every subject that has one; a subject that is not here is active."""
    return Listed(items=[_answer(each) for each in reads.loom.standings.all()])


@routes.post("/suspend", openapi_extra=takes(StandingRequest))
async def suspend(operates: Operates, given: Annotated[StandingRequest, body(StandingRequest)]) -> StandingAnswer:
    """Suspend a subject: it may not act from now on."""
    return _answer(await operates.loom.standings.suspend(given.subject, by=operates.by, reason=given.reason))


@routes.post("/reinstate", openapi_extra=takes(StandingRequest))
async def reinstate(approves: Approves, given: Annotated[StandingRequest, body(StandingRequest)]) -> StandingAnswer:
    """Reinstate a suspended subject, in the name of the key, which may not be the subject's own."""
    return _answer(await approves.loom.standings.reinstate(given.subject, by=approves.by, reason=given.reason))


@routes.post("/retire", openapi_extra=takes(StandingRequest))
async def retire(administers: Administers, given: Annotated[StandingRequest, body(StandingRequest)]) -> StandingAnswer:
    """Retire a subject, in the name of the key; it cannot be reinstated."""
    return _answer(await administers.loom.standings.retire(given.subject, by=administers.by, reason=given.reason))


def _answer(standing: Standing) -> StandingAnswer:
    return StandingAnswer.model_validate(standing._asdict())
