"""Approvals: what people are asked for, and their answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from loom.decisions import Approval
from loom.web.api import takes
from loom.web.routes.paging import After, Limit, page
from loom.web.session import Approves, Reads, body
from loom.web.shapes import AnswerRequest, DenyRequest, OpenRequest, Page

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
    """Grant a request, in the name of the key."""
    return await approves.loom.approvals.grant(approval_id, by=approves.by, comment=given.comment)


@routes.post("/{approval_id}/deny", openapi_extra=takes(DenyRequest))
async def deny(approves: Approves, approval_id: str, given: Annotated[DenyRequest, body(DenyRequest)]) -> Approval:
    """Deny a request, in the name of the key, and say why."""
    return await approves.loom.approvals.deny(approval_id, by=approves.by, comment=given.comment)
