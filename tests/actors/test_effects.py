"""Effects: the intent is durable before, the result journaled after, and what may not be repeated is not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from loom.actors import Command
from loom.actors.entries import EffectPerformedEntry
from loom.errors import EffectFailedError, TurnStuckError
from loom.runtime import Loom
from tests.actors.agents import Folding, World
from tests.actors.support import entries, kinds, opened, until


class Send(Command[str]):
    repeatable: bool = True


class Sender(Folding):
    async def execute(self, command: Send) -> str:
        async def effect(key: str) -> Any:
            self.world.calls[f"begun {key}"] += 1
            return await self.world.call("sent", key)

        try:
            return str(await self.perform(action="mail", effect=effect, key="m-1", repeatable=command.repeatable))
        except EffectFailedError as error:
            return str(error)


async def cut_during_the_effect(directory: Path, *, repeatable: bool) -> World:
    world = World()
    world.hold("sent")
    async with opened(directory, world, agents=[Sender], shutdown_grace_s=0) as loom:
        asking = asyncio.create_task(loom.actor(Sender, "one").ask(Send(repeatable=repeatable), id="c"))
        await world.arrived("sent")
        assert (await kinds(loom, "sender/one"))[-1] == "effect_intended"  # durable before it began
    await asyncio.gather(asking, return_exceptions=True)
    return world


async def test_an_effect_that_was_cut_short_is_done_again_with_the_same_key(tmp_path: Path) -> None:
    await cut_during_the_effect(tmp_path, repeatable=True)
    world = World()
    async with opened(tmp_path, world, agents=[Sender]) as loom:
        assert await loom.actor(Sender, "one").ask(Send(), id="c") == "m-1"
        assert world.calls["begun m-1"] == 1


async def stuck(loom: Loom) -> str:
    with pytest.raises(TurnStuckError) as caught:
        await loom.actor(Sender, "one").ask(Send(repeatable=False), id="c")
    return str(caught.value)


async def test_an_effect_that_may_not_be_repeated_stops_for_a_person(tmp_path: Path) -> None:
    await cut_during_the_effect(tmp_path, repeatable=False)
    world = World()
    for life in range(5):
        async with opened(tmp_path, world, agents=[Sender]) as loom:
            await until(lambda: loom.actors.stuck("sender/one", "c"))
            assert "performed [mail], which is not repeatable" in await stuck(loom)
            assert (await loom.turns.unfinished())[0].status == "stuck"
            assert (await kinds(loom, "sender/one")).count("turn_resumed") == 1, life  # it is known from then on
    assert world.calls == {}


async def test_a_retry_does_it_once_more_and_only_once(tmp_path: Path) -> None:
    await cut_during_the_effect(tmp_path, repeatable=False)
    world = World()
    world.hold("sent")
    async with opened(tmp_path, world, agents=[Sender], shutdown_grace_s=0) as loom:
        await until(lambda: loom.actors.stuck("sender/one", "c"))
        await loom.turns.retry("c", by="alice", reason="it never went out")
        await world.arrived("sent")
    again = World()
    async with opened(tmp_path, again, agents=[Sender]) as loom:  # cut short again: in doubt again
        await until(lambda: loom.actors.stuck("sender/one", "c"))
        assert again.calls == {}
        await loom.turns.retry("c", by="alice")
        assert await loom.actor(Sender, "one").ask(Send(repeatable=False), id="c") == "m-1"
        assert again.calls["begun m-1"] == 1


async def test_an_effect_that_fails_is_on_record_and_fails_again_when_resumed(tmp_path: Path) -> None:
    class Failing(World):
        async def call(self, name: str, value: Any = None) -> Any:
            await super().call(name, value)
            raise OSError("no network")

    async with opened(tmp_path, Failing(), agents=[Sender]) as loom:
        assert await loom.actor(Sender, "one").ask(Send(), id="c") == "OSError: no network"
        (verdict,) = [each async for each in loom.replay.verify("sender/one")]
        assert verdict.verdict == "same"


@pytest.mark.parametrize(
    "value", [b"bytes", float("nan"), object(), "x" * 2_000_000], ids=["bytes", "nan", "object", "2 MB"]
)
async def test_an_effect_whose_result_cannot_be_kept_happened_and_is_on_record_as_failed(
    tmp_path: Path, value: Any
) -> None:
    class Odd(World):
        async def call(self, name: str, _: Any = None) -> Any:
            return await super().call(name, value)

    world = Odd()
    async with opened(tmp_path, world, agents=[Sender]) as loom:
        assert (await loom.actor(Sender, "one").ask(Send(), id="c")).startswith("AdmissionError:")
        (performed,) = [e.entry for e in await entries(loom) if isinstance(e.entry, EffectPerformedEntry)]
        assert performed.failure is not None
        assert world.calls["sent"] == 1
