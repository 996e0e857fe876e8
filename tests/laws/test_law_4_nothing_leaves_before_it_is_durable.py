"""Law 4: no reply, effect or answer leaves before what its turn wrote is durable."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from loom.actors import Actor, Command
from loom.decisions.entries import ApprovalRequestedEntry
from loom.journal import Append, Receipt
from loom.journal.store import Submitted
from loom.runtime import Loom
from tests.actors.agents import NotedEntry
from tests.actors.support import opened


class Durability:
    """Between the actors and their store: keeps every receipt back for a while, and knows what is not durable yet."""

    def __init__(self, loom: Loom, *, seed: int) -> None:
        self.submitted: dict[str, int] = defaultdict(int)
        self.durable: dict[str, int] = defaultdict(int)
        self.left: list[str] = []
        self.early: list[str] = []
        self._chance = random.Random(seed)
        self._at = 0.0
        self._real = loom.store.submit

    def submit(self, append: Append) -> Submitted:
        turn = str(append.drafts[0].command_id)
        self.submitted[turn] += len(append.drafts)
        outer = Submitted()
        self._real(append).add_done_callback(lambda inner: self._keep(inner, outer, turn, len(append.drafts)))
        return outer

    def _keep(self, inner: asyncio.Future[Receipt], outer: asyncio.Future[Receipt], turn: str, count: int) -> None:
        def let_go() -> None:
            self.durable[turn] += count
            outer.set_result(inner.result())

        loop = asyncio.get_running_loop()
        self._at = max(self._at, loop.time()) + self._chance.uniform(0, 0.005)  # in the order of the journal
        loop.call_at(self._at, let_go)

    def leaves(self, what: str, turn: str) -> None:
        """Note that something leaves, and whether all that its turn wrote until now is durable."""
        if self.durable[turn] != self.submitted[turn]:
            self.early.append(f"{what} of turn [{turn}]")
        self.left.append(what)


class Go(Command[str]):
    name: str
    what: str = "command"


DURABILITY: dict[str, Durability] = {}


class Other(Actor[None]):
    async def execute(self, command: Go) -> str:
        DURABILITY["it"].leaves(command.what, command.name)
        return command.name


class Leaving(Actor[None]):
    async def execute(self, command: Go) -> str:
        def effect(key: str) -> str:
            DURABILITY["it"].leaves("effect", command.name)
            return key

        await self.record(NotedEntry(text="before"))
        await self.perform(action="a", effect=effect, key="1")
        await self.record(NotedEntry(text="between"))
        await self.ask(Other, command.name, Go(name=command.name, what="ask"))
        await self.record(NotedEntry(text="between"))
        await self.tell(Other, f"told-{command.name}", Go(name=command.name, what="tell"))
        await self.record(NotedEntry(text="between"))
        approval = await self.request_approval(approver="vp", reason="please")
        DURABILITY["it"].left.append(f"answer {approval.granted}")
        assert DURABILITY["it"].durable[command.name] >= DURABILITY["it"].submitted[command.name] - 1  # its own marker
        await self.perform(action="b", effect=effect, key="2")
        await self.record(NotedEntry(text="last"))
        return command.name


class Messenger:
    def __init__(self) -> None:
        self.loom: Any = None

    async def deliver(self, request: ApprovalRequestedEntry, *, journal: str) -> None:
        DURABILITY["it"].leaves("request", journal.partition("/")[2])
        await self.loom.approvals.grant(request.approval_id, by="alice")


@pytest.mark.parametrize("seed", range(5))
async def test_nothing_leaves_a_turn_before_what_it_wrote_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    messenger = Messenger()
    async with opened(tmp_path, agents=[Leaving, Other], approver=messenger) as loom:
        messenger.loom = loom
        durability = DURABILITY["it"] = Durability(loom, seed=seed)
        monkeypatch.setattr(loom.store, "submit", durability.submit)

        async def one(name: str) -> None:
            assert await loom.actor(Leaving, name).ask(Go(name=name), id=name) == name
            durability.leaves("reply", name)

        await asyncio.gather(*(one(f"{number}") for number in range(5)))
        assert durability.early == []
        assert sorted(set(durability.left)) == ["answer True", "ask", "effect", "reply", "request", "tell"]
        assert durability.left.count("effect") == 10


async def test_a_told_command_is_durable_when_tell_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path, agents=[Other]) as loom:
        durability = DURABILITY["it"] = Durability(loom, seed=0)
        monkeypatch.setattr(loom.store, "submit", durability.submit)
        told = await loom.actor(Other, "one").tell(Go(name="nobody"), id="told")
        assert durability.durable["told"] >= 1
        assert told.sequence == 1
