"""The client: the same verbs, replies and errors as in the process itself, and nothing done twice."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import httpx2
import pytest
from pydantic import BaseModel

from loom import Actor, Command
from loom.actors.command import Message
from loom.actors.progress import Replied, StepEnded
from loom.client import LoomClient, RemoteError
from loom.errors import ActorFailedError, AskTimeoutError, CommandConflictError, LoomError
from tests.cli.support import environment, invoke
from tests.web.support import Client, served


class Sum(BaseModel):
    total: int


class Count(Command[Sum]):
    by: int = 1
    fails: bool = False


class Hold(Command[str]):
    pass


class Word(Message):
    word: str


class Counter(Actor[None]):
    ran: ClassVar[int] = 0

    async def execute(self, command: Count | Hold) -> Sum | str:
        if isinstance(command, Hold):
            return (await self.wait_for(Word)).word
        type(self).ran += 1
        if command.fails:
            raise RuntimeError("no count")
        await self.gather_context(system="crm", entity="account", query="7", fetcher=lambda: 1)
        return Sum(total=command.by)


@asynccontextmanager
async def connected(tmp_path: Path, **config: Any) -> AsyncIterator[tuple[LoomClient, Client]]:
    Counter.ran = 0
    async with served(tmp_path, actors=(Counter,), **config) as server:
        url, key = f"http://127.0.0.1:{server.port}", server.keys["one", "operator"]
        async with LoomClient(url, key=key, workspace="one") as client:
            yield client, server


async def _error(asking: Any) -> LoomError:
    with pytest.raises(LoomError) as caught:
        await asking
    return caught.value


async def test_what_is_asked_from_outside_is_answered_as_from_inside(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, server):
        here, there = server.loom().actor(Counter, "a"), client.actor(Counter, "a")
        assert await there.ask(Count(by=3), id="c-1") == await here.ask(Count(by=3), id="c-1") == Sum(total=3)
        told = await there.tell(Count(by=3), id="c-1")
        assert told == await here.tell(Count(by=3), id="c-1")
        for asked in (Count(fails=True), Count(by=4)):
            id = "c-2" if asked.fails else "c-1"
            outside, inside = await _error(there.ask(asked, id=id)), await _error(here.ask(asked, id=id))
            assert (type(outside), str(outside)) == (type(inside), str(inside))
        assert isinstance(outside, CommandConflictError)
        failed = await _error(there.ask(Count(fails=True), id="c-2"))
        assert isinstance(failed, ActorFailedError)
        assert failed.type_name == "RuntimeError"
        late = await _error(there.ask(Hold(), id="c-3", timeout_s=0.3))
        assert (type(late), str(late)) == (
            AskTimeoutError,
            str(await _error(here.ask(Hold(), id="c-3", timeout_s=0.3))),
        )
        await there.send(Word(word="go"))
        assert await there.ask(Hold(), id="c-3", timeout_s=30) == "go", "a timeout ends the wait, never the turn"
        assert Counter.ran == 2


async def test_a_stream_has_the_progress_of_the_turn_and_at_last_its_reply(tmp_path: Path) -> None:
    async with connected(tmp_path, stream_max_s=1.0) as (client, server):
        there = client.actor(Counter, "a")

        async def once(*opened: bool) -> None:
            for each in opened:
                while bool(server.api.live.streams.open) is not each:
                    await asyncio.sleep(0.01)
            await there.send(Word(word="go"))

        going = asyncio.create_task(once(True))
        seen = [each async for each in there.stream(Hold(), id="h")]
        assert seen[-1] == Replied("go")
        assert StepEnded("wait_for", "Word") in seen
        assert [each async for each in there.stream(Hold(), id="h")] == [Replied("go")], (
            "what has ended is known at once"
        )
        await going
        going = asyncio.create_task(once(False, True, False, True))  # it ends meanwhile, and is connected again
        assert [each async for each in there.stream(Hold(), id="i")][-1] == Replied("go")
        await going
        while server.api.live.streams.open:
            await asyncio.sleep(0.01)


async def test_refusals_that_are_no_errors_of_looms_are_said_as_they_are(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_, server):
        url = f"http://127.0.0.1:{server.port}"
        async with LoomClient(url, key=server.keys["one", "reader"], workspace="one") as reader:
            refused = await _error(reader.actor("counter", "a").ask(Count()))
            assert isinstance(refused, RemoteError)
            assert (refused.status, refused.code, refused.kind) == (403, "forbidden", "refused")
        async with LoomClient(url, key="loom_nothing") as stranger:
            unknown = await _error(stranger.actor(Counter, "a").ask(Count()))
            assert isinstance(unknown, RemoteError)
            assert (unknown.status, unknown.kind) == (401, "refused")
    async with LoomClient(url, key="loom_nothing", retry_for_s=0.3) as late:
        away = await _error(late.actor(Counter, "a").tell(Count()))
        assert isinstance(away, RemoteError)
        assert (away.status, away.kind) == (0, "busy")


class Losing(httpx2.AsyncHTTPTransport):
    """Loses the answers to the first requests after they have been answered."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await super().handle_async_request(request)
        if self.left:
            self.left -= 1
            await answer.aclose()
            raise httpx2.ReadError("the answer was lost", request=request)
        return answer


