"""Checks each request: its host, its origin, the key, the key's role, the rate and the size."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loom.identity import Identity
from loom.web.config import WebConfig
from loom.web.keys import ApiKey, Role

__all__ = [
    "RANKS",
    "SAFE_HEADERS",
    "Bounds",
    "Caller",
    "HttpRefusal",
    "RateLimit",
    "key_given",
    "refusal",
    "same_origin",
]

RANKS: Mapping[Role, frozenset[str]] = {
    "reader": frozenset({"read"}),
    "auditor": frozenset({"read", "audit"}),
    "operator": frozenset({"read", "operate"}),
    "approver": frozenset({"read", "approve"}),
    "admin": frozenset({"read", "audit", "operate", "approve", "administer"}),
}
"""What each role may do."""


SAFE_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]
"""What every answer says of itself, unless it says something else."""

_HOST = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?\Z")


class HttpRefusal(Exception):  # noqa: N818 - it is an answer
    """A request that is answered with a refusal."""

    def __init__(self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


class Caller(NamedTuple):
    """Whose key a request came with, and in which workspace."""

    key: ApiKey
    workspace: str

    @property
    def identity(self) -> Identity:
        """The name of the key, as the key establishes it."""
        return Identity(self.key.name, f"api_key:{self.key.key_id}", "http")

    def may(self, what: str) -> bool:
        """Tell whether the role of the key is enough."""
        return what in RANKS[self.key.role]


def refusal(error: HttpRefusal) -> JSONResponse:
    """Return the answer that a refusal is."""
    body = {"error": {"code": error.code, "message": error.message}}
    return JSONResponse(body, status_code=error.status, headers=error.headers)


def key_given(request: Request) -> str | None:
    """Return the key that a request came with, whatever it is worth."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key")


class RateLimit:
    """A bucket for each key, which fills with time."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_minute / 60
        self._most = float(max(per_minute, 1))
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key_id: str) -> None:
        """Take one from the bucket of a key; raise `HttpRefusal` where it is empty."""
        now = self._clock()
        left, at = self._buckets.get(key_id, (self._most, now))
        left = min(self._most, left + (now - at) * self._per_second)
        if left < 1:
            wait_s = max(1, round((1 - left) / self._per_second))
            raise HttpRefusal(
                429,
                "rate_limited",
                "too many requests with this key; expected fewer: wait",
                headers={"Retry-After": str(wait_s)},
            )
        self._buckets[key_id] = (left - 1, now)


def same_origin(request: Request) -> bool:
    """Tell whether a request comes from nowhere, or from the host that it asks: other sites have no business here."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        return False
    return request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")


class Bounds:
    """The outermost layer: the Host header is one that is served, and no body is longer than it may be."""

    def __init__(self, app: ASGIApp, config: WebConfig) -> None:
        self._app = app
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        host = _HOST.match(request.headers.get("host", ""))
        if host is None or host[1] not in self._config.allowed_hosts:
            await refusal(HttpRefusal(421, "unknown_host", "this host is not served here"))(scope, receive, send)
            return
        declared = request.headers.get("content-length", "0")
        if not declared.isdigit() or int(declared) > self._config.max_body_bytes:
            await _too_large(self._config)(scope, receive, send)
            return
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._config.max_body_bytes:
                raise HttpRefusal(413, "too_large", f"expected at most [{self._config.max_body_bytes}] bytes")
            return message

        said = SecurityHeaders(send)
        try:
            await self._app(scope, bounded, said)
        except asyncio.CancelledError:
            # The server ends, and has no more patience: what is under way is resumed at its next start.
            if not said.begun:
                ending = HttpRefusal(503, "ending", "the server ends; send it again", headers={"Retry-After": "1"})
                await refusal(ending)(scope, receive, said)
            raise


class SecurityHeaders:
    """Adds headers to every answer: its type is not to be guessed, and it is not to be stored."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False
        """Whether anything of an answer was sent."""

    async def __call__(self, message: Message) -> None:
        """Send a message of the answer."""
        self.begun = True
        if message["type"] == "http.response.start":
            said = {name.lower() for name, _ in message["headers"]}
            missing = [header for header in SAFE_HEADERS if header[0] not in said]
            message = {**message, "headers": [*message["headers"], *missing]}
        await self._send(message)


def _too_large(config: WebConfig) -> Response:
    return refusal(HttpRefusal(413, "too_large", f"expected at most [{config.max_body_bytes}] bytes"))
