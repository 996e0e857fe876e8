"""Middleware for agents of LangChain: within a turn, requests of the model and calls of tools are steps.

Needs the extra `llm` and the package `langchain`. `create_agent(…, middleware=[…, LoomMiddleware()])`: last, so
that each request that another middleware makes, such as a retry, is a step of its own. Outside a turn it does nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse, ToolCallRequest
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage, message_to_dict, messages_from_dict
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.types import Command
from pydantic import JsonValue, TypeAdapter
from pydantic_core import to_jsonable_python

from loom.actors.turn import Turn
from loom.actors.verbs.model_kept import hides, sent_value
from loom.errors import AdmissionError, NoTurnError
from loom.integrations.foreign import ForeignAnswer, ForeignCall, ForeignTool, foreign_model_step
from loom.integrations.handling import KEY, arguments_json, handled, handling_of
from loom.integrations.runs import turn_here
from loom.integrations.tool_steps import ToolCall, denied_words

__all__ = ["LoomMiddleware", "handled"]

_NOT_SENT = frozenset({"id", "response_metadata", "usage_metadata"})
"""Fields of messages that no provider gets, or that differ from run to run."""


class LoomMiddleware(AgentMiddleware[Any, Any, Any]):
    """Makes the model requests and tool calls of an agent steps of the turn in which it runs.

    A tool is an effect that is done once, unless its metadata say otherwise: `tool.metadata = handled("look_up")`, or
    `handled(approver="lead")` for one that a person approves first, with exactly its arguments. `approver` is who is
    asked for tools that name no one and are in `approved_tools`.

    Raises `NoTurnError` where an agent is run in a turn by a method that is not async: steps are awaited.
    """

    def __init__(self, *, approver: str | None = None, approved_tools: Sequence[str] = ()) -> None:
        super().__init__()
        self.tools: list[BaseTool] = []
        self._approver = approver
        self._approved_tools = frozenset(approved_tools)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """Ask the model as a step, or return what it answered."""
        turn = turn_here()
        if turn is None:
            return await handler(request)
        request = _as_sent(turn, request)

        async def answer() -> ForeignAnswer:
            return _answer(await handler(request))

        carried = cast("dict[str, Any]", await foreign_model_step(turn, _call(request), answer))
        return ModelResponse(
            result=messages_from_dict(carried["result"]), structured_response=_structured(request, carried)
        )

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """Call a tool as a look-up or an effect, after its approval where it needs one; or return what came of it."""
        turn = turn_here()
        config = ((request.tool.metadata if request.tool is not None else None) or {}).get(KEY)
        if turn is None or config is False:
            return await handler(request)
        name, call_id = request.tool_call["name"], request.tool_call["id"] or ""
        handling = handling_of(config if isinstance(config, Mapping) else None, name)
        call = ToolCall("langchain", name, call_id, arguments_json(request.tool_call["args"]), handling)
        approver = handling.approver or (self._approver if name in self._approved_tools else None)
        given = None if approver is None else await call.approval(turn, approver)
        if given is not None and not given.granted:
            return ToolMessage(content=denied_words(given), name=name, tool_call_id=call_id, status="error")

        async def work() -> JsonValue:
            return _written(name, await handler(request))

        return _tool_message(await call.step(turn, work, under=given))

    def wrap_model_call(self, request: ModelRequest[Any], handler: Callable[..., Any]) -> Any:
        """Ask the model outside a turn."""
        return self._outside(request, handler)

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[..., Any]) -> Any:
        """Call a tool outside a turn."""
        return self._outside(request, handler)

    def _outside(self, request: Any, handler: Callable[..., Any]) -> Any:
        if turn_here() is not None:
            raise NoTurnError(
                "an agent of LangChain was run in a turn by [invoke] or [stream]; expected [ainvoke] or [astream]: "
                "steps are awaited"
            )
        return handler(request)


def _as_sent(turn: Turn, request: ModelRequest[Any]) -> ModelRequest[Any]:
    """Return a request without the protected values of the turn, unless the config shows them."""
    if not hides(turn):
        return request
    about = [*([request.system_message] if request.system_message else []), *request.messages]
    written: list[Any] = [to_jsonable_python(message_to_dict(message)) for message in about]
    messages: list[Any] = messages_from_dict(cast("list[Any]", sent_value(turn, written)))
    if request.system_message is None:
        return request.override(messages=messages)
    return request.override(system_message=messages[0], messages=messages[1:])


def _call(request: ModelRequest[Any]) -> ForeignCall:
    """Return a request as it is journaled."""
    named = cast("dict[str, Any]", request.model._get_ls_params())  # what LangChain's own tracer names a model by
    messages = [*([request.system_message] if request.system_message else []), *request.messages]
    return ForeignCall(
        framework="langchain",
        provider=named.get("ls_provider"),
        model=named.get("ls_model_name") or type(request.model).__name__,
        messages=[_sent(message) for message in messages],
        settings=request.model_settings or None,
        tools=[_offered(tool) for tool in request.tools],
    )


def _sent(message: BaseMessage) -> JsonValue:
    written = message_to_dict(message)["data"]
    sent: JsonValue = to_jsonable_python({name: value for name, value in written.items() if name not in _NOT_SENT})
    return sent


def _offered(tool: BaseTool | dict[str, Any]) -> ForeignTool:
    written = convert_to_openai_tool(tool)["function"] if isinstance(tool, BaseTool) else tool.get("function", tool)
    return ForeignTool(written.get("name", "tool"), written.get("description", ""), written.get("parameters", {}))


def _answer(response: ModelResponse[Any] | AIMessage) -> ForeignAnswer:
    """Return what loom reads of an answer, and the whole of it."""
    result = response.result if isinstance(response, ModelResponse) else [response]
    structured = response.structured_response if isinstance(response, ModelResponse) else None
    said = next((message for message in result if isinstance(message, AIMessage)), None)
    usage: Mapping[str, Any] = (said.usage_metadata if said is not None else None) or {}
    cached: Mapping[str, Any] = usage.get("input_token_details") or {}
    about: Mapping[str, Any] = {} if said is None else said.response_metadata
    return ForeignAnswer(
        carried={
            "result": [to_jsonable_python(message_to_dict(message)) for message in result],
            "structured": to_jsonable_python(structured),
        },
        text="" if said is None else str(said.text),
        tool_calls=[] if said is None else [(each["name"], each["args"], each["id"] or "") for each in said.tool_calls],
        input_tokens=usage.get("input_tokens", 0),
        output_tokens=usage.get("output_tokens", 0),
        cache_read_tokens=cached.get("cache_read", 0),
        cache_write_tokens=cached.get("cache_creation", 0),
        model=about.get("model_name") or about.get("model"),
        response_id=about.get("id"),
    )


def _structured(request: ModelRequest[Any], carried: Mapping[str, Any]) -> Any:
    """Return the structured answer in the type that was asked for; as JSON where that is a schema."""
    schema = getattr(request.response_format, "schema", None)
    if carried["structured"] is None or not isinstance(schema, type):
        return carried["structured"]
    return TypeAdapter(schema).validate_python(carried["structured"])


def _written(name: str, result: ToolMessage | Command[Any]) -> JsonValue:
    if not isinstance(result, ToolMessage):
        raise AdmissionError(
            f"tool [{name}] returned a [{type(result).__name__}], which is code; expected a message, which can be "
            "journaled: have it return one, or make it no step of its own by the metadata {'loom': False}"
        )
    written: JsonValue = to_jsonable_python(message_to_dict(result))
    return written


def _tool_message(written: JsonValue) -> ToolMessage:
    [message] = messages_from_dict([cast("dict[str, Any]", written)])
    return cast("ToolMessage", message)
