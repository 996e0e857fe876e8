"""Progress: steps and text as they come, then the reply; and never in the way of the turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

pytest.importorskip("pydantic_ai", reason="the extra [llm] is not installed")

from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, FunctionModel

from loom.actors import Actor, Command
from loom.actors.progress import LeftOut, Progress, Replied, StepBegan, StepEnded, TextDelta, Watch
from loom.errors import ActorFailedError
from tests.actors.model_support import Script, calls_in, text
from tests.actors.support import entries, opened


class TellSlowly(Command[str]):
    plain: bool = False
    fails: bool = False


class Narrator(Actor):
    gate: asyncio.Event

    async def execute(self, command: TellSlowly) -> str:
        async def bits(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
            yield "once "
            await type(self).gate.wait()
            yield "upon"

        if command.fails:
            raise ValueError("no tale")
        model = Script(text("in one")).model() if command.plain else FunctionModel(stream_function=bits)
        answer = await self.call_model(model=model, prompt="tell", key="tale")
        await self.record_decision(rationale="reported")
        return answer


@pytest.fixture(autouse=True)
async def gate() -> None:
    Narrator.gate = asyncio.Event()


async def test_text_comes_before_the_answer_is_whole_and_the_reply_comes_last(tmp_path: Path) -> None:
    seen: list[Progress | Replied[str]] = []
    async with opened(tmp_path, agents=[Narrator]) as loom:
        async for progress in loom.actor(Narrator, "one").stream(TellSlowly(), id="c", by="bob"):
            seen.append(progress)
            if progress == TextDelta("once "):
                assert not calls_in(await entries(loom))
                Narrator.gate.set()
        history = await entries(loom)
        assert await loom.actor(Narrator, "one").ask(TellSlowly(), id="c", by="bob") == "once upon"
    [call] = calls_in(history)
    assert call.output is not None
    assert seen[0] == StepBegan("call_model", "tale")
    assert "".join(each.text for each in seen if isinstance(each, TextDelta)) == "once upon"
    assert StepEnded("call_model", "tale") in seen
    assert seen[-1] == Replied("once upon")


async def test_a_model_that_cannot_stream_answers_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Narrator]) as loom:
        seen = [each async for each in loom.actor(Narrator, "one").stream(TellSlowly(plain=True))]
    assert not any(isinstance(each, TextDelta) for each in seen)
    assert seen[-1] == Replied("in one")


async def test_who_stops_reading_does_not_stop_the_turn(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Narrator]) as loom:
        async with aclosing(loom.actor(Narrator, "one").stream(TellSlowly(), id="c")) as reading:
            async for _ in reading:
                break
        assert not loom.actors.services.watchers.open
        Narrator.gate.set()
        assert await loom.actor(Narrator, "one").ask(TellSlowly(), id="c") == "once upon"


async def test_a_turn_that_fails_raises_what_ask_raises(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Narrator]) as loom:
        with pytest.raises(ActorFailedError, match="no tale"):
            async for _ in loom.actor(Narrator, "one").stream(TellSlowly(fails=True)):
                pass


async def test_a_slow_reader_is_given_the_number_of_what_it_missed_and_the_newest() -> None:
    watch = Watch(most=3)
    for number in range(10):
        watch.note(TextDelta(str(number)))
    watch.end()
    assert [each async for each in watch] == [LeftOut(7), TextDelta("7"), TextDelta("8"), TextDelta("9")]
