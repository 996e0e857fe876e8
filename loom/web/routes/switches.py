"""Kill switches of extensions: which are engaged, and how a person engages one or lets it work again."""

from __future__ import annotations

from typing import Annotated, Any, Protocol, runtime_checkable

from fastapi import APIRouter
from pydantic import Field

from loom.identity import By
from loom.runtime import Loom
from loom.web.api import takes
from loom.web.guard import HttpRefusal
from loom.web.session import Approves, Operates, Reads, body
from loom.web.shapes import Listed, Shape

__all__ = ["routes"]

routes = APIRouter(prefix="/switches")


@runtime_checkable
class Switched(Protocol):
    """What an extension has that can be stopped at once; its `status()` says whether it is `killed`."""

    async def kill(self, *, by: By, reason: str) -> None:
        """Stop it."""
        ...

    async def rearm(self, *, by: By, reason: str, cause: str | None = None, replay: str | None = None) -> None:
        """Let it work again."""
        ...

    async def status(self) -> Any:
        """Return how it stands."""
        ...


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
    found = {name: part for name, part in sorted(reads.loom.parts.items()) if isinstance(part, Switched)}
    return Listed(items=[await _answer(name, part) for name, part in found.items()])


@routes.post("/{name}/kill", openapi_extra=takes(KillRequest))
async def kill(operates: Operates, name: str, given: Annotated[KillRequest, body(KillRequest)]) -> SwitchAnswer:
    """Engage a kill switch, in the name of the key."""
    part = _switch(operates.loom, name)
    await part.kill(by=operates.by, reason=given.reason)
    return await _answer(name, part)


@routes.post("/{name}/rearm", openapi_extra=takes(RearmRequest))
async def rearm(approves: Approves, name: str, given: Annotated[RearmRequest, body(RearmRequest)]) -> SwitchAnswer:
    """Let what was stopped work again, in the name of the key."""
    part = _switch(approves.loom, name)
    await part.rearm(by=approves.by, reason=given.reason, cause=given.cause, replay=given.replay)
    return await _answer(name, part)


def _switch(loom: Loom, name: str) -> Switched:
    part = loom.parts.get(name)
    if not isinstance(part, Switched):
        raise HttpRefusal(404, "switch_not_found", f"no extension [{name:.80}] with a kill switch runs here")
    return part


async def _answer(name: str, part: Switched) -> SwitchAnswer:
    return SwitchAnswer(name=name, engaged=bool((await part.status()).killed))
