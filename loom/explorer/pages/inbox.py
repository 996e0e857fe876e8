"""The inbox: what waits for a person's answer, oldest first."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Query

from loom.clock import us_from_datetime
from loom.decisions import Approval
from loom.explorer.cases import Shape
from loom.explorer.page import Page, View
from loom.explorer.visits import Visit
from loom.explorer.words import PersonInWords, named

__all__ = ["page"]

page = Page("inbox", "/inbox", title="Inbox", about="What waits for a person's answer.", place=10)

_AT_ONCE = 20


class Waiting(Shape):
    """One request, in a list."""

    approval_id: str
    asked: str
    """Why a person is asked, in the words of who wrote the agent."""
    of: str
    by: PersonInWords | None
    about: str
    """Which agent asks, and for whom or what."""
    asked_at: datetime
    waiting_s: float
    left_s: float | None
    """Until its deadline; None without one, negative after it."""
    question: str | None
    """What the approver wants to know first."""


class InboxView(View):
    """The requests that wait, oldest first."""

    requests: tuple[Waiting, ...]
    next_after: int | None


@page.shows
async def inbox(visit: Visit, after: Annotated[int, Query(ge=0)] = 0) -> InboxView:
    """Read the requests that wait."""
    as_of = visit.loom.store.acknowledged
    found = await visit.loom.approvals.pending(limit=_AT_ONCE + 1, after=after)
    shown, now_us = found[:_AT_ONCE], us_from_datetime(visit.loom.now())
    return InboxView(
        as_of=as_of,
        requests=tuple(_waiting(each, now_us) for each in shown),
        next_after=shown[-1].position if len(found) > _AT_ONCE else None,
    )


def _waiting(approval: Approval, now_us: int) -> Waiting:
    return Waiting(
        approval_id=approval.approval_id,
        asked=approval.reason,
        of=approval.approver,
        by=None if approval.requester is None else named(approval.requester),
        about=approval.journal,
        asked_at=approval.requested_at,
        waiting_s=approval.waiting_s(now_us),
        left_s=approval.left_s(now_us),
        question=approval.question,
    )
