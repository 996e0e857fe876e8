"""Actors: what they do now, commands to them, and letting one that was stopped take commands again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse
from pydantic import Field, JsonValue, RootModel

from loom.actors.listing import ActorListing, list_actors, restart_actor
from loom.identity import parse_journal_name
from loom.web.api import Api, Workspace, takes
from loom.web.commands import TurnAnswer, location_of, send, wait_s_of
from loom.web.session import Operates, Reads, Session, body, session_of
from loom.web.shapes import Listed, Shape

__all__ = ["SEND", "CommandRequest", "routes"]

routes = APIRouter()

SEND = "/actors/{actor_type}/{key}/{command}"

Idempotency = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        pattern=r"^[!-.0-~]+$",
        description="The id of the command: sent again under it, a command is answered and not run.",
    ),
]
Prefer = Annotated[
    list[str] | None,
    Header(description="`wait=N` waits for the reply, N seconds at most; without it the answer is 202 at once."),
]


class CommandRequest(RootModel[dict[str, JsonValue]]):
    """The fields of a command, as its class declares them. Who sends it, the key says."""


class RestartRequest(Shape):
    """Which stopped actor takes commands again."""

    journal: str = Field(min_length=1, max_length=300)


async def _may_send(
    request: Request, actor_type: str, key: str, command: str, workspace_id: Workspace = None
) -> Session:
    """Let a key send a command that the policy `web.permissions` allows it."""
    session = await session_of(request, "read")
    api: Api = request.app.state.api
    permissions = api.permissions(session.caller.workspace)
    await permissions.check(session.caller, actor_type=actor_type, key=key, command=command)
    return session


@routes.post(
    SEND,
    response_model=TurnAnswer[JsonValue],
    openapi_extra=takes(CommandRequest),
    responses={202: {"model": TurnAnswer[JsonValue], "description": "accepted; see Location"}},
)
async def command(
    request: Request,
    sends: Annotated[Session, Depends(_may_send)],
    actor_type: str,
    key: str,
    command: str,
    given: Annotated[CommandRequest, body(CommandRequest)],
    idempotency_key: Idempotency = None,
    prefer: Prefer = None,
) -> JSONResponse:
    """Send a command to an actor: 200 with the end of its turn, or 202 while it goes on."""
    api: Api = request.app.state.api
    wait_s = wait_s_of(prefer or [], most=api.config.max_wait_s)
    turn = await send(
        sends.loom,
        actor_type=actor_type,
        key=key,
        command_type=command,
        payload=given.root,
        id=idempotency_key,
        by=sends.by,
        wait_s=wait_s,
        ending=api.live.ending,
    )
    headers = {"Location": location_of(sends.caller.workspace, turn.journal, turn.command_id)}
    if wait_s:
        headers["Preference-Applied"] = f"wait={wait_s:g}"
    return JSONResponse(turn.model_dump(mode="json"), status_code=200 if turn.ended else 202, headers=headers)


@routes.get("/actors")
async def actors(reads: Reads) -> Listed[ActorListing]:
    """Return the actors that are awake, stopped or without code; stopped ones first."""
    return Listed(items=list(list_actors(reads.loom.actors)))


@routes.post("/restarts", openapi_extra=takes(RestartRequest))
async def restart(operates: Operates, given: Annotated[RestartRequest, body(RestartRequest)]) -> ActorListing:
    """Let a stopped actor take commands again, in the name of the key."""
    parse_journal_name(given.journal)
    return await restart_actor(operates.loom.actors, given.journal, by=operates.by.name)
