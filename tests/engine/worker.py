"""One node of a cluster as a process of its own: it takes lines of JSON, and answers each with one.

What it is set to is the first line: url, directory, node, nodes, key, leases (a path) or restate (its section), and
how it is wrong, if it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from loom import Actor, Command, Evaluation, Facts, Params, allow, case, first_match, otherwise, policy
from loom import require_approval as consent
from loom.config import JournalConfig, LoomConfig, Section
from loom.engine import ClusterConfig, RestateConfig
from loom.errors import LoomError
from loom.identity import Identity
from loom.journal.kinds import TurnCompletedEntry
from loom.journal.postgres import PostgresStore
from loom.journal.store import JournalStore
from loom.routing import extension as routing
from loom.runtime import Loom
from tests.engine.leases import leases_at
from tests.engine.newer import become_newer
from tests.engine.switching import section, switched
from tests.engine.wrong import make_wrong
from tests.reliability.forks import Zygote
from tests.routing.support import Executions

__all__ = ["Decide", "Desk", "Worker"]

ENDED_AS_FENCED = 3
LEASE_S = 4.0
"""Three nodes on a busy machine beat late."""
_LONGEST = 1 << 24


class Limits(Params):
    percent: int = Field(10, ge=0, le=100)


class Case(Facts):
    percent: int


@policy("cluster-desk", Limits(), examples=[Case(percent=5)])
def rule(limits: Limits, facts: Case) -> Evaluation:
    return first_match(
        case("within", facts.percent <= limits.percent, allow(), why="within the limit", why_not="over the limit"),
        otherwise("over", consent("vp"), why="over the limit"),
    )


class Reply(BaseModel):
    granted: bool
    decision_id: str


class Decide(Command[Reply]):
    percent: int
    think_s: float = 0.0
    thinks: int = 2
    """How many of its look-ups take that long, from the first."""
    apart_s: float = 0.0
    """What passes between its steps, so that each is an append of its own."""


class Nap(Command[str]):
    """Waits for a time, or for an answer that does not come before the deadline."""

    seconds: float
    what: Literal["sleep", "deadline"] = "sleep"


class Relay(Command[int]):
    """Asks the first of a path of actors, which asks the next."""

    path: tuple[str, ...]


class Desk(Actor[None]):
    """Looks two things up, each of which takes a while; decides, asking where that is over the limit."""

    policy = rule

    async def execute(self, command: Decide | Relay | Nap) -> Reply | int | str:
        if isinstance(command, Nap):
            if command.what == "sleep":
                await self.sleep(command.seconds)
                return "slept"
            answer = await self.request_approval(approver="vp", reason="nobody answers", timeout_s=command.seconds)
            return "granted" if answer.granted else "denied"
        if isinstance(command, Relay):
            if not command.path:
                return 1
            return 1 + await self.ask(Desk, command.path[0], Relay(path=command.path[1:]))
        return await self.decided(command)

    async def decided(self, command: Decide) -> Reply:
        async def looked_up(think_s: float) -> dict[str, bool]:
            if think_s:
                await asyncio.sleep(think_s)
            return {"ok": True}

        for at, system in enumerate(("crm", "erp")):
            think_s = command.think_s if at < command.thinks else 0.0
            await self.gather_context(
                system=system,
                entity="account",
                query=self.key,
                relevance="who asks",
                fetcher=partial(looked_up, think_s),
            )
            await asyncio.sleep(command.apart_s)
        evaluation = self.evaluate(Case(percent=command.percent))
        granted = not evaluation.needs_approval
        await asyncio.sleep(command.apart_s)
        if evaluation.needs_approval:
            granted = (await self.request_approval(approver="vp", reason="over the limit")).granted
        decision_id = await self.record_decision(rationale=evaluation.why or "-", outcome={"granted": granted})
        await asyncio.sleep(command.apart_s)
        return Reply(granted=granted, decision_id=decision_id)


_OF_DECIDE = frozenset(Decide.model_fields)


def opened(given: dict[str, Any]) -> Loom:
    """Return the loom of a node, to be entered: as its config says, or with leases."""
    sections: dict[str, Section] = {
        "cluster": ClusterConfig.model_validate(
            {"node": given["node"], "nodes": given["nodes"], "key": given["key"], "wait_s": 1, "patience_s": 60}
        )
    }
    if "restate" in given:
        sections["restate"] = RestateConfig.model_validate(given["restate"])
    if given.get("routing"):
        sections |= section()
    config = LoomConfig(
        data=Path(given["directory"]) / given["node"],
        journal=JournalConfig(url=given["url"]),
        engine="restate" if "restate" in given else "local",
        sections=sections,
    )
    leases = leases_at(Path(given["leases"]), lease_s=LEASE_S) if "leases" in given else None
    if not given.get("routing"):
        return Loom.open(config, actors=[Desk], by="ops", engine=leases)
    return Loom.open(config, actors=[Desk, Executions], by="ops", engine=leases, extensions=[routing])


async def answer(loom: Loom, given: dict[str, Any]) -> Any:
    """Do what a line asks for."""
    match given:
        case {"ask": str(key), "id": str(known), **more}:
            command = Decide.model_validate({"percent": 5, **{name: more[name] for name in _OF_DECIDE & more.keys()}})
            who = Identity(str(more.get("by", "robin")), "api_key:7", "http")
            return (await loom.actor(Desk, key).ask(command, id=known, by=who)).model_dump()
        case {"relay": str(key), "path": list(path)}:
            return await loom.actor(Desk, key).ask(Relay(path=tuple(path)))
        case {"nap": str(key), "what": str(what), "seconds": float(seconds)}:
            nap = Nap.model_validate({"seconds": seconds, "what": what})
            return await loom.actor(Desk, key).ask(nap, id=f"nap-{key}")
        case {"tell": str(key), "after_s": float(after_s)}:
            at = datetime.now(UTC) + timedelta(seconds=after_s)
            return (await loom.actor(Desk, key).tell(Decide(percent=5), id=f"tell-{key}", at=at)).position
        case {"grant": str(approval_id), "by": str(by)}:
            granted = await loom.approvals.grant(approval_id, by=Identity(by, "api_key:9", "http"))
            return {"status": granted.status, "by": granted.answered_by}
        case {"pending": _}:
            await loom.store.refresh()
            return [[each.approval_id, each.journal] for each in await loom.approvals.pending(limit=1_000)]
        case {"where": str(key)}:
            journal = f"desk/{key}"
            return {"mine": loom.engine.ownership.mine(journal), "owner": await loom.engine.owner(journal)}
        case {"mine": list(keys)}:
            return [key for key in keys if loom.engine.ownership.mine(f"desk/{key}")]
        case {"switch": str(verb), "tag": str(tag)}:
            return await switched(loom, verb, tag)
        case {"lives": str(journal)}:
            return loom.engine.ownership.mine(journal)
        case {"running": _}:
            return sum(len(cell.turns) for cell in loom.actors.cells())
        case {"ending": _}:
            return ends_queued(loom.store)
        case {"rate": float(seconds), "in_flight": int(flight), "tag": str(tag)}:
            return await rate(loom, seconds, flight, tag)
        case {"placing": int(count), "tag": str(tag)}:
            return await placing(loom, count, tag)
    raise ValueError(f"not understood: {given}")


def ends_queued(store: JournalStore) -> int:
    """Return how many ends of turns wait to be written, behind the batch that is being written."""
    assert isinstance(store, PostgresStore)
    waiting = store._pump.queue._waiting
    return sum(draft.kind == TurnCompletedEntry.kind for each in waiting for draft in each.drafts)


async def rate(loom: Loom, seconds: float, flight: int, tag: str) -> dict[str, float]:
    """Return how many turns a second are done with so many in flight."""
    loop = asyncio.get_running_loop()
    done, end = 0, loop.time() + seconds

    async def one(at: int) -> None:
        nonlocal done
        ref = loom.actor(Desk, f"{tag}-{at}")
        while loop.time() < end:
            await ref.ask(Decide(percent=5))
            done += 1

    began, cpu = loop.time(), os.times()
    await asyncio.gather(*(one(at) for at in range(flight)))
    used = os.times()
    took = loop.time() - began
    return {"turns_per_s": done / took, "cpu": (used.user + used.system - cpu.user - cpu.system) / took}


async def placing(loom: Loom, count: int, tag: str) -> dict[str, float]:
    """Return how many turns a second are done of actors that live nowhere."""
    loop = asyncio.get_running_loop()
    began, cpu = loop.time(), os.times()
    await asyncio.gather(*(loom.actor(Desk, f"{tag}-{at}").ask(Decide(percent=5)) for at in range(count)))
    used, took = os.times(), loop.time() - began
    return {"turns_per_s": count / took, "cpu": (used.user + used.system - cpu.user - cpu.system) / took}


async def main(given: dict[str, Any], wire: socket.socket) -> None:
    """Open the loom of a node, say so, and answer what comes over the wire until its other end closes."""
    reader, writer = await asyncio.open_connection(sock=wire, limit=_LONGEST)

    def say(what: dict[str, Any]) -> None:
        writer.write(json.dumps(what).encode() + b"\n")

    async def handle(line: bytes) -> None:
        asked = json.loads(line)
        try:
            say({"n": asked["n"], "ok": await answer(loom, asked["given"])})
        except LoomError as error:
            say({"n": asked["n"], "error": type(error).__name__, "message": str(error)})

    make_wrong(given.get("wrong", ()))
    if given.get("newer"):
        become_newer()
    async with opened(given) as loom:
        loom.store.on_fenced(lambda _: os._exit(ENDED_AS_FENCED))
        say({"n": 0, "ok": "ready"})
        tasks: set[asyncio.Task[None]] = set()
        while line := await reader.readline():
            task = asyncio.create_task(handle(line))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


def forked(log: str) -> None:
    """Be a node that a zygote has forked: the wire is descriptor 1, and what it is set to comes first."""
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 2)
    wire = socket.socket(fileno=os.dup(1))
    os.dup2(2, 1)
    run(wire)


def run(wire: socket.socket) -> None:
    """Be a node that reads over the wire what it is set to."""
    given = b""
    while not given.endswith(b"\n"):
        given += wire.recv(1)
    asyncio.run(main(json.loads(given), wire))


class Worker:
    """A node in a process of its own, as its parent sees it."""

    def __init__(self, given: dict[str, Any], *, log: Path, zygote: Zygote | None = None) -> None:
        self.given = given
        self.name = str(given["node"])
        self.pid = 0
        self._log = log
        self._zygote = zygote
        self._process: subprocess.Popen[bytes] | None = None
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._next = 0
        self._code: int | None = None

    async def start(self) -> None:
        """Start the process, and wait until its loom is open."""
        ours, theirs = socket.socketpair()
        with theirs:
            await asyncio.to_thread(self._begin, theirs)
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=_LONGEST)
        self._writer.write(json.dumps(self.given).encode() + b"\n")  # a password is in no list of processes
        ready = self._asked[0] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())
        async with asyncio.timeout(90):
            await ready

    def _begin(self, theirs: socket.socket) -> None:
        if self._zygote is not None:
            self.pid = self._zygote.fork_to(theirs, "forked", log=str(self._log))
            return
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "tests.engine.worker"]
            root = Path(__file__).parents[2]
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=log, stderr=log, cwd=root)
        self.pid = self._process.pid

    async def do(self, **given: Any) -> Any:
        """Ask for something; raise `ConnectionError` where the process ends before it answers."""
        self._next += 1
        asked = self._asked[self._next] = asyncio.get_running_loop().create_future()
        if self._reading.done():
            raise ConnectionError(f"node {self.name} is gone: see {self._log}")
        self._writer.write(json.dumps({"n": self._next, "given": given}).encode() + b"\n")
        return await asked

    def kill(self, number: int = 9) -> None:
        """Send the process a signal."""
        if self._code is None:
            os.kill(self.pid, number)

    async def ended(self) -> int:
        """Wait until the process has ended, and return its status."""
        await self._reading
        if self._code is None:
            wait = self._process.wait if self._process else partial(_zygote(self).wait, self.pid)
            self._code = await asyncio.to_thread(wait)
            self._writer.close()
        return self._code

    async def close(self) -> None:
        """End the process, in order where it can."""
        if not self.pid or self._code is not None:
            return
        if not self._reading.done():
            self._writer.write_eof()
        try:
            async with asyncio.timeout(20):
                await asyncio.shield(self._reading)
        except TimeoutError:
            self.kill()
        await self.ended()

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await self._reader.readline():
                said = json.loads(line)
                asked = self._asked.pop(said["n"], None)
                if asked is None or asked.done():
                    continue
                if "error" in said:
                    asked.set_exception(RuntimeError(f"{said['error']}: {said['message']}"))
                else:
                    asked.set_result(said["ok"])
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(ConnectionError(f"node {self.name} is gone: see {self._log}"))
                asked.exception()
        self._asked.clear()


def _zygote(worker: Worker) -> Zygote:
    assert worker._zygote is not None
    return worker._zygote


if __name__ == "__main__":
    with socket.socket(fileno=os.dup(0)) as wire:
        run(wire)
