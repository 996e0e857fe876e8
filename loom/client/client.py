"""`LoomClient`: a loom that runs elsewhere, with actors that are asked as those of one's own.

Every request is sent under a command id, and sent again under the same id where its answer was lost: the server runs it
once, and gives the same reply.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final, Generic, Self, TypeVar, cast, overload
from urllib.parse import quote

import httpx2
from pydantic import JsonValue

from loom.actors.actor import Actor
from loom.actors.command import Command, Handles, Message, Sent, decode_reply
from loom.actors.dispatch import TellReceipt
from loom.actors.progress import LeftOut, Progress, Replied, StepBegan, StepEnded, TextDelta
from loom.actors.turn_runner import turn_failed_error
from loom.client.errors import RemoteError, error_of
from loom.errors import AskTimeoutError, LoomError, TurnAbandonedError, TurnStuckError
from loom.identity import journal_name, new_id

__all__ = ["LoomClient", "RemoteRef"]

A = TypeVar("A", covariant=True)
B = TypeVar("B", bound=Actor[Any])
C = TypeVar("C")
R = TypeVar("R")

_WAIT_S = 20.0
"""The longest single wait for a reply: connections that are silent for longer may be cut on their way."""
_LATER = frozenset({429, 502, 503, 504})
"""What is answered so is sent again."""
_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0

_PROGRESS: Final[dict[str, type[StepBegan] | type[StepEnded] | type[TextDelta] | type[LeftOut]]] = {
    "step_began": StepBegan,
    "step_ended": StepEnded,
    "text": TextDelta,
    "left_out": LeftOut,
}


class LoomClient:
    """A loom that is served elsewhere: `async with LoomClient(url, key=KEY) as loom`, then `loom.actor(Agent, "acme")`.

    `workspace` is needed where the server has several. A request whose answer was lost, or that the server is too busy
    for, is sent again for `retry_for_s`. Commands are sent in the name of the key.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str,
        workspace: str | None = None,
        retry_for_s: float = 30.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx2.AsyncClient(
            base_url=url.rstrip("/"),
            headers={"Authorization": f"Bearer {key}"},
            params={} if workspace is None else {"workspace_id": workspace},
            timeout=httpx2.Timeout(10.0, read=_WAIT_S + 10.0),
            transport=transport,
        )
        self._retry_for_s = retry_for_s

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @overload
    def actor(self, of: type[B], key: str) -> RemoteRef[B]: ...
    @overload
    def actor(self, of: str, key: str) -> RemoteRef[Any]: ...
    def actor(self, of: type[Actor[Any]] | str, key: str) -> RemoteRef[Any]:
        """Return the handle of one actor, by its class, or by its type where its code is not here."""
        return RemoteRef(self, of if isinstance(of, str) else of.actor_type, key)

    # --- what references build on ----------------------------------------------------------------

    async def send(
        self, path: str, command: Command[Any], *, id: str, wait_s: float = 0.0, retry_for_s: float | None = None
    ) -> dict[str, Any]:
        """Send a command under an id, as often as it takes, and return its turn."""
        headers = {"Idempotency-Key": id, "Content-Type": "application/json"}
        if wait_s > 0:
            headers["Prefer"] = f"wait={max(1, round(wait_s))}"
        loop = asyncio.get_running_loop()
        end = loop.time() + (self._retry_for_s if retry_for_s is None else retry_for_s)
        pause_s = _PAUSE_S
        while True:
            try:
                said = await self._http.post(path, content=command.model_dump_json(), headers=headers)
            except httpx2.TransportError as error:
                problem: LoomError = _unreachable(path, error)
                after_s = pause_s
            else:
                if said.status_code in (200, 202):
                    answer: dict[str, Any] = said.json()
                    return answer
                problem = error_of(said.status_code, _body(said))
                if said.status_code not in _LATER:
                    raise problem
                after_s = max(pause_s, _seconds(said.headers.get("retry-after")))
            if loop.time() + after_s >= end:
                raise problem
            await asyncio.sleep(after_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def events(self, path: str, *, journal: str) -> AsyncIterator[tuple[str, Any]]:
        """Yield the events of a turn, by name, up to its last; a connection that is cut goes on where it was."""
        seen, end, loop = 0, 0.0, asyncio.get_running_loop()
        while True:
            try:
                async with self._http.stream(
                    "GET", path, params={"journal": journal}, headers={"Last-Event-ID": str(seen)}
                ) as said:
                    if said.status_code != 200:
                        await said.aread()
                        problem: LoomError = error_of(said.status_code, _body(said))
                        if said.status_code not in _LATER:
                            raise problem
                        raise _CutError(problem)
                    end = 0.0
                    async for name, data, id in _events(said.aiter_lines()):
                        seen = seen if id is None else id
                        yield name, data
                        if name == "turn":
                            return
            except (httpx2.TransportError, _CutError) as error:
                end = end or loop.time() + self._retry_for_s
                if loop.time() >= end:
                    raise (error.problem if isinstance(error, _CutError) else _unreachable(path, error)) from error
                await asyncio.sleep(_PAUSE_S)


class RemoteRef(Generic[A]):
    """A reference to one actor of a loom elsewhere, typed as `ActorRef` is."""

    __slots__ = ("_client", "_path", "journal")

    def __init__(self, client: LoomClient, actor_type: str, key: str) -> None:
        self._client = client
        self.journal = journal_name(actor_type, key)
        """The name of the actor's journal."""
        self._path = f"/api/actors/{quote(actor_type, safe='')}/{quote(key, safe='')}"

    def __repr__(self) -> str:
        return f"<RemoteRef {self.journal}>"

    async def ask(
        self: RemoteRef[Handles[C]], command: Sent[C, R], *, id: str | None = None, timeout_s: float | None = None
    ) -> R:
        """Send a command and return its reply; raises what `ActorRef.ask` does.

        The same `id` with the same contents is the same turn, also after the server was started again. `timeout_s` ends
        the wait with an `AskTimeoutError`, never the turn. Raises `RemoteError` where the server refuses, or cannot be
        reached for as long as the client tries.
        """
        sent, known_id = cast("Command[R]", command), id or new_id()
        loop = asyncio.get_running_loop()
        end = None if timeout_s is None else loop.time() + timeout_s
        while True:
            left_s = None if end is None else end - loop.time()
            if left_s is not None and left_s <= 0:
                raise _late(self.journal, sent, timeout_s, known_id)
            wait_s = _WAIT_S if left_s is None else min(_WAIT_S, left_s)
            try:
                async with asyncio.timeout(left_s):
                    turn = await self._client.send(self._of(sent), sent, id=known_id, wait_s=wait_s)
            except TimeoutError:
                raise _late(self.journal, sent, timeout_s, known_id) from None
            if _has_ended(turn):
                return cast("R", decode_reply(type(sent), _reply(turn)))

    async def tell(self: RemoteRef[Handles[C]], command: Sent[C, Any], *, id: str | None = None) -> TellReceipt:
        """Send a command and return once it is durable; its turn runs by itself."""
        return await self._sent(cast("Command[Any]", command), id)

    async def send(self, message: Message, *, id: str | None = None) -> TellReceipt:
        """Send a message and return once it is durable; a turn that waits for its type gets it, now or later."""
        return await self._sent(message, id)

    async def stream(
        self: RemoteRef[Handles[C]], command: Sent[C, R], *, id: str | None = None
    ) -> AsyncGenerator[Progress | Replied[R], None]:
        """Send a command and yield the progress of its turn, and at last its reply, as `Replied`.

        Progress is not journaled: what happens before the stream is connected, or while it is cut, is not seen. Use it
        with `contextlib.aclosing` where it is not read to its end. Raises what `ask` does.
        """
        sent, known_id = cast("Command[R]", command), id or new_id()
        turn = await self._client.send(self._of(sent), sent, id=known_id)
        if not _has_ended(turn):
            path = f"/api/turns/{quote(known_id, safe='')}/events"
            async for name, data in self._client.events(path, journal=self.journal):
                if name == "progress" and (cls := _PROGRESS.get(str(data.get("type")))) is not None:
                    # a later server may say more of it than is known here
                    yield cls(**{field: data[field] for field in cls.__dataclass_fields__ if field in data})
        reply: R = await self.ask(command, id=known_id)
        yield Replied(reply)

    async def _sent(self, command: Command[Any], id: str | None) -> TellReceipt:
        turn = await self._client.send(self._of(command), command, id=id or new_id())
        return TellReceipt(turn["journal"], turn["command_id"], turn["sequence"], turn["position"])

    def _of(self, command: Command[Any]) -> str:
        return f"{self._path}/{quote(command.command_type, safe='')}"


class _CutError(Exception):
    def __init__(self, problem: LoomError) -> None:
        super().__init__(str(problem))
        self.problem = problem


def _has_ended(turn: dict[str, Any]) -> bool:
    """Tell whether a turn has ended; one that waits for a person raises what `ask` raises for it."""
    if turn["status"] == "stuck":
        raise TurnStuckError(turn["error"]["message"])
    return turn["status"] in ("completed", "failed", "abandoned")


def _reply(turn: dict[str, Any]) -> JsonValue:
    """Return the reply of a turn that has ended; raise what says why it has none."""
    problem = turn["error"]
    if turn["status"] == "failed":
        raise turn_failed_error(
            turn["journal"],
            turn["command_type"],
            type_name=problem["type_name"] or problem["type"],
            message=problem["message"],
        )
    if turn["status"] == "abandoned":
        raise TurnAbandonedError(problem["message"])
    if problem is not None:
        raise TurnStuckError(problem["message"])
    reply: JsonValue = turn["reply"]
    return reply


def _late(journal: str, command: Command[Any], timeout_s: float | None, id: str) -> AskTimeoutError:
    return AskTimeoutError(
        f"actor [{journal}] did not reply to [{command.command_type}] within [{timeout_s}] s; "
        f"expected a reply: the turn goes on; ask again with id [{id}] for it"
    )


def _unreachable(path: str, error: Exception) -> RemoteError:
    return RemoteError(
        f"no answer to [{path}] [{type(error).__name__}: {error}]; expected one: see that the server is up; the same "
        "id may be sent again",
        status=0,
        code="unreachable",
    )


def _body(said: httpx2.Response) -> Any:
    try:
        return said.json()
    except ValueError:
        return None


def _seconds(text: str | None) -> float:
    return float(text) if text is not None and text.isdigit() else 0.0


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, Any, int | None]]:
    """Yield (name, data, id) of server-sent events as this server writes them: the data is one line."""
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, text = line.partition(": ")
            fields[name] = text
        else:
            if "event" in fields:
                yield fields["event"], json.loads(fields["data"]), int(fields["id"]) if "id" in fields else None
            fields = {}
