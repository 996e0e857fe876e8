"""The verb `call_model`: a model is asked for a type, is given tools, and is asked again for what does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from loom.actors.retrying import Retry
from loom.actors.turn import Turn
from loom.actors.verbs.model import Misfit, model_answer
from loom.actors.verbs.model_wire import error_of, need_extra, text_of
from loom.errors import AdmissionError
from loom.journal.admission import json_value

if TYPE_CHECKING:
    from pydantic_ai import Tool
    from pydantic_ai.messages import ModelMessage, ModelRequestPart, ModelResponse, ToolCallPart
    from pydantic_ai.models import Model, ModelRequestParameters

__all__ = ["call_model"]

_FINAL = "final_result"
"""The tool by which a model gives an answer that is no text."""

_WRAPPED = "response"
"""The name of the one field of an answer that is no object."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a model is asked for: a type, or text where there is none; and the tools that it may call."""

    adapter: TypeAdapter[Any] | None
    schema: Mapping[str, Any] = field(default_factory=dict)
    wrapped: bool = False
    tools: Mapping[str, Tool[Any]] = field(default_factory=dict)

    def parameters(self) -> ModelRequestParameters:
        """Return how it is asked for."""
        from pydantic_ai.models import ModelRequestParameters
        from pydantic_ai.tools import ToolDefinition

        tools = [each.tool_def for each in self.tools.values()]
        if self.adapter is None:
            return ModelRequestParameters(function_tools=tools)
        final = ToolDefinition(
            name=_FINAL,
            description="Give the final answer.",
            parameters_json_schema=dict(self.schema),
            kind="output",
        )
        return ModelRequestParameters(
            function_tools=tools, output_tools=[final], output_mode="tool", allow_text_output=False
        )

    def misfit(self, response: ModelResponse) -> Misfit | None:
        """Return what does not fit in a response, if anything."""
        if response.finish_reason == "length":
            counted = response.usage.output_tokens
            return (
                "too_long",
                f"the answer was cut off after [{counted}] tokens; expected a whole one: raise max_tokens",
            )
        if response.finish_reason == "content_filter":
            return "refused", "the provider's filter withheld the answer; expected one: ask for something else"
        calls = _calls(response)
        unknown = [each.tool_name for each in calls if each.tool_name not in {_FINAL, *self.tools}]
        if unknown:
            return (
                "misfit",
                f"no tool is called [{unknown[0]:.80}]; expected one of [{', '.join(self.tools) or 'none'}]",
            )
        if any(each.tool_name in self.tools for each in calls):
            return None
        try:
            self.read(response)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(each) for each in first["loc"]) or "the answer"
            return "misfit", f"[{error.error_count()}] fields do not fit, first [{where}]: {first['msg']}"
        except ValueError as error:
            return "misfit", str(error)
        return None

    def read(self, response: ModelResponse) -> Any:
        """Return the answer in a response; raise `ValueError` where it does not fit."""
        final = next((each for each in _calls(response) if each.tool_name == _FINAL), None)
        if self.adapter is None:
            text = text_of(response)
            if not text.strip():
                raise ValueError("the answer is empty; expected text")
            return text
        said = text_of(response) if final is None else final.args or {}
        read = self.adapter.validate_json((said or "{}") if isinstance(said, str) else json.dumps(said))
        return read[_WRAPPED] if self.wrapped else read


async def call_model(
    turn: Turn,
    *,
    model: Model | str,
    prompt: str | None,
    messages: Sequence[ModelMessage] | None,
    instructions: str | None,
    output_type: Any,
    tools: Sequence[Callable[..., Any] | Tool[Any]],
    settings: Mapping[str, Any] | None,
    output_retries: int | None,
    timeout_s: float | None,
    retry: Retry | None,
    key: str | None,
) -> Any:
    """See `Actor.call_model`."""
    need_extra()
    asked = _messages(prompt, messages, instructions)
    wanted = _wanted(output_type, tools)
    parameters = wanted.parameters()
    retries = turn.services.models.output_retries if output_retries is None else output_retries
    attempt, number = 1, 0
    while True:  # bounded: by the retries, and by models.max_calls_per_turn
        number += 1
        entry, response = await model_answer(
            turn,
            model,
            asked,
            parameters,
            settings,
            key=key if key is None or number == 1 else f"{key} request {number}",
            check=wanted.misfit,
            timeout_s=timeout_s,
            retry=retry,
            attempt=attempt,
        )
        if entry.failure is not None:
            attempt += 1
            if response is None or entry.problem != "misfit" or attempt > 1 + retries:
                raise error_of(entry.problem, entry.failure)
            asked = [*asked, *_again(response, wanted)]
            continue
        assert response is not None  # noqa: S101 - a call without a failure has its response
        called = [each for each in _calls(response) if each.tool_name in wanted.tools]
        if not called:
            return wanted.read(response)
        asked = [*asked, response, await _results(turn, called, wanted)]


