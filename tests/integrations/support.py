"""Agents of pydantic-ai without a network, and turns that are cut short after every entry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pydantic_ai", reason="the extra [llm] is not installed")

from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from loom import Actor, Loom, LoomConfig
from loom.sealing import SealingConfig

CALLS: Counter[str] = Counter()
"""How often each thing outside was called."""


def scripted(*turns: Sequence[tuple[str, dict[str, Any]]] | str, name: str = "scripted") -> FunctionModel:
    """Return a model that answers each request with the next of some tool calls, or at last with a text.

    It looks at how many answers the messages hold, so it says the same again when it is asked again.
    """

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        CALLS["model"] += 1
        said = sum(isinstance(message, ModelResponse) for message in messages)
        following = turns[min(said, len(turns) - 1)]
        if isinstance(following, str):
            return ModelResponse(parts=[TextPart(following.format(*returns_in(messages)))])
        return ModelResponse(parts=[ToolCallPart(tool, arguments) for tool, arguments in following])

    return FunctionModel(answer, model_name=name)


def returns_in(messages: Sequence[ModelMessage]) -> list[Any]:
    """Return what the tools have returned so far."""
    return [part.content for message in messages for part in message.parts if isinstance(part, ToolReturnPart)]


def sealing_loom(path: Path, actor: type[Actor[Any]]) -> Loom:
    """Return a loom that seals values, for an actor whose command has some."""
    return Loom.open(
        LoomConfig(data=path, sections={"sealing": SealingConfig(enabled=True)}), actors=[actor], by="robin"
    )
