"""What Restate calls on a node: one virtual object whose keys are journals, so that one delivery at a time is handled.

No operation of Restate's is used inside a handler: what a turn does is in its journal, and is not kept twice. A handler
ends when its turn ends or waits, as nothing else would reach the actor meanwhile. An error that says something about
the command is a value; one of the machinery is raised, and Restate calls again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import restate
from pydantic import JsonValue
from restate import ObjectContext, ObjectSharedContext, VirtualObject

from loom.engine.dispatching import AGAIN
from loom.engine.nodes.wire import error_as_json
from loom.engine.restate.ingress import SERVICE
from loom.errors import (
    AppendUnknownError,
    JournalBusyError,
    JournalClosedError,
    JournalReadOnlyError,
    LoomError,
)

__all__ = ["INFRASTRUCTURE", "Handle", "application"]

Handle = Callable[[str, Any], Awaitable[dict[str, JsonValue]]]
"""Does what a sealed delivery for a journal says, and returns its reply as it goes over the wire."""

INFRASTRUCTURE = (*AGAIN, AppendUnknownError, JournalBusyError, JournalClosedError, JournalReadOnlyError)
"""Errors that say nothing about a command: it is tried again."""


def application(handle: Handle, *, node: str, identity_key: str, longest_turn_s: float) -> Any:
    """Return the application that Restate calls, over ASGI."""
    patience = timedelta(seconds=longest_turn_s)
    actor = VirtualObject(SERVICE, inactivity_timeout=patience, abort_timeout=patience)

    async def done(journal: str, sealed: Any) -> dict[str, JsonValue]:
        try:
            return {**await handle(journal, sealed), "node": node}
        except INFRASTRUCTURE:
            raise
        except LoomError as error:
            return {**error_as_json(error), "node": node}

    @actor.handler()
    async def turn(context: ObjectContext, sealed: Any) -> dict[str, JsonValue]:
        return await done(context.key(), sealed)

    @actor.handler()
    async def resume(context: ObjectContext, sealed: Any) -> dict[str, JsonValue]:
        return await done(context.key(), sealed)

    @actor.handler(kind="shared")
    async def read(context: ObjectSharedContext, sealed: Any) -> dict[str, JsonValue]:
        return await done(context.key(), sealed)

    keys = [identity_key] if identity_key else None
    served = restate.app([actor], identity_keys=keys)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        try:
            await served(scope, receive, send)
        except asyncio.CancelledError:
            raise
        except ConnectionError:  # Restate is gone: it calls again
            return

    return app
