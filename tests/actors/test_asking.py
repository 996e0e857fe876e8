"""Actors that ask and tell each other: once each, without circles, and through crashes on either side."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from loom.actors import Actor, Command
from loom.actors.dispatch import Origin
from loom.actors.entries import AskRepliedEntry, ToldEntry
from loom.errors import ActorFailedError, AskCycleError, DiskFullError, NoTurnError
from loom.identity import Identity
from loom.journal import Append, draft
from loom.journal.chain import body_digest
from loom.journal.kinds import CommandReceivedEntry
from tests.actors.agents import Carry, Do, Folding, Interpreter, Lend, Lender, World
from tests.actors.support import entries, kinds, opened, until


class Pass(Command[str]):
    """Ask the next one of a path, and say what came of it."""

    path: list[str]
    catch: bool = True


class Passing(Folding):
    async def execute(self, command: Pass) -> str:
        await self.gather_context(
            system="test", entity="gate", query=self.key, fetcher=lambda: self.world.call(f"at {self.key}")
        )
        if not command.path:
            return "end"
        following, *rest = command.path
        try:
            return await self.ask(Passing, following, Pass(path=rest, catch=command.catch))
        except AskCycleError as error:
            if not command.catch:
                raise
            return f"circle {str(error)[str(error).index('[') :]}"


async def test_a_circle_of_asks_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Passing]) as loom:
        said = await loom.actor(Passing, "a").ask(Pass(path=["b", "c", "a"]))
        assert said.startswith("circle [passing/a → passing/b → passing/c → passing/a]")
        assert (await loom.actor(Passing, "a").ask(Pass(path=["a"]))).startswith("circle [passing/a → passing/a]")
        assert await loom.actor(Passing, "a").ask(Pass(path=["b", "c"])) == "end"


async def test_a_circle_through_another_process_is_refused_where_the_actor_lives(tmp_path: Path) -> None:
    world = World()
    world.hold("at b")
    async with opened(tmp_path, world, agents=[Passing]) as loom:
        asking = asyncio.create_task(loom.actor(Passing, "a").ask(Pass(path=["b"])))
        await world.arrived("at b")
        sent = partial(loom.actors.messenger.ask, Passing, "a", Pass(path=[]), command_id="c")
        with pytest.raises(AskCycleError, match="passing/b → passing/a → passing/b"):
            await sent(origin=Origin("c", waiting=("passing/x", "passing/b")))
        assert "c" not in [each.command_id for each in await entries(loom, "passing/a")]
        waits = asyncio.create_task(sent(origin=Origin("c", waiting=("passing/x", "passing/y"))))
        world.let_go("at b")
        assert [await asking, await waits] == ["end", "end"]
        received = next(each.entry for each in await entries(loom, "passing/a") if each.command_id == "c")
        assert isinstance(received, CommandReceivedEntry)
        assert received.waiting == ("passing/x", "passing/y")


async def test_what_a_turn_sends_on_is_in_the_name_and_from_the_source_of_its_own_requester(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Passing]) as loom:
        await loom.actor(Passing, "a").ask(Pass(path=["b"]), by=Identity("robin", "api_key:7", "http"))
        await loom.actor(Passing, "a").ask(Pass(path=["b"]))
        received = [each.entry for each in await entries(loom, "passing/b") if each.kind == "command_received"]
        assert [str(each.identity) for each in received if isinstance(each, CommandReceivedEntry)] == [
            "robin (api_key:7, via http)",
            "None",
        ]


async def test_a_turn_of_before_sources_were_kept_goes_on_in_a_name_that_is_claimed(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Passing], resume=False) as loom:
        command = CommandReceivedEntry(
            command_type="Pass", payload={"path": ["b"], "catch": True}, by="robin", correlation_id="c"
        )
        ready = draft(command, command_id="c")
        body = json.dumps({**json.loads(ready.body), "identity_source": None}).replace(', "identity_source": null', "")
        body = body.replace('"identity_source": null, ', "")
        old = ready._replace(
            schema_version=1,
            body=body.encode(),
            body_digest=body_digest(ready.salt, body.encode()),
            policy_hash=loom.actors.classes.pin(Passing).hash_bytes,
        )
        await loom.store.append(Append("passing/a", 0, (old,)))
    async with opened(tmp_path, agents=[Passing]) as loom:
        assert await loom.actor(Passing, "a").ask(Pass(path=["b"]), id="c") == "end"
        [received] = [each.entry for each in await entries(loom, "passing/b") if each.kind == "command_received"]
        assert isinstance(received, CommandReceivedEntry)
        assert str(received.identity) == "robin (claimed)"


class Reads(Folding):
    async def execute(self, command: Pass) -> str:
        return str(self.requester)


async def test_an_actor_knows_who_asks_and_where_the_name_comes_from(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Reads]) as loom:
        reads = loom.actor(Reads, "a")
        assert await reads.ask(Pass(path=[]), by="robin") == "robin (claimed, via python)"
        assert (
            await reads.ask(Pass(path=[]), by=Identity("robin", "api_key:7", "http")) == "robin (api_key:7, via http)"
        )
        assert await reads.ask(Pass(path=[])) == "None"
        assert [each.verdict async for each in loom.replay.verify("reads/a")] == ["same"] * 3
        with pytest.raises(NoTurnError):
            _ = Reads(World()).requester


async def test_two_turns_that_would_wait_for_each_other_are_not_left_to_it(tmp_path: Path) -> None:
    world = World()
    world.hold("at a")
    world.hold("at b")
    async with opened(tmp_path, world, agents=[Passing]) as loom:
        asks = [
            asyncio.create_task(loom.actor(Passing, "a").ask(Pass(path=["b"]))),
            asyncio.create_task(loom.actor(Passing, "b").ask(Pass(path=["a"]))),
        ]
        await world.arrived("at a")
        await world.arrived("at b")
        world.let_go("at a")
        world.let_go("at b")
        async with asyncio.timeout(10):
            replies = await asyncio.gather(*asks)
        assert sorted(reply.split()[0] for reply in replies) == ["circle", "end"]


async def test_three_turns_that_would_wait_in_a_circle_are_not_left_to_it(tmp_path: Path) -> None:
    world = World()
    names = ["a", "b", "c"]
    for name in names:
        world.hold(f"at {name}")
    async with opened(tmp_path, world, agents=[Passing]) as loom:
        asks = [
            asyncio.create_task(loom.actor(Passing, name).ask(Pass(path=[following])))
            for name, following in zip(names, [*names[1:], names[0]], strict=True)
        ]
        for name in names:
            await world.arrived(f"at {name}")
        for name in names:
            world.let_go(f"at {name}")
        async with asyncio.timeout(10):
            replies = await asyncio.gather(*asks)
        assert sum(reply.startswith("circle") for reply in replies) == 1
        refused = [each.entry for each in await entries(loom) if isinstance(each.entry, AskRepliedEntry)]
        assert (
            sum(entry.failure is not None for entry in refused) == 1
        )  # on record, so that a resumed turn meets it too


async def test_asking_busy_actors_that_do_not_wait_in_a_circle_only_waits(tmp_path: Path) -> None:
    world = World()
    world.hold("at b")
    async with opened(tmp_path, world, agents=[Passing]) as loom:
        busy = asyncio.create_task(loom.actor(Passing, "b").ask(Pass(path=["c"])))
        await world.arrived("at b")
        asking = asyncio.create_task(loom.actor(Passing, "a").ask(Pass(path=["b", "c"])))
        await world.arrived("at a")
        world.let_go("at b")
        assert list(await asyncio.gather(busy, asking)) == ["end", "end"]


async def test_a_failure_of_the_other_actor_reaches_the_asker_by_its_type(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        reply = await loom.actor(Interpreter, "one").ask(Carry(program=[Do(verb="ask_fails", key="k")]))
        assert reply == {"k": "ValueError"}


class AskSlowly(Command[str]):
    timeout_s: float


class Impatient(Folding):
    async def execute(self, command: AskSlowly) -> str:
        try:
            return await self.ask(Lender, "slow", Lend(key="slow"), timeout_s=command.timeout_s)
        except ActorFailedError as error:
            return error.type_name


async def test_an_ask_of_a_turn_times_out_while_the_other_turn_goes_on(tmp_path: Path) -> None:
    world = World()
    world.hold("lend slow")
    async with opened(tmp_path, world, agents=[Impatient, Lender]) as loom:
        assert await loom.actor(Impatient, "one").ask(AskSlowly(timeout_s=0.02), id="c") == "AskTimeoutError"
        world.let_go("lend slow")
        await until(lambda: _completed(loom, "lender/slow"))
    async with opened(tmp_path, world, agents=[Impatient, Lender]) as loom:
        assert await loom.actor(Impatient, "one").ask(AskSlowly(timeout_s=0.02), id="c") == "AskTimeoutError"


async def _completed(loom: Any, journal: str) -> bool:
    return "turn_completed" in await kinds(loom, journal)


async def test_a_turn_asks_again_for_the_reply_of_one_that_was_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    async with opened(tmp_path, world) as loom:
        real, failures = loom.store.submit, [DiskFullError("disk is full; expected room: make some")]

        def submit(append: Any) -> Any:
            if failures and append.journal.startswith("lender/") and append.drafts[0].kind == "turn_completed":
                future = asyncio.get_running_loop().create_future()
                future.get_loop().call_soon(future.set_exception, failures.pop())
                return future
            return real(append)

        monkeypatch.setattr(loom.store, "submit", submit)
        monkeypatch.setattr(loom.store, "extend", lambda *_: False)  # each entry an append of its own
        reply = await loom.actor(Interpreter, "one").ask(Carry(program=[Do(verb="ask", key="k")]))
        assert reply == {"k": "lent k"}
        assert world.calls == {"lend k": 1}
        assert "turn_resumed" in await kinds(loom, "lender/asked-k")


class Full(Actor[None]):
    """Tells an actor whose mailbox is full."""

    async def execute(self, command: Pass) -> str:
        try:
            await self.tell(Lender, "slow", Lend(key="more"))
        except ActorFailedError as error:
            await self.new_id()
            return error.type_name
        return "told"


async def test_a_tell_that_is_refused_is_on_record_and_refused_again_when_resumed(tmp_path: Path) -> None:
    world = World()
    world.hold("lend 0")
    async with opened(tmp_path, world, agents=[Full, Lender], mailbox_size=1) as loom:
        running = [asyncio.create_task(loom.actor(Lender, "slow").ask(Lend(key="0")))]
        await world.arrived("lend 0")
        running.append(asyncio.create_task(loom.actor(Lender, "slow").ask(Lend(key="1"))))
        await until(lambda: len(loom.actors._cells["lender/slow"]._mailbox) == 1)
        assert await loom.actor(Full, "one").ask(Pass(path=[]), id="c") == "MailboxFullError"
        world.let_go("lend 0")
        await asyncio.gather(*running)
        told = [each.entry for each in await entries(loom) if isinstance(each.entry, ToldEntry)]
        assert [entry.failure.type_name for entry in told if entry.failure] == ["MailboxFullError"]
        (verdict,) = [each async for each in loom.replay.verify("full/one")]
        assert verdict.verdict == "same"


async def test_many_turns_that_ask_one_actor_all_have_their_reply(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        replies = await asyncio.gather(
            *(
                loom.actor(Interpreter, f"{n}").ask(
                    Carry(program=[Do(verb="ask", key="same"), Do(verb="tell", key="t")])
                )
                for n in range(20)
            )
        )
        assert replies == [{"same": "lent same", "t": None}] * 20
        assert (await kinds(loom, "lender/asked-same")).count("command_received") == 20
