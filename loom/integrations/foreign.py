"""Calls of models that another framework makes, as steps of a turn: one entry, one price list, one guard of spending.

The framework keeps its own classes. Its messages and its answer are carried through the journal as JSON, next to what
loom reads of an answer: text, tool calls, tokens, the model that answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from pydantic import JsonValue
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, UserPromptPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.usage import RequestUsage
from pydantic_core import to_json

from loom.actors.turn import Turn
from loom.actors.verbs.model import model_step
from loom.errors import ConfigError
from loom.integrations.runs import runs_of
from loom.integrations.tool_steps import step_scope

__all__ = ["ForeignAnswer", "ForeignCall", "ForeignTool", "foreign_model_step"]

_CARRIED = "carried"
"""The name under which an answer of the framework's is carried in `provider_details`."""


class ForeignTool(NamedTuple):
    """A tool that the model is offered."""

    name: str
    description: str
    schema: Mapping[str, Any]


class ForeignCall(NamedTuple):
    """A request as the framework makes it: `messages` as JSON, without ids and times that differ from run to run.

    Protected values of the turn are `[sealed]` in what is really sent: the framework's own adapter sees to it, by
    `sent_value`.
    """

    framework: str
    provider: str | None
    model: str
    messages: Sequence[JsonValue]
    settings: Mapping[str, Any] | None = None
    tools: Sequence[ForeignTool] = ()


class ForeignAnswer(NamedTuple):
    """What loom reads of an answer; `carried` is the whole of it as JSON, from which the framework makes it again."""

    carried: JsonValue
    text: str = ""
    tool_calls: Sequence[tuple[str, Mapping[str, Any], str]] = ()
    """Name, arguments and id of each."""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    model: str | None = None
    response_id: str | None = None


async def foreign_model_step(
    turn: Turn, call: ForeignCall, request: Callable[[], Awaitable[ForeignAnswer]]
) -> JsonValue:
    """Make a request of another framework's as a step of a turn, and return its answer as JSON, live and resumed.

    Raises `ModelCallError` where there is none, and `ConfigError` where a budget would have another model asked:
    only the framework can call a model for it.
    """

    async def answer(_: Sequence[ModelMessage]) -> ModelResponse:
        with step_scope():
            return _response(call, await request())

    response = await model_step(
        turn,
        _Named(call.provider, call.model),
        [_request(call)],
        ModelRequestParameters(function_tools=[_definition(tool) for tool in call.tools]),
        call.settings,
        key=runs_of(turn).numbered(f"{call.framework}__model"),
        request=answer,
    )
    details = response.provider_details or {}
    if _CARRIED not in details:
        raise ConfigError(
            f"the budget of models is at its limit, and names another model than [{call.model}]; expected [refuse] or "
            f"[ask] for calls that {call.framework} makes: set budgets.models.at_limit"
        )
    carried: JsonValue = details[_CARRIED]
    return carried


class _Named(Model):
    """A model that is called by its framework: here it only has a name."""

    def __init__(self, provider: str | None, name: str) -> None:
        super().__init__()
        self._provider_name = provider
        self._name = name

    @property
    def model_name(self) -> str:
        return self._name

    @property
    def system(self) -> str:
        if self._provider_name is None:
            raise NotImplementedError
        return self._provider_name

    async def request(
        self, messages: list[ModelMessage], model_settings: ModelSettings | None, model_request_parameters: Any
    ) -> NoReturn:
        raise NotImplementedError(f"model [{self._name}] is called by its framework alone")


def _request(call: ForeignCall) -> ModelMessage:
    return ModelRequest(parts=[UserPromptPart(content=to_json(message).decode()) for message in call.messages])


def _definition(tool: ForeignTool) -> ToolDefinition:
    return ToolDefinition(name=tool.name, description=tool.description, parameters_json_schema=dict(tool.schema))


def _response(call: ForeignCall, answer: ForeignAnswer) -> ModelResponse:
    parts: list[Any] = [TextPart(answer.text)] if answer.text else []
    parts += [ToolCallPart(name, dict(arguments), tool_call_id=id) for name, arguments, id in answer.tool_calls]
    return ModelResponse(
        parts=parts,
        usage=RequestUsage(
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
            cache_read_tokens=answer.cache_read_tokens,
            cache_write_tokens=answer.cache_write_tokens,
        ),
        model_name=answer.model or call.model,
        provider_name=call.provider,
        provider_response_id=answer.response_id,
        provider_details={_CARRIED: answer.carried},
    )