async def _results(turn: Turn, called: Sequence[ToolCallPart], wanted: _Wanted) -> ModelMessage:
    """Run the tools that a model calls, one after the other, and return what came back.

    A tool is code of the turn: what it looks up or does by verbs is journaled by these.
    """
    from pydantic_ai.exceptions import ModelRetry
    from pydantic_ai.messages import ModelRequest, ToolReturnPart

    parts: list[ModelRequestPart] = []
    for call in called:
        schema = wanted.tools[call.tool_name].function_schema
        context: Any = None
        try:
            arguments = schema.validator.validate_json(call.args_as_json_str())
            said = json_value(await schema.call(arguments, context), limits=turn.services.limits)
        except ValidationError as error:
            said = f"arguments do not fit: {error.errors(include_url=False, include_input=False)[0]['msg']}; try again"
        except ModelRetry as error:
            said = error.message
        parts.append(ToolReturnPart(tool_name=call.tool_name, content=said, tool_call_id=call.tool_call_id))
    return ModelRequest(parts=parts)


def _again(response: ModelResponse, wanted: _Wanted) -> Sequence[ModelMessage]:
    """Return the messages by which an answer is asked for again: the one that does not fit, and why."""
    from pydantic_ai.messages import ModelRequest, ToolReturnPart, UserPromptPart

    misfit = wanted.misfit(response)
    words = f"{'' if misfit is None else misfit[1]}\n\nCorrect this, and answer again."
    calls = _calls(response)
    parts: list[ModelRequestPart] = [
        ToolReturnPart(tool_name=each.tool_name, content=words, tool_call_id=each.tool_call_id, outcome="failed")
        for each in calls
    ]
    return [response, ModelRequest(parts=parts or [UserPromptPart(words)])]


def _messages(
    prompt: str | None, messages: Sequence[ModelMessage] | None, instructions: str | None
) -> list[ModelMessage]:
    from pydantic_ai.messages import ModelRequest

    if (prompt is None) == (messages is None):
        raise AdmissionError(
            f"call_model has [{'neither' if prompt is None else 'both'}] of prompt and messages; expected one of them: "
            "write prompt= for a single question, messages= for a conversation"
        )
    if prompt is not None:
        return [ModelRequest.user_text_prompt(prompt, instructions=instructions)]
    if not messages:
        raise AdmissionError("call_model has no messages; expected one at least: give the model something to answer")
    if instructions is not None:
        raise AdmissionError(
            "call_model has [messages] and [instructions]; expected them in the messages: put them there"
        )
    return list(messages)


def _calls(response: ModelResponse) -> list[ToolCallPart]:
    from pydantic_ai.messages import ToolCallPart

    return [part for part in response.parts if isinstance(part, ToolCallPart)]


def _wanted(output_type: Any, tools: Sequence[Callable[..., Any] | Tool[Any]]) -> _Wanted:
    from pydantic_ai import Tool

    made = [each if isinstance(each, Tool) else Tool(each, takes_ctx=False) for each in tools]
    named = {each.name: each for each in made}
    if len(named) != len(made) or _FINAL in named:
        raise AdmissionError(
            f"tools of call_model are [{', '.join(each.name for each in made)}]; expected a name of its own for each, "
            f"none of them [{_FINAL}]: rename one"
        )
    if output_type is str:
        return _Wanted(None, tools=named)
    adapter, schema, wrapped = _output(output_type)
    return _Wanted(adapter, schema, wrapped, named)


@lru_cache(maxsize=256)
def _output(output_type: Any) -> tuple[TypeAdapter[Any], dict[str, Any], bool]:
    """Return how an answer of a type is read, and its schema: that of an object, which wraps any other type."""
    adapter: TypeAdapter[Any] = TypeAdapter(output_type)
    schema = adapter.json_schema()
    if schema.get("type") == "object":
        return adapter, schema, False
    from typing_extensions import TypedDict

    wrapper: Any = TypedDict("Wrapper", {_WRAPPED: output_type})  # type: ignore[misc]
    wrapping: TypeAdapter[Any] = TypeAdapter(wrapper)
    return wrapping, wrapping.json_schema(), True
