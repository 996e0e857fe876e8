"""Server-sent events: what happens is read from the journal at the pace of the client, and nothing is kept for it.

A stream is a source that yields frames. It asks the journal for the next ones only when the client has taken those
before, so that a client that does not read costs a connection and no memory. Each stream ends by itself: after
`web.stream_max_s`, when its key is revoked, and when the server ends. A client that connects again says with
`Last-Event-ID` where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, NamedTuple

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from loom.background import awaiting
from loom.web.guard import HttpRefusal

__all__ = ["Commits", "EventStream", "Frame", "Live", "Streams", "frames"]

_RETRY_MS = 1_000
_BUSY_RETRY_S = "5"


class Frame(NamedTuple):
    """One event: its name, its data, and the id from which a client resumes, None for one that is not journaled."""

    event: str
    data: Any
    id: int | None = None

    def encoded(self) -> bytes:
        """Return it as it is sent; JSON has no line breaks, so that the data is one line."""
        lines = [] if self.id is None else [f"id: {self.id}"]
        lines += [f"event: {self.event}", f"data: {json.dumps(self.data, ensure_ascii=False)}"]
        return ("\n".join(lines) + "\n\n").encode(errors="replace")


class Commits:
    """Tells streams that the journal has new entries; a store never forgets a callback, so there is one of them."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Event] = set()

    def __call__(self, _: int) -> None:
        """Take note of a new acknowledged position."""
        for each in self._waiting:
            each.set()

    @contextmanager
    def setting(self, news: asyncio.Event) -> Iterator[None]:
        """Set an event with each commit until the block ends."""
        self._waiting.add(news)
        try:
            yield
        finally:
            self._waiting.discard(news)


class Streams:
    """The open streams: `most` of them at once, and a quarter of these for one key."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_of_one = max(1, most // 4)
        self._open: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """The number of open streams."""
        return self._open.total()

    @contextmanager
    def taking(self, key_id: str) -> Iterator[None]:
        """Take a place until the block ends; raise `HttpRefusal` where there is none."""
        if self.open >= self._most or self._open[key_id] >= self._most_of_one:
            raise HttpRefusal(
                503,
                "too_many_streams",
                f"[{self.open}] streams are open, [{self._open[key_id]}] with this key; expected fewer than "
                f"[{self._most}] and [{self._most_of_one}]: close one, or try again later",
                headers={"Retry-After": _BUSY_RETRY_S},
            )
        self._open[key_id] += 1
        try:
            yield
        finally:
            self._open[key_id] -= 1
            self._open += Counter()  # forget keys that have none


class Live:
    """What the streams of one server share."""

    def __init__(self, *, most: int, heartbeat_s: float, stream_max_s: float) -> None:
        self.streams = Streams(most)
        self.heartbeat_s = heartbeat_s
        self.stream_max_s = stream_max_s
        self.ending = asyncio.Event()
        """Set when the server begins to end: streams end, and waits for replies are over."""
        self.commits: dict[str, Commits] = {}
        """By workspace."""


async def frames(
    source: AsyncGenerator[Frame, None], live: Live, *, allowed: Callable[[], bool]
) -> AsyncGenerator[bytes, None]:
    """Yield what a stream sends: the frames of its source, and a comment where there is none for a while.

    `allowed` is asked before each frame: it says whether the key still opens this.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + live.stream_max_s

    def goes_on() -> bool:
        return allowed() and not live.ending.is_set() and loop.time() < end

    try:
        yield f"retry: {_RETRY_MS}\n\n".encode()
        async with awaiting(live.ending.wait()) as ending:
            while goes_on():
                async with awaiting(_next(source)) as step:
                    while not step.done():
                        wait_s = max(0.0, min(live.heartbeat_s, end - loop.time()))
                        await asyncio.wait({step, ending}, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
                        if not step.done():
                            if not goes_on():
                                return
                            yield b": still here\n\n"
                    frame = step.result()
                if frame is None or not allowed():
                    return
                yield frame.encoded()
    finally:
        with contextlib.suppress(RuntimeError):  # it is running no more: its step has just been cancelled
            await source.aclose()


async def _next(source: AsyncIterator[Frame]) -> Frame | None:
    return await anext(source, None)


class EventStream(StreamingResponse):
    """A response of server-sent events, whose source is closed with the connection."""

    media_type = "text/event-stream"

    def __init__(
        self, source: AsyncGenerator[Frame, None], live: Live, *, key_id: str, allowed: Callable[[], bool]
    ) -> None:
        super().__init__(
            frames(source, live, allowed=allowed),
            headers={"X-Accel-Buffering": "no"},  # a proxy must not keep events back
        )
        self._live = live
        self._key_id = key_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, where there is a place; raise `HttpRefusal` before anything is sent where there is none."""
        with self._live.streams.taking(self._key_id):
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Send until the source ends, the client leaves, or the server ends."""
        content: Any = self.body_iterator
        async with aclosing(content):
            await super().stream_response(send)
