"""Streams of events: resumed where they were, at the pace of the client, and ended by the server."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from starlette.types import Message as Sent

from loom import Actor, Command
from loom.web.keys import keys_of
from loom.web.live import EventStream, Frame, Live, frames
from tests.web.support import Client, served


class Work(Command[str]):
    word: str = "done"


class Worker(Actor[None]):
    gate: ClassVar[asyncio.Event]

    async def execute(self, command: Work) -> str:
        await self.gather_context(system="crm", entity="account", query="7", fetcher=lambda: 1)
        await type(self).gate.wait()
        await self.record_decision(rationale="worked")
        return command.word


OPEN: list[Reading] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


class Reading:
    """Reads a stream in a thread, event by event."""

    def __init__(self, client: Client, path: str, *, role: str = "reader", **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=30)
        sent = {"Authorization": f"Bearer {client.keys['one', role]}", **headers}
        self._connection.request("GET", path, headers=sent)
        self.answer = self._connection.getresponse()
        OPEN.append(self)

    def next(self) -> dict[str, Any] | None:
        """Return the next event with its id, None at the end of the stream; comments are left out."""
        found: dict[str, Any] = {}
        while line := self.answer.readline().decode():
            if line == "\n":
                if "event" in found:
                    return found
                found = {}
            elif not line.startswith(":"):
                name, _, text = line.rstrip("\n").partition(": ")
                found[name] = json.loads(text) if name == "data" else text
        return None

    def all(self) -> list[dict[str, Any]]:
        found = []
        while (each := self.next()) is not None:
            found.append(each)
        return found

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


async def reading(client: Client, path: str, **headers: str) -> Reading:
    return await asyncio.to_thread(lambda: Reading(client, path, **headers))


async def test_a_turn_is_followed_to_its_end_and_resumed_where_the_reader_was(tmp_path: Path) -> None:
    Worker.gate = asyncio.Event()
    async with served(tmp_path, workspaces=("one",), actors=(Worker,)) as client:
        accepted = await client.call("POST", "/api/actors/worker/w/Work", {}, Idempotency_Key="t-1")
        where = f"/api/turns/t-1/events?{accepted.headers['location'].partition('?')[2]}"
        stream = await reading(client, where)
        assert stream.answer.headers["Content-Type"].startswith("text/event-stream")
        assert stream.answer.headers["Cache-Control"] == "no-store"
        first = await asyncio.to_thread(stream.next)
        assert first is not None
        assert (first["event"], first["data"]["kind"], first["id"]) == ("entry", "command_received", "1")
        second = await asyncio.to_thread(stream.next)
        while second is not None and second["event"] != "entry":
            second = await asyncio.to_thread(stream.next)
        assert second is not None
        assert second["data"]["kind"] == "context_gathered"
        other = await reading(client, where, **{"Last-Event-ID": second["id"]})
        Worker.gate.set()
        rest, resumed = await asyncio.gather(asyncio.to_thread(stream.all), asyncio.to_thread(other.all))
        kinds = [each["data"]["kind"] for each in rest if each["event"] == "entry"]
        assert kinds == ["decision", "turn_completed"]
        assert [each["data"]["kind"] for each in resumed if each["event"] == "entry"] == kinds
        assert rest[-1] == resumed[-1]
        assert (rest[-1]["event"], rest[-1]["data"]["reply"]) == ("turn", "done")
        assert "id" not in rest[-1], "it is not journaled"
        progress = [each["data"] for each in rest + resumed if each["event"] == "progress"]
        assert {"type": "step_ended", "verb": "record_decision", "key": "policy_application", "error": None} in progress
        late = await reading(client, where, **{"Last-Event-ID": "999"})
        assert [each["event"] for each in await asyncio.to_thread(late.all)] == ["turn"], "what has ended, ends at once"
        while client.api.live.streams.open:  # the client sees the end before the server has cleaned up
            await asyncio.sleep(0.01)
        assert not client.loom().actors.services.watchers.open, "nobody is watched for"


async def test_entries_are_followed_from_a_position_and_who_has_keys_is_for_admins(tmp_path: Path) -> None:
    Worker.gate = asyncio.Event()
    Worker.gate.set()
    async with served(tmp_path, workspaces=("one",), actors=(Worker,), stream_max_s=0.4) as client:
        await client.call("POST", "/api/actors/worker/w/Work", {}, Idempotency_Key="t-1", Prefer="wait=30")
        last = client.loom().store.acknowledged
        everything = await reading(client, "/api/entries/events?after=0", role="admin")
        seen = await asyncio.to_thread(everything.all)
        assert [int(each["id"]) for each in seen] == list(range(1, last + 1))
        assert "body" not in seen[0]["data"]
        some = await reading(client, "/api/entries/events?after=0")
        positions = [int(each["id"]) for each in await asyncio.to_thread(some.all)]
        hidden = {int(each["id"]) for each in seen if each["data"]["journal"] == "web/keys"}
        assert hidden
        assert positions == sorted(set(range(1, last + 1)) - hidden)
        rest = await reading(client, "/api/entries/events?after=0", **{"Last-Event-ID": str(last - 2)})
        assert [int(each["id"]) for each in await asyncio.to_thread(rest.all)] == [last - 1, last]
        coming = await reading(client, "/api/entries/events")
        await client.call("POST", "/api/actors/worker/w/Work", {}, Idempotency_Key="t-2")
        following = await asyncio.to_thread(coming.next)
        assert following is not None
        assert int(following["id"]) == last + 1


async def test_streams_end_with_the_server_with_the_key_and_there_is_a_limit_of_them(tmp_path: Path) -> None:
    Worker.gate = asyncio.Event()
    async with served(
        tmp_path, workspaces=("one",), actors=(Worker,), max_streams=8, heartbeat_s=0.05, patience_s=20
    ) as client:
        keys = keys_of(client.loom())
        client.keys["one", "lost"] = await keys.issue("lost", "reader", by="mira")
        await client.call("POST", "/api/actors/worker/w/Work", {}, Idempotency_Key="t-1")
        lost = await reading(client, "/api/turns/t-1/events", role="lost")
        assert await asyncio.to_thread(lost.next) is not None
        await keys.revoke(client.keys["one", "lost"].split("_")[1], by="mira", reason="lost")
        assert len(await asyncio.to_thread(lost.all)) < 20, "it ends with its key"
        two = [await reading(client, "/api/entries/events") for _ in range(2)]
        third = await client.call("GET", "/api/entries/events", role="reader")
        assert (third.status, third.code, third.headers["retry-after"]) == (503, "too_many_streams", "5")
        waits = asyncio.create_task(
            client.call("POST", "/api/actors/worker/w/Work", {}, Idempotency_Key="t-1", Prefer="wait=60")
        )
        while client.api.live.streams.open < 2 or not client.loom().actors.running("worker/w", "t-1"):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        began = time.monotonic()
    assert (await waits).status == 202, "a wait that the end cuts short has the turn as it is"
    assert [await asyncio.to_thread(each.all) for each in two] == [[], []]
    assert time.monotonic() - began < 10, "nothing waits for streams"


async def test_nothing_is_read_for_a_client_that_does_not_read() -> None:
    made = 0

    async def endless() -> AsyncGenerator[Frame, None]:
        nonlocal made
        while True:
            made += 1
            yield Frame("entry", {"number": made}, made)

    taken: list[Sent] = []
    stalled, blocked = asyncio.Event(), asyncio.Event()

    async def send(message: Sent) -> None:
        taken.append(message)
        if len(taken) == 4:
            stalled.set()
            await blocked.wait()

    async def receive() -> Sent:
        await blocked.wait()
        return {"type": "http.disconnect"}

    live = Live(most=4, heartbeat_s=0.01, stream_max_s=60)
    response = EventStream(endless(), live, key_id="k", allowed=lambda: True)
    scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
    answering = asyncio.create_task(response(scope, receive, send))
    await stalled.wait()
    await asyncio.sleep(0.05)  # time in which it would read on
    assert (made, live.streams.open) == (2, 1)
    answering.cancel()
    await asyncio.wait([answering])
    assert live.streams.open == 0


async def test_a_stream_without_events_says_that_it_is_there_and_ends_after_its_time() -> None:
    closed = False

    async def silent() -> AsyncGenerator[Frame, None]:
        nonlocal closed
        try:
            await asyncio.Event().wait()
            yield Frame("never", {})
        finally:
            closed = True

    live = Live(most=4, heartbeat_s=0.01, stream_max_s=0.05)
    sent = [each async for each in frames(silent(), live, allowed=lambda: True)]
    assert sent[0].startswith(b"retry: ")
    assert set(sent[1:]) == {b": still here\n\n"}
    assert closed


async def test_a_client_that_leaves_is_noticed_by_what_is_sent_to_it(tmp_path: Path) -> None:
    Worker.gate = asyncio.Event()
    async with served(tmp_path, workspaces=("one",), actors=(Worker,), heartbeat_s=0.02) as client:
        await client.call("POST", "/api/actors/worker/w/Work", {}, Idempotency_Key="t-1")
        stream = await reading(client, "/api/turns/t-1/events")
        await asyncio.to_thread(stream.next)
        assert client.api.live.streams.open == 1
        raw = stream.answer.fp.raw._sock  # type: ignore[attr-defined]
        raw.shutdown(socket.SHUT_RDWR)
        stream.close()
        while client.api.live.streams.open:
            await asyncio.sleep(0.01)
        Worker.gate.set()
