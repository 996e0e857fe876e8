"""What a route asks for: an open loom with the key of its caller, and the body of the request, as dependencies."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request
from pydantic import BaseModel

from loom.identity import Identity
from loom.runtime import Loom
from loom.web.api import Api, Workspace, read_body
from loom.web.guard import Caller

__all__ = ["Administers", "Approves", "Operates", "Reads", "Session", "body", "may", "session_of"]


class Session(NamedTuple):
    """The loom that a request is about, and whose key it came with."""

    loom: Loom
    caller: Caller

    @property
    def by(self) -> Identity:
        """Whose key it is, as entries name it: under the name of the directory, where that knows the key."""
        return self.loom.people.known_as(self.caller.identity)


async def session_of(request: Request, what: str) -> Session:
    """Return the session of a request whose key may do this; raise `HttpRefusal` for any other."""
    api: Api = request.app.state.api
    return Session(*await api.caller(request, what))


def may(what: str) -> Any:
    """Return the dependency on a session whose key may do this, as `RANKS` has it."""

    async def session(request: Request, workspace_id: Workspace = None) -> Session:
        return await session_of(request, what)

    return Depends(session)


def body(model: type[BaseModel]) -> Any:
    """Return the dependency on a body of this shape; name it after the session, so that no stranger's is read.

    The route says `openapi_extra=takes(model)`.
    """

    async def given(request: Request) -> BaseModel:
        return await read_body(request, model)

    return Depends(given)


Reads = Annotated[Session, may("read")]
Operates = Annotated[Session, may("operate")]
Approves = Annotated[Session, may("approve")]
Administers = Annotated[Session, may("administer")]
