"""Kill switches of extensions: which are engaged, and how a person engages one or lets it work again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from loom.web.api import takes
from loom.web.session import Approves, Operates, Reads, body
from loom.web.shapes import Listed, Shape
from loom.web.switched import Switched, switch_of, switches_of

__all__ = ["routes"]

routes = APIRouter(prefix="/switches")


class KillRequest(Shape):
    """Why it is stopped. Who does, the key says."""

    reason: str = Field(min_length=1, max_length=10_000, pattern=r"\S")


class RearmRequest(Shape):
    """Why it may work again; where the system stopped it, also the cause, and which request is replayed to show it."""

    reason: str = Field(min_length=1, max_length=10_000, pattern=r"\S")
    cause: str | None = Field(default=None, min_length=1, max_length=10_000)
    replay: str | None = Field(default=None, min_length=1, max_length=512)


class SwitchAnswer(Shape):
    """A kill switch: the extension that it stops, and whether it is engaged."""

    name: str
    engaged: bool


@routes.get("")
async def switches(reads: Reads) -> Listed[SwitchAnswer]:
    """Return the kill switches of this workspace."""
    return Listed(items=[await _answer(name, part) for name, part in switches_of(reads.loom).items()])


@routes.post("/{name}/kill", openapi_extra=takes(KillRequest))
async def kill(operates: Operates, name: str, given: Annotated[KillRequest, body(KillRequest)]) -> SwitchAnswer:
    """Engage a kill switch, in the name of the key."""
    part = switch_of(operates.loom, name)
    await part.kill(by=operates.by, reason=given.reason)
    return await _answer(name, part)


@routes.post("/{name}/rearm", openapi_extra=takes(RearmRequest))
async def rearm(approves: Approves, name: str, given: Annotated[RearmRequest, body(RearmRequest)]) -> SwitchAnswer:
    """Let what was stopped work again, in the name of the key."""
    part = switch_of(approves.loom, name)
    await part.rearm(by=approves.by, reason=given.reason, cause=given.cause, replay=given.replay)
    return await _answer(name, part)


async def _answer(name: str, part: Switched) -> SwitchAnswer:
    return SwitchAnswer(name=name, engaged=bool((await part.status()).killed))
