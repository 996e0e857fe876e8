"""The inbox: what waits for a person's answer, oldest first, with what the person needs in order to answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from loom.clock import us_from_datetime
from loom.decisions import Approval
from loom.explorer.page import Done, Page, View
from loom.explorer.visits import Visit, form
from loom.text import compact

__all__ = ["page"]

page = Page("inbox", "/inbox", title="Inbox", about="What waits for a person's answer.", place=10)

_AT_ONCE = 20


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Request(_Model):
    """One request, as its card shows it."""

    approval_id: str
    asked: str
    """Why a person is asked, in the words of who wrote the agent."""
    of: str
    by: str | None
    source: str | None
    about: str
    """Which agent asks, and for whom or what."""
    asked_at: datetime
    waiting_s: float
    deadline: datetime | None
    left_s: float | None
    at_deadline: str
    facts: dict[str, JsonValue]
    rule: str | None
    why: str | None
    action: str | None
    arguments: dict[str, JsonValue]


class InboxView(View):
    """The requests that wait, oldest first."""

    requests: tuple[Request, ...]
    next_after: int | None


class Answer(_Model):
    """What a person says to a request."""

    comment: str = Field(default="", max_length=10_000)


class Denial(_Model):
    """Why a person denies a request."""

    comment: str = Field(min_length=1, max_length=10_000, pattern=r"\S")


@page.shows
async def inbox(visit: Visit, after: Annotated[int, Query(ge=0)] = 0) -> InboxView:
    """Read the requests that wait."""
    loom = visit.loom
    as_of = loom.store.acknowledged
    found = await loom.approvals.pending(limit=_AT_ONCE + 1, after=after)
    shown = found[:_AT_ONCE]
    now_us = us_from_datetime(loom.now())
    return InboxView(
        as_of=as_of,
        requests=tuple(_request(each, now_us) for each in shown),
        next_after=shown[-1].position if len(found) > _AT_ONCE else None,
    )


@page.takes("/inbox/{approval_id}/grant", may="approve")
async def grant(visit: Visit, approval_id: str, given: Annotated[Answer, form(Answer)]) -> Done:
    """Grant a request in the name of who is signed in."""
    answered = await visit.loom.approvals.grant(approval_id, by=visit.by, comment=given.comment.strip() or None)
    return Done(f"Granted: {compact(answered.reason, 80)}", "/inbox")


@page.takes("/inbox/{approval_id}/deny", may="approve")
async def deny(visit: Visit, approval_id: str, given: Annotated[Denial, form(Denial)]) -> Done:
    """Deny a request in the name of who is signed in."""
    answered = await visit.loom.approvals.deny(approval_id, by=visit.by, comment=given.comment)
    return Done(f"Denied: {compact(answered.reason, 80)}", "/inbox")


def _request(approval: Approval, now_us: int) -> Request:
    said = approval.evaluation
    return Request(
        approval_id=approval.approval_id,
        asked=approval.reason,
        of=approval.approver,
        by=approval.requested_by,
        source=approval.requested_identity_source,
        about=approval.journal,
        asked_at=approval.requested_at,
        waiting_s=approval.waiting_s(now_us),
        deadline=approval.deadline,
        left_s=approval.left_s(now_us),
        at_deadline=approval.on_deadline,
        facts=approval.facts or {},
        rule=None if said is None else said.rule,
        why=None if said is None else said.why,
        action=approval.action,
        arguments=approval.arguments or {},
    )
