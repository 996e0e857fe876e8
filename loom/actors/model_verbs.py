"""The verbs by which an actor asks language models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from loom.actors.ports import Decider
from loom.actors.retrying import Retry
from loom.actors.turn_context import current_turn

if TYPE_CHECKING:
    from pydantic_ai import Tool
    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.models import Model

__all__ = ["ModelVerbs"]

T = TypeVar("T")


class ModelVerbs:
    """What an actor does with models; part of `Actor`."""

    @overload
    async def call_model(
        self,
        *,
        model: Model | str,
        prompt: str | None = None,
        messages: Sequence[ModelMessage] | None = None,
        instructions: str | None = None,
        output_type: type[T],
        tools: Sequence[Callable[..., Any] | Tool[Any]] = (),
        settings: Mapping[str, Any] | None = None,
        output_retries: int | None = None,
        timeout_s: float | None = None,
        retry: Retry | None = None,
        key: str | None = None,
    ) -> T: ...

    @overload
    async def call_model(
        self,
        *,
        model: Model | str,
        prompt: str | None = None,
        messages: Sequence[ModelMessage] | None = None,
        instructions: str | None = None,
        output_type: None = None,
        tools: Sequence[Callable[..., Any] | Tool[Any]] = (),
        settings: Mapping[str, Any] | None = None,
        output_retries: int | None = None,
        timeout_s: float | None = None,
        retry: Retry | None = None,
        key: str | None = None,
    ) -> str: ...

    async def call_model(
        self,
        *,
        model: Model | str,
        prompt: str | None = None,
        messages: Sequence[ModelMessage] | None = None,
        instructions: str | None = None,
        output_type: Any = None,
        tools: Sequence[Callable[..., Any] | Tool[Any]] = (),
        settings: Mapping[str, Any] | None = None,
        output_retries: int | None = None,
        timeout_s: float | None = None,
        retry: Retry | None = None,
        key: str | None = None,
    ) -> Any:
        """Ask a model, journal the call with its usage and cost, and return its answer as an `output_type`, or text.

        `model` is a model of pydantic-ai, or the name of one, as `openai:gpt-4o-mini`. It is asked by a `prompt` (with
        `instructions`) or by `messages`, and may call `tools`: functions of the turn, whose verbs are steps of it. An
        answer that does not fit is asked for again, `output_retries` times at most (by default the config's). Each
        request is journaled, and paid, on its own. `retry` repeats a request that failed, `timeout_s` is for each. Its
        maximum cost is reserved from `budgets.models` before it.

        Raises `ModelCallError`, or the class of it that names the reason: `ModelUnknownError`, `ModelRefusedError`,
        `ModelRateLimitedError`, `ModelTimedOutError`, `ModelTooLongError`, `ModelOutputError`, `ModelBudgetError`.
        Needs the extra `llm`.
        """
        from loom.actors.verbs.model_output import call_model

        return await call_model(
            current_turn(cast("Decider", self), "call_model"),
            model=model,
            prompt=prompt,
            messages=messages,
            instructions=instructions,
            output_type=str if output_type is None else output_type,
            tools=tools,
            settings=settings,
            output_retries=output_retries,
            timeout_s=timeout_s,
            retry=retry,
            key=key,
        )
