"""What a client makes of a server that is busy, cut off, gone, or says no: it goes on, or says why not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from loom import Command
from loom.actors.progress import Replied, StepBegan, TextDelta
from loom.client import LoomClient, RemoteError
from loom.errors import ActorFailedError, LoomError, TurnAbandonedError, TurnStuckError

Answer = httpx2.Response | Exception


class Ask(Command[str]):
    pass


def turn(status: str, *, error: dict[str, Any] | None = None, reply: str | None = None) -> httpx2.Response:
    said = {"journal": "agent/7", "command_id": "c", "command_type": "ask", "sequence": 1, "position": 5}
    return httpx2.Response(200, json={**said, "status": status, "error": error, "reply": reply})


def refused(status: int, code: str, message: str, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, json={"error": {"code": code, "message": message}}, headers=headers)


class Cut(httpx2.AsyncByteStream):
    """The text of a stream whose connection is cut after it."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._text.encode()
        raise httpx2.ReadError("the connection was cut")


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client waited each time; it does not wait for real."""
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("loom.client.client.asyncio.sleep", wait)
    return waited


class Scripted:
    """A server that gives these answers in this order, and the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.asked: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        answer = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, *, retry_for_s: float = 30.0) -> LoomClient:
        return LoomClient("http://loom", key="k", retry_for_s=retry_for_s, transport=httpx2.MockTransport(self))


async def test_a_request_is_sent_again_under_its_id_while_the_server_is_busy_and_no_sooner_than_it_says(
    pauses: list[float],
) -> None:
    busy = refused(503, "mailbox_full", "busy", **{"Retry-After": "7"})
    server = Scripted(busy, httpx2.ConnectError("refused"), refused(429, "", "later"), turn("completed", reply="yes"))
    async with server.client() as client:
        assert await client.actor("agent", "7").ask(Ask(), id="c-1") == "yes"
    assert {request.headers["Idempotency-Key"] for request in server.asked} == {"c-1"}
    assert pauses == [7.0, 0.2, 0.4]


@pytest.mark.parametrize(
    ("answer", "status", "kind", "words"),
    [
        (
            httpx2.ConnectError("refused"),
            0,
            "busy",
            r"no answer to \[/api/actors/agent/7/Ask\] \[ConnectError: refused",
        ),
        (refused(503, "starting", "it starts"), 503, "busy", "it starts"),
        (httpx2.Response(502, text="<html>bad gateway"), 502, "fault", r"the server answered with \[502\]"),
    ],
)
async def test_what_is_still_so_when_the_time_is_over_is_raised(
    pauses: list[float], answer: Answer, status: int, kind: str, words: str
) -> None:
    server = Scripted(answer)
    async with server.client(retry_for_s=0.0) as client:
        with pytest.raises(RemoteError, match=words) as raised:
            await client.actor("agent", "7").tell(Ask())
        assert (raised.value.status, raised.value.kind) == (status, kind)
        with pytest.raises(RemoteError, match=words.replace("/actors/agent/7/Ask", "/turns/c/events")) as raised:
            [each async for each in client.events("/api/turns/c/events", journal="agent/7")]
        assert (raised.value.status, raised.value.kind) == (status, kind)
    assert (len(server.asked), pauses) == (2, [])


async def test_a_refusal_is_raised_at_once_and_not_sent_again(pauses: list[float]) -> None:
    server = Scripted(refused(401, "", "no such key"))
    async with server.client() as client:
        for asking in (
            client.actor("agent", "7").ask(Ask()),
            anext(client.events("/api/turns/c/events", journal="agent/7")),
        ):
            with pytest.raises(RemoteError, match="no such key") as raised:
                await asking
            assert (raised.value.status, raised.value.kind) == (401, "refused")
    assert (len(server.asked), pauses) == (2, [])


@pytest.mark.parametrize(
    ("ended", "error", "words"),
    [
        (turn("stuck", error={"message": "three attempts"}), TurnStuckError, "three attempts"),
        (turn("abandoned", error={"message": "by dana"}), TurnAbandonedError, "by dana"),
        (turn("completed", error={"message": "its reply is unreadable"}), TurnStuckError, "its reply is unreadable"),
        (
            turn("failed", error={"type": "agent_error", "type_name": None, "message": "no count"}),
            ActorFailedError,
            "agent_error",
        ),
    ],
    ids=["stuck", "abandoned", "without a reply", "failed"],
)
async def test_a_turn_without_a_reply_raises_why(ended: httpx2.Response, error: type[LoomError], words: str) -> None:
    async with Scripted(ended).client() as client:
        with pytest.raises(error, match=words):
            await client.actor("agent", "7").ask(Ask(), id="c-1")


def stream(text: str | Callable[[], Cut]) -> httpx2.Response:
    if isinstance(text, str):
        return httpx2.Response(200, text=text)
    return httpx2.Response(200, stream=text())


async def test_a_stream_that_is_cut_goes_on_after_the_last_event_that_was_seen(pauses: list[float]) -> None:
    began = 'event: progress\nid: 1\ndata: {"type": "step_began", "verb": "perform", "key": "k"}\n\n'
    torn = 'event: progress\nid: 2\ndata: {"type": "te'
    text = 'event: progress\nid: 2\ndata: {"type": "text", "text": "hello", "of_a_later_loom": 1}\n\n'
    unknown = 'event: progress\ndata: {"type": "of a later loom"}\n\n: a comment\n\n'
    server = Scripted(
        turn("running"),
        stream(lambda: Cut(began + torn)),
        refused(503, "starting", "it starts"),
        stream(f"{text}{unknown}event: turn\ndata: {{}}\n\n"),
        turn("completed", reply="done"),
    )
    async with server.client() as client:
        seen = [each async for each in client.actor("agent", "7").stream(Ask(), id="c-1")]
    assert seen == [StepBegan("perform", "k"), TextDelta("hello"), Replied("done")]
    asked = [request.headers["Last-Event-ID"] for request in server.asked if request.method == "GET"]
    assert asked == ["0", "1", "1"]
    assert pauses == [0.1, 0.1]
