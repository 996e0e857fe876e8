"""The server over HTTP on the loopback: every request needs a key, whatever it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from loom.errors import LoomError
from loom.mcp.access import KeyRefusedError
from loom.mcp.server import create_server
from loom.mcp.tools import Tools
from loom.web.guard import HttpRefusal, RateLimit, key_given, refusal, same_origin

__all__ = ["LOOPBACK", "create_app", "key_in_request"]

LOOPBACK: Sequence[str] = ("127.0.0.1", "localhost", "[::1]")
"""The hosts that are served."""

_MAX_BODY_BYTES = 262_144
_FAILED_KEYS_PER_MINUTE = 20
_MAX_SESSIONS = 64


def create_app(tools: Tools, *, failed_keys_per_minute: int = _FAILED_KEYS_PER_MINUTE) -> ASGIApp:
    """Return the application: the protocol at `/mcp`, behind the check of keys."""
    server = create_server(tools, key_of=key_in_request)
    app = server.streamable_http_app(
        max_request_body_size=_MAX_BODY_BYTES,
        max_sessions=_MAX_SESSIONS,
        transport_security=TransportSecuritySettings(
            allowed_hosts=[*LOOPBACK, *(f"{each}:*" for each in LOOPBACK)], allowed_origins=[]
        ),
    )
    return _Checked(app, tools, RateLimit(failed_keys_per_minute))


def key_in_request(context: Context[Any, Any]) -> str | None:
    """Return the key of the request that a call came in."""
    request = context.request_context.request
    return key_given(request) if isinstance(request, Request) else None


class _Checked:
    """Answers requests without a key that may read, before anything else sees them."""

    def __init__(self, app: ASGIApp, tools: Tools, failures: RateLimit) -> None:
        self._app = app
        self._tools = tools
        self._failures = failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] == "http":
            request = Request(scope)
            refused = await self._refusal(request)
            if refused is not None:
                await refused(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _refusal(self, request: Request) -> JSONResponse | None:
        if not same_origin(request):
            return refusal(HttpRefusal(403, "other_site", "other sites may not ask; expected a program"))
        try:
            await self._tools.check(key_given(request))
        except KeyRefusedError as error:
            return self._refused(request, error)
        except LoomError as error:
            return refusal(HttpRefusal(503, "unavailable", f"the journal cannot be read [{type(error).__name__}]"))
        return None

    def _refused(self, request: Request, error: KeyRefusedError) -> JSONResponse:
        if error.known:
            return refusal(HttpRefusal(403, "role_refused", str(error)))
        try:
            self._failures.take(request.client.host if request.client else "")
        except HttpRefusal as too_many:
            return refusal(too_many)
        return refusal(HttpRefusal(401, "key_refused", str(error), headers={"WWW-Authenticate": "Bearer"}))
