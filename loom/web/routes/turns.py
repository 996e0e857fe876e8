"""Turns: a page of them, one with its reply, its events as they happen, and what a person may do about it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from pydantic import Field, JsonValue

from loom.actors.turns import TurnListing
from loom.actors.turns_view import TurnStatus
from loom.web.api import Api, takes
from loom.web.commands import TurnAnswer, turn_answer
from loom.web.events import entry_frames, turn_frames
from loom.web.keys import KEYS_JOURNAL
from loom.web.live import EventStream, Frame
from loom.web.routes.paging import After, Limit, Moved, page
from loom.web.session import Operates, Reads, Session, body
from loom.web.shapes import Page, Shape

__all__ = ["routes"]

routes = APIRouter()

Journal = Annotated[
    str | None,
    Query(max_length=300, description="Its journal: ids are unique within one, and rarely needed for another."),
]
LastEvent = Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=2**53)]
_EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}


class RetryRequest(Shape):
    """Why a turn tries again, and whether an effect that may have happened may be done again."""

    reason: str | None = Field(default=None, max_length=10_000)
    perform: bool = False


class AbandonRequest(Shape):
    """Why a turn is given up. Who does, the key says."""

    reason: str = Field(min_length=1, max_length=10_000, pattern=r"\S")


class ForkRequest(Shape):
    """At which step another turn begins, and which fields of the command have other values there."""

    at: int | str
    """The sequence of the first entry of the first step that is done again, or how the text of the step begins."""
    changed: dict[str, JsonValue] | None = None
    perform: bool = False
    reason: str | None = Field(default=None, max_length=10_000)
    new_id: str | None = Field(default=None, min_length=1, max_length=200, pattern=r"^[!-.0-~]+$")
    """The command id of the new turn: sent again with the same one, nothing is forked twice."""


@routes.get("/turns")
async def turns(
    reads: Reads,
    limit: Limit = 50,
    after: After = None,
    status: TurnStatus | None = None,
    journal: Journal = None,
) -> Page[TurnListing]:
    """Return turns, newest first; `after` is the received position of the last one already seen."""
    found = await reads.loom.turns.list(status=status, journal=journal, limit=limit, before=after)
    return page(Page[TurnListing], found, limit, by="summary.received_position")


@routes.get("/turns/{turn_id}")
async def turn(reads: Reads, turn_id: str, journal: Journal = None) -> TurnAnswer[JsonValue]:
    """Return a turn: how far it is, its reply, and what it waits for. What is sealed in the reply stays sealed."""
    return await turn_answer(reads.loom, turn_id, journal=journal)


@routes.get("/turns/{turn_id}/events", response_model=None, responses=_EVENTS)
async def turn_events(
    request: Request, reads: Reads, turn_id: str, journal: Journal = None, last_event_id: LastEvent = None
) -> EventStream:
    """Stream the entries of a turn and its progress, until its end.

    `entry` events have the sequence as their id, and `Last-Event-ID` goes on after it. `progress` events are not
    journaled and come once. The last event is `turn`, with the turn as it ended.
    """
    known = await turn_answer(reads.loom, turn_id, journal=journal)
    api: Api = request.app.state.api
    commits = api.live.commits[reads.caller.workspace]
    source = turn_frames(reads.loom, commits, known.journal, known.command_id, after=last_event_id or 0)
    return _stream(api, reads, source)


@routes.get("/entries/events", response_model=None, responses=_EVENTS)
async def entry_events(
    request: Request, reads: Reads, after: Moved = None, last_event_id: LastEvent = None
) -> EventStream:
    """Stream the entries of the workspace as they are appended, from now on or after a position, without bodies.

    The id of an event is its position, and `Last-Event-ID` goes on after it. Who has keys is for admins.
    """
    api: Api = request.app.state.api
    hidden = frozenset() if reads.caller.may("administer") else frozenset({KEYS_JOURNAL})
    commits = api.live.commits[reads.caller.workspace]
    seen = after if last_event_id is None else last_event_id
    return _stream(api, reads, entry_frames(reads.loom, commits, after=seen, hidden=hidden))


def _stream(api: Api, reads: Session, source: AsyncGenerator[Frame, None]) -> EventStream:
    key_id = reads.caller.key.key_id
    return EventStream(source, api.live, key_id=key_id, allowed=partial(api.opens, reads.caller))


@routes.post("/turns/{turn_id}/retry", openapi_extra=takes(RetryRequest))
async def retry(operates: Operates, turn_id: str, given: Annotated[RetryRequest, body(RetryRequest)]) -> TurnListing:
    """Retry a turn that is stuck or has failed, in the name of the key."""
    return await operates.loom.turns.retry(turn_id, by=operates.by, reason=given.reason, perform=given.perform)


@routes.post("/turns/{turn_id}/fork", openapi_extra=takes(ForkRequest))
async def fork(operates: Operates, turn_id: str, given: Annotated[ForkRequest, body(ForkRequest)]) -> TurnListing:
    """Begin another turn that has the recorded steps of this one up to a step, in the name of the key."""
    return await operates.loom.turns.fork(
        turn_id,
        at=given.at,
        by=operates.by,
        changed=given.changed,
        perform=given.perform,
        reason=given.reason,
        id=given.new_id,
    )


@routes.post("/turns/{turn_id}/abandon", openapi_extra=takes(AbandonRequest))
async def abandon(
    operates: Operates, turn_id: str, given: Annotated[AbandonRequest, body(AbandonRequest)]
) -> TurnListing:
    """Abandon a turn without an end, in the name of the key; a running one is stopped."""
    return await operates.loom.turns.abandon(turn_id, by=operates.by, reason=given.reason)
