"""Models for tests: functions of this process, with or without a price."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelResponse, ModelResponsePart, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from loom import Loom
from loom.actors import Actor
from loom.config import LoomConfig
from loom.decisions.model_calls import ModelCalledEntry
from loom.journal import Recorded
from loom.spend.config import ModelBudgetConfig, ModelsConfig, SpendConfig

Answering = Callable[[list[ModelMessage], AgentInfo], ModelResponse | Awaitable[ModelResponse]]


class Priced(FunctionModel):
    """A function that costs what a model of OpenAI's does, by the price list."""

    @property
    def system(self) -> str:
        return "openai"


def text(words: str, *, output_tokens: int = 100, **given: Any) -> ModelResponse:
    return said([TextPart(words)], output_tokens=output_tokens, **given)


def final(output_tokens: int = 100, /, **fields: Any) -> ModelResponse:
    """Return a typed answer."""
    return said([ToolCallPart("final_result", fields, tool_call_id="final")], output_tokens=output_tokens)


def tool(name: str, **arguments: Any) -> ModelResponse:
    return said([ToolCallPart(name, arguments, tool_call_id=f"call-{name}")])


def said(parts: Sequence[ModelResponsePart], *, output_tokens: int = 100, **given: Any) -> ModelResponse:
    return ModelResponse(
        parts=list(parts), usage=RequestUsage(input_tokens=1_000, output_tokens=output_tokens), **given
    )


class Script:
    """Answers in turn what it was given, an exception by raising it, and the last one again and again."""

    def __init__(self, *answers: ModelResponse | BaseException) -> None:
        self.answers = list(answers)
        self.seen: list[list[ModelMessage]] = []
        self.gate: asyncio.Event | None = None
        self.arrived = asyncio.Event()

    @property
    def asked(self) -> int:
        return len(self.seen)

    async def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        # What comes next follows from what was asked before, as with a real model: a resumed turn goes on from there.
        number = sum(isinstance(each, ModelResponse) for each in messages)
        self.seen.append(messages)
        self.arrived.set()
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answers[min(number, len(self.answers) - 1)]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def model(self, name: str = "gpt-4o-mini", *, priced: bool = False) -> FunctionModel:
        async def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            return await self(messages, info)

        return (Priced if priced else FunctionModel)(answer, model_name=name)


def loom_with(directory: Path, actor: type[Actor[Any]], *, models: dict[str, Any] | None = None, **budget: Any) -> Loom:
    """Return a loom with bounds and a budget for calls of models."""
    sections = {
        "budgets": SpendConfig(models=ModelBudgetConfig(**budget)),
        "models": ModelsConfig.model_validate(models or {}),
    }
    config = LoomConfig(data=directory, sections=sections)
    return Loom.open(config, actors=[actor], by="the tester")


def calls_in(history: Sequence[Recorded]) -> list[ModelCalledEntry]:
    return [each.entry for each in history if isinstance(each.entry, ModelCalledEntry)]
