"""One POST to one address, and its status: nothing is followed, and no more is read than the head of the answer."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

__all__ = ["Refused", "post"]

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_MOST_HEAD = 16_384
_MOST_INTERIM = 10


class Refused(Exception):  # noqa: N818 - it is an answer, or that there is none
    """A try failed: what the problem was, and whether another try makes sense."""

    def __init__(self, problem: str, *, is_final: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.is_final = is_final


async def post(
    url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float, tls: ssl.SSLContext | None = None
) -> int:
    """Send a body and return the 2xx status; raise `Refused` for any other, and where there is no answer in time.

    A redirect is a refusal. No proxy of the environment is used.
    """
    try:
        async with asyncio.timeout(timeout_s):
            status = await _answer(url, body, headers, tls)
    except TimeoutError:
        raise Refused(f"no answer within {timeout_s:g} s") from None
    except (OSError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise Refused(f"{type(error).__name__}: {error}"[:300]) from error
    if 200 <= status < 300:
        return status
    if status == 410:
        raise Refused("status 410: the endpoint is gone", is_final=True)
    raise Refused(f"status {status}" + (": redirects are not followed" if 300 <= status < 400 else ""))


async def _answer(url: str, body: bytes, headers: Mapping[str, str], tls: ssl.SSLContext | None) -> int:
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_tls = parts.scheme == "https"
    context = (tls or ssl.create_default_context()) if is_tls else None
    reader, writer = await asyncio.open_connection(
        host, parts.port or (443 if is_tls else 80), ssl=context, limit=_MOST_HEAD
    )
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [
            f"POST {target} HTTP/1.1",
            f"Host: {parts.netloc}",
            "User-Agent: loom",
            "Content-Type: application/cloudevents+json",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode("ascii") + body)
        await writer.drain()
        for _ in range(_MOST_INTERIM):
            head = await reader.readuntil(b"\r\n\r\n")
            found = _STATUS.match(head)
            if found is None:
                raise Refused("what came back is no HTTP")
            if not found[1].startswith(b"1"):
                return int(found[1])
        raise Refused(f"more than {_MOST_INTERIM} interim answers")
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
