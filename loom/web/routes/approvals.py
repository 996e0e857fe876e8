"""Approvals: what people are asked for, and their answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from loom.actors import ChangesPreview
from loom.decisions import Approval
from loom.precedents import EarlierAnswers
from loom.web.api import takes
from loom.web.routes.paging import After, Limit, page
from loom.web.session import Approves, Operates, Reads, body
from loom.web.shapes import (
    AnswerRequest,
    DenyRequest,
    InformRequest,
    OpenRequest,
    Page,
    PreviewRequest,
    SendBackRequest,
)

__all__ = ["routes"]

routes = APIRouter(prefix="/approvals")


@routes.get("")
async def approvals(
    reads: Reads,
    limit: Limit = 50,
    after: After = None,
    status: Annotated[str | None, Query(max_length=20)] = "pending",
) -> Page[Approval]:
    """Return what people are asked for, newest first; `status=all` brings also what was answered."""
    wanted = None if status == "all" else status
    return page(Page[Approval], await reads.loom.approvals.list(status=wanted, limit=limit, before=after), limit)


@routes.get("/{approval_id}")
async def approval(reads: Reads, approval_id: str) -> Approval:
    """Return a request with everything that happened to it."""
    return await reads.loom.approvals.get(approval_id)


@routes.post("/{approval_id}/open", openapi_extra=takes(OpenRequest))
async def opened(approves: Approves, approval_id: str, given: Annotated[OpenRequest, body(OpenRequest)]) -> Approval:
    """Return a request with what is sealed in it opened, to whom it names; that is journaled first."""
    return await approves.loom.approvals.shown(approval_id, by=approves.by, reason=given.reason)


@routes.post("/{approval_id}/grant", openapi_extra=takes(AnswerRequest))
async def grant(approves: Approves, approval_id: str, given: Annotated[AnswerRequest, body(AnswerRequest)]) -> Approval:
    """Grant a request, in the name of the key, as it is or with other values that it permits."""
    return await approves.loom.approvals.grant(
        approval_id,
        by=approves.by,
        comment=given.comment,
        changes=given.changes,
        shown=given.shown,
        distinguished=given.distinguished,
    )


@routes.post("/{approval_id}/deny", openapi_extra=takes(DenyRequest))
async def deny(approves: Approves, approval_id: str, given: Annotated[DenyRequest, body(DenyRequest)]) -> Approval:
    """Deny a request, in the name of the key, and say why."""
    return await approves.loom.approvals.deny(
        approval_id, by=approves.by, comment=given.comment, shown=given.shown, distinguished=given.distinguished
    )


@routes.post("/{approval_id}/send-back", openapi_extra=takes(SendBackRequest))
async def send_back(
    approves: Approves, approval_id: str, given: Annotated[SendBackRequest, body(SendBackRequest)]
) -> Approval:
    """Send a request back with a question, in the name of the key; its deadline holds."""
    return await approves.loom.approvals.send_back(
        approval_id, by=approves.by, question=given.question, shown=given.shown
    )


@routes.post("/{approval_id}/inform", openapi_extra=takes(InformRequest))
async def inform(
    operates: Operates, approval_id: str, given: Annotated[InformRequest, body(InformRequest)]
) -> Approval:
    """Answer the question with which a request was sent back, in the name of the key."""
    return await operates.loom.approvals.inform(approval_id, by=operates.by, information=given.information)


@routes.post("/{approval_id}/preview", openapi_extra=takes(PreviewRequest))
async def preview(
    approves: Approves, approval_id: str, given: Annotated[PreviewRequest, body(PreviewRequest)]
) -> ChangesPreview:
    """Return what would come of granting a request with other values; nothing is done."""
    return await approves.loom.approvals.preview(approval_id, given.changes)


@routes.get("/{approval_id}/earlier")
async def earlier(reads: Reads, approval_id: str) -> EarlierAnswers:
    """Return how people answered earlier cases of the class of a request."""
    return await reads.loom.approvals.earlier(approval_id)
