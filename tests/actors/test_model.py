"""The verb `call_model`: asked once, journaled, given back; what fails is on record as it failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pydantic_ai", reason="the extra [llm] is not installed")

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from loom.actors import Command
from loom.actors.turn_context import current_turn
from loom.actors.verbs.model import model_step
from loom.decisions.model_calls import ModelCalledEntry
from tests.actors.agents import Folding, World
from tests.actors.support import entries, lay_down, opened


class Tell(Command[str]):
    about: str = "the sea"


class Teller(Folding):
    async def execute(self, command: Tell) -> str:
        def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            self.world.calls["asked"] += 1
            return ModelResponse(parts=[TextPart(f"of {command.about}")], provider_response_id="r-1")

        turn = current_turn(self, "call_model")
        model = FunctionModel(answer, model_name="tale")
        response = await model_step(turn, model, [ModelRequest.user_text_prompt(f"tell of {command.about}")])
        first = response.parts[0]
        assert isinstance(first, TextPart)
        return first.content


async def calls(loom: Any) -> list[ModelCalledEntry]:
    return [each.entry for each in await entries(loom) if isinstance(each.entry, ModelCalledEntry)]


async def test_a_turn_that_is_resumed_after_any_entry_never_asks_again_for_what_is_on_record(tmp_path: Path) -> None:
    world = World()
    async with opened(tmp_path / "whole", world, agents=[Teller]) as loom:
        assert await loom.actor(Teller, "one").ask(Tell(), id="c") == "of the sea"
        [call] = await calls(loom)
        assert (call.provider, call.model) == ("function", "tale")
        assert (call.answering_model, call.response_id) == ("tale", "r-1")
        history = await entries(loom, "teller/one")
        (verdict,) = [each async for each in loom.replay.verify("teller/one")]
        assert verdict.verdict == "same"
    for cut in range(1, len(history)):
        again = World()
        await lay_down(tmp_path / str(cut), history[:cut])
        async with opened(tmp_path / str(cut), again, agents=[Teller]) as loom:
            assert await loom.actor(Teller, "one").ask(Tell(), id="c") == "of the sea"
            assert again.calls["asked"] == (0 if any(each.kind == "model_called" for each in history[:cut]) else 1)
