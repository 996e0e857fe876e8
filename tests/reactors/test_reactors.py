"""Reactors: entries in, commands out, once for each, from where they were."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from loom import Actor, Command, Entry, Extension, Loom, LoomConfig
from loom.errors import DuplicateKindError, ReactorLagError
from loom.journal.entry import Recorded
from loom.reactors import Reaction


class SaidEntry(Entry):
    kind = "reactors.said"
    word: str


class Say(Command[None]):
    word: str


class Speaker(Actor[None]):
    actor_type = "speaker"

    async def execute(self, command: Say) -> None:
        await self.record(SaidEntry(word=command.word))


class Hear(Command[int]):
    word: str


class Heard(Entry):
    kind = "reactors.heard"
    word: str


class Listener(Actor[None]):
    actor_type = "listener"
    calls = 0

    async def execute(self, command: Hear) -> int:
        type(self).calls += 1
        if command.word == "boom":
            raise RuntimeError("boom")
        await self.record(Heard(word=command.word))
        return 1


class Ears:
    name = "ears"
    kinds = frozenset({SaidEntry.kind})

    def react(self, recorded: Recorded) -> Sequence[Reaction]:
        assert isinstance(recorded.entry, SaidEntry)
        word = recorded.entry.word
        return [Reaction(Listener, each, Hear(word=word)) for each in ("left", "right")]


def opened(path: Path, *, listening: bool = True) -> Loom:
    ears = Extension(name="ears", actors=(Speaker, Listener), reactors=(Ears(),) if listening else ())
    return Loom.open(LoomConfig(data=path), by="mira", extensions=[ears])


async def heard(loom: Loom, key: str) -> list[str]:
    return [each.entry.word async for each in loom.store.read(f"listener/{key}") if isinstance(each.entry, Heard)]


async def test_what_is_written_is_reacted_to_in_order_and_once(tmp_path: Path) -> None:
    words = [f"word-{number}" for number in range(30)]
    async with opened(tmp_path) as loom:
        for word in words:
            await loom.actor(Speaker, "one").tell(Say(word=word))
        await loom.actor(Speaker, "one").ask(Say(word="end"))
        await loom.reactors.reached()
        assert await heard(loom, "left") == await heard(loom, "right") == [*words, "end"]
    async with opened(tmp_path) as loom:
        await loom.reactors.reached()
        assert await heard(loom, "left") == [*words, "end"], "nothing is reacted to again"


async def test_a_reactor_catches_up_with_what_it_missed(tmp_path: Path) -> None:
    async with opened(tmp_path, listening=False) as loom:
        await loom.actor(Speaker, "one").ask(Say(word="before"))
    async with opened(tmp_path) as loom:
        await loom.reactors.reached()
        assert await heard(loom, "left") == ["before"]


async def test_a_reaction_that_was_sent_before_a_crash_is_not_carried_out_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await loom.actor(Speaker, "one").ask(Say(word="once"))
        await loom.reactors.reached()
        calls = Listener.calls
    # Nothing was noted of where the reactor was: it begins at the first entry again.
    async with opened(tmp_path) as loom:
        assert loom.reactors._noted == {}
        await loom.reactors.reached()
        assert Listener.calls == calls
        assert await heard(loom, "left") == ["once"]


async def test_how_far_a_reactor_came_is_noted_when_it_was_far(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        for number in range(30):
            await loom.actor(Speaker, "one").ask(Say(word=str(number)))
        await loom.reactors.reached()
        position = loom.reactors.position("ears")
    async with opened(tmp_path) as loom:
        assert loom.reactors._noted["ears"] >= position - 5


async def test_a_reaction_that_fails_is_journaled_as_failed_and_the_next_ones_go_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        for word in ("boom", "after"):
            await loom.actor(Speaker, "one").ask(Say(word=word))
        await loom.reactors.reached()
        assert await heard(loom, "left") == ["after"]
        failed = await loom.turns.list(status="failed")
        assert len(failed) == 2


async def test_waiting_for_a_reactor_is_bounded_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        with pytest.raises(DuplicateKindError):
            loom.reactors.add(Ears())
        with pytest.raises(ReactorLagError, match=r"reactor \[ears\] is at"):
            await loom.reactors.reached(10_000, timeout_s=0.05)
        await asyncio.sleep(0)