async def test_a_lost_answer_is_asked_for_again_under_the_same_id(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_, server):
        url, key = f"http://127.0.0.1:{server.port}", server.keys["one", "operator"]
        async with LoomClient(url, key=key, workspace="one", transport=Losing(3)) as client:
            assert await client.actor(Counter, "a").ask(Count(by=5)) == Sum(total=5)
        assert Counter.ran == 1


# --- a server that is killed ------------------------------------------------------------------------

MINE = """
import asyncio
import pathlib

from loom import Actor, Command


class Ship(Command[str]):
    order: str


class Depot(Actor[None]):
    async def execute(self, command: Ship) -> str:
        await self.gather_context(system="stock", entity="order", query=command.order, fetcher=lambda: 1)
        while command.order == "slow" and not pathlib.Path("go").exists():
            await asyncio.sleep(0.01)
        return f"shipped {command.order}"
"""


class Ship(Command[str]):
    order: str


@contextmanager
def serving(config: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "loom.cli", "serve", "--port", str(port), "--json", "-c", str(config)],
        cwd=config.parent,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
async def test_a_server_that_is_killed_before_or_after_the_reply_gives_one_turn_and_one_reply(tmp_path: Path) -> None:
    config = tmp_path / "loom.config.yaml"
    config.write_text("data: data\nworkspace: main\nmodules: [mine]\nextensions: [web]\n")
    (tmp_path / "mine.py").write_text(MINE)
    given = await asyncio.to_thread(
        lambda: invoke("keys", "add", "op", "--role", "operator", "--by", "mira", "--json", config=config)
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with LoomClient(f"http://127.0.0.1:{port}", key=given.json["key"], retry_for_s=90) as client:
        depot = client.actor("depot", "d")
        with serving(config, port) as process:
            asking = asyncio.create_task(depot.ask(Ship(order="slow"), id="o-1"))
            assert await depot.ask(Ship(order="fast"), id="o-2") == "shipped fast"
            await depot.tell(Ship(order="slow"), id="o-1")
            process.send_signal(signal.SIGKILL)  # before the reply to one, after the reply to the other
        (tmp_path / "go").touch()
        with serving(config, port):
            assert await asking == "shipped slow"
            assert await depot.ask(Ship(order="fast"), id="o-2") == "shipped fast"
            assert await depot.ask(Ship(order="slow"), id="o-1") == "shipped slow"
    said = await asyncio.to_thread(lambda: invoke("journal", "depot/d", "--json", config=config))
    kinds = [each["kind"] for each in said.lines]
    assert kinds.count("command_received") == kinds.count("turn_completed") == 2
    assert kinds.count("context_gathered") == 2, json.dumps(kinds)
