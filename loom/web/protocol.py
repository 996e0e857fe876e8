"""HTTP as it comes over a socket: how long a request may take to arrive, how many connections there are, what is taken.

What is ambiguous is refused before the application sees it, and its connection is closed: a proxy in front of the
server may have read it as another request. What never arrives gives way to what does: a connection that sends nothing,
or only the beginning of something, ends at its deadline, or earlier where its place is needed.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Literal, TypeAlias

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from loom.web.doors import Doors
from loom.web.guard import SAFE_HEADERS, HttpRefusal, refusal

__all__ = ["StrictConnection", "protocol_of"]

_MAX_HEAD_BYTES = 16_384

_Phase: TypeAlias = Literal["idle", "head", "body", "answering", "rest"]
"""What a connection waits for: the next request, the rest of its head or of its body, the application, or the rest of
a body that was answered before it was read."""


class StrictConnection(h11.Connection):
    """Takes no request whose end could be read in two ways (RFC 9112, 5.2, 6.3 and 11.2), and no endless head."""

    def next_event(self) -> Any:
        """Return the next event; raise `h11.RemoteProtocolError` for what is not taken."""
        if self.their_state is not h11.IDLE:
            return super().next_event()
        before = self.trailing_data[0]
        event = super().next_event()
        if isinstance(event, h11.Request):
            _check_head(before[: len(before) - len(self.trailing_data[0])], event)
        return event


def _check_head(head: bytes, request: h11.Request) -> None:
    if len(head) > _MAX_HEAD_BYTES:
        raise h11.RemoteProtocolError("the head is too long", error_status_hint=431)
    lines = head.split(b"\r\n")
    if any(b"\n" in line or b"\r" in line for line in lines):
        raise h11.RemoteProtocolError("a line ends with something else than CR LF")
    if any(line[:1] in (b" ", b"\t") for line in lines):
        raise h11.RemoteProtocolError("a header goes on in another line")
    fields = [(name.lower(), value) for name, _, value in (line.partition(b":") for line in lines[1:])]
    lengths = [value for name, value in fields if name == b"content-length"]
    if len(lengths) > 1 or any(b"," in value for value in lengths):
        raise h11.RemoteProtocolError("there is more than one Content-Length")
    if any(name == b"transfer-encoding" for name, _ in fields) and (lengths or request.http_version < b"1.1"):
        raise h11.RemoteProtocolError("Transfer-Encoding with Content-Length, or in HTTP/1.0")


def protocol_of(doors: Doors) -> type[asyncio.Protocol]:
    """Return the class of the connections that come through these doors, for uvicorn to make."""
    return type("BoundedProtocol", (_BoundedProtocol,), {"doors": doors})


class _BoundedProtocol(H11Protocol):
    """A connection: h11's, with deadlines."""

    doors: ClassVar[Doors]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = StrictConnection(h11.SERVER, _MAX_HEAD_BYTES)
        self.logger = _quiet
        self._phase: _Phase = "idle"
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    # --- a connection ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; where every place is taken by a request that is under way, answer with a 503 and end."""
        self.transport = transport
        if not self.doors.enter(self):
            transport.write(_FULL)
            transport.close()
            return
        super().connection_made(transport)
        self._enter("head")

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_timers()
        self.doors.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        if self._phase == "idle":
            self._enter("head")
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of a body that is not read any more."""
        self._phase = "answering"  # what was pipelined is another request, with deadlines of its own
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self._enter("idle")
        else:
            self._look()

    def pause_writing(self) -> None:
        """Give a client that does not read its answer as long as one that does not send its body."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(self.doors.config.body_timeout_s, self._stop, "answer_not_read")

    def resume_writing(self) -> None:
        """Go on with an answer."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    # --- deadlines ------------------------------------------------------------------------------

    def _look(self) -> None:
        """See what the connection waits for now."""
        if self.transport.is_closing():
            self._stop_timers()
        elif self.conn.their_state is h11.IDLE:
            self._enter("head")
        elif self.conn.their_state is h11.SEND_BODY:
            self._enter("rest" if self.cycle.response_complete else "body")
        else:
            self._enter("answering")

    def _enter(self, phase: _Phase) -> None:
        if phase in ("body", "answering"):
            self.doors.works(self)
        else:
            self.doors.waits(self, self.transport.abort)
        if phase == self._phase and self._deadline is not None:
            return  # its time does not begin again with every byte
        self._phase = phase
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        config = self.doors.config
        if phase == "head":
            self._deadline = self.loop.call_later(config.header_timeout_s, self._too_late)
        elif phase in ("body", "rest"):
            self._deadline = self.loop.call_later(config.body_timeout_s, self._too_late)

    def _too_late(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self._phase == "body" and self.flow.read_paused:  # it is the application that does not read
            self._enter("body")
            return
        self.doors.note(f"{self._phase}_too_slow")
        if self._phase == "rest" or (self._phase == "head" and not self.conn.trailing_data[0]):
            self.transport.abort()
            return
        self._refuse(HttpRefusal(408, "request_timeout", f"the {self._phase} of the request did not come in time"))

    def _stop(self, why: str) -> None:
        self.doors.note(why)
        self.transport.abort()

    def _stop_timers(self) -> None:
        for timer in (self._deadline, self._stalled):
            if timer is not None:
                timer.cancel()
        self._deadline = self._stalled = None

    # --- refusing -------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request of HTTP's; uvicorn calls it while it handles the error."""
        error = sys.exc_info()[1]
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        self.doors.note("malformed")
        message = "it is no request that can be read in one way only"
        self._refuse(HttpRefusal(431 if status == 431 else 400, "bad_http", message))

    def _refuse(self, error: HttpRefusal) -> None:
        """Answer, if an answer has not begun yet, and end: what else comes over this connection is not read."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            begun = cycle.response_started
            cycle.disconnected = True  # whatever the application makes of it goes nowhere
            cycle.message_event.set()
        else:
            begun = self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE)
        if not begun:
            answer = refusal(error)
            answer.headers["connection"] = "close"
            try:
                head = h11.Response(
                    status_code=error.status,
                    headers=[*answer.raw_headers, *SAFE_HEADERS],
                    reason=HTTPStatus(error.status).phrase,
                )
                for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
                    self.transport.write(self.conn.send(event) or b"")
            except h11.LocalProtocolError:
                pass  # nothing can be said any more over a connection in this state
        self._stop_timers()
        self.transport.close()


def _raw(error: HttpRefusal, headers: Mapping[str, str]) -> bytes:
    answer = refusal(error)
    answer.headers.update(headers)
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}".encode()]
    lines += [name + b": " + value for name, value in [*answer.raw_headers, *SAFE_HEADERS]]
    return b"\r\n".join([*lines, b"", bytes(answer.body)])


_FULL = _raw(
    HttpRefusal(503, "too_many_connections", "every connection is in use; send it again"),
    {"connection": "close", "retry-after": "1"},
)

_quiet = logging.Logger("uvicorn.error", level=logging.ERROR)
"""What uvicorn says of single requests is counted by `Doors`; faults are handed on."""
_quiet.parent = logging.getLogger("uvicorn.error")
