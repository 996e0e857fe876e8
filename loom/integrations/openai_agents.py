"""Agents of the OpenAI Agents SDK in turns: requests of models and calls of function tools are steps.

Needs the extra `llm` and the package `openai-agents`. In a turn, `await run(agent, mail)` is `Runner.run` of a copy
whose models and function tools are steps, and whose tools that need approval wait for a person. Hooks of the SDK only
watch, they cannot give a recorded result back, so models and tools are wrapped. Outside a turn it is `Runner.run`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

from agents import Agent, FunctionTool, Handoff, ItemHelpers, Model, ModelResponse, Runner, RunResult
from agents.items import ToolApprovalItem
from agents.models.multi_provider import MultiProvider
from agents.tool import Tool
from agents.tool_context import ToolContext
from pydantic import JsonValue, TypeAdapter
from pydantic_core import to_jsonable_python

from loom.actors.turn import Turn
from loom.actors.verbs.model_kept import hides, sent_text, sent_value
from loom.decisions.decision import ApprovalGiven
from loom.errors import ConfigError, NoTurnError
from loom.integrations.foreign import ForeignAnswer, ForeignCall, ForeignTool, foreign_model_step
from loom.integrations.handling import KEY, ToolHandling, arguments_json, handled, handling_of
from loom.integrations.runs import Answered, runs_of, turn_here
from loom.integrations.tool_steps import ToolCall, denied_words

__all__ = ["handled", "run"]

_FRAMEWORK = "openai_agents"
_RESPONSE = TypeAdapter(ModelResponse)
_NOT_SENT = frozenset({"id", "status"})
"""Fields of items that differ from run to run."""


async def run(
    agent: Agent[Any],
    given: Any,
    *,
    approver: str | None = None,
    handling: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,
) -> RunResult:
    """Run an agent as `Runner.run(agent, given, **options)` does, each request and each tool call a step of the turn.

    `handling` says by the names of tools how they are journaled: `{"order": handled("look_up")}`; others are effects
    that are done once. A tool with `needs_approval` waits for the approver of its handling, or for `approver`, with
    exactly its arguments bound. Agents to hand over to are wrapped as the agent is; a `Handoff` made by hand is not.

    Raises `ConfigError` for a tool that needs approval and has no one who approves, and what `Runner.run` raises.
    """
    turn = turn_here()
    if turn is None:
        return await Runner.run(agent, given, **options)
    how = {name: handling_of(config.get(KEY), name) for name, config in (handling or {}).items()}
    durable = _Wrapping(how).agent(agent)
    result = await Runner.run(durable, given, **options)
    while result.interruptions:
        state = result.to_state()
        for item in result.interruptions:
            call = _call_of(item, how)
            asked = call.handling.approver or approver
            if asked is None:
                raise ConfigError(
                    f"tool [{call.name}] needs approval, and no one is named; expected an approver: run(…, approver=…)"
                )
            answer = await call.approval(turn, asked)
            runs_of(turn).answers[call.key] = Answered(answer, call.arguments)
            if answer.granted:
                state.approve(item)
            else:
                state.reject(item, rejection_message=denied_words(answer))
        result = await Runner.run(durable, state, **options)
    return result


class _Wrapping:
    """Copies agents, with models and tools that are steps; agents that hand over to each other are copied once."""

    def __init__(self, handling: Mapping[str, ToolHandling]) -> None:
        self._handling = handling
        self._copies: dict[int, Agent[Any]] = {}

    def agent(self, agent: Agent[Any]) -> Agent[Any]:
        """Return the copy of an agent."""
        found = self._copies.get(id(agent))
        if found is None:
            found = self._copies[id(agent)] = agent.clone(
                model=_StepModel(agent.model), tools=[self._tool(tool) for tool in agent.tools]
            )
            found.handoffs = [each if isinstance(each, Handoff) else self.agent(each) for each in agent.handoffs]
        return found

    def _tool(self, tool: Tool) -> Tool:
        if not isinstance(tool, FunctionTool):
            return tool
        handling = self._handling.get(tool.name, ToolHandling())
        return replace(tool, on_invoke_tool=partial(_invoke, tool, handling))


async def _invoke(tool: FunctionTool, handling: ToolHandling, context: ToolContext[Any], arguments: str) -> Any:
    """Call a function tool as a step."""
    turn = _turn()
    call = ToolCall(_FRAMEWORK, tool.name, context.tool_call_id, _arguments(arguments), handling)
    answered = runs_of(turn).answers.get(call.key)

    async def work() -> JsonValue:
        done: JsonValue = to_jsonable_python(await tool.on_invoke_tool(context, arguments))
        return done

    under: ApprovalGiven | None = None if answered is None else answered.given
    return await call.step(turn, work, under=under)


class _StepModel(Model):
    """A model whose requests are steps; one that has only a name is looked up when it is called."""

    def __init__(self, model: str | Model | None) -> None:
        self._model = model

    async def get_response(
        self,
        system_instructions: Any,
        input: Any,
        model_settings: Any,
        tools: Any,
        output_schema: Any,
        handoffs: Any,
        *rest: Any,
        **options: Any,
    ) -> ModelResponse:
        """Make a request as a step, or return what was answered."""
        model = self._model if isinstance(self._model, Model) else MultiProvider().get_model(self._model)
        turn = _turn()
        if system_instructions:
            system_instructions = sent_text(turn, system_instructions)
        items: Any = to_jsonable_python(ItemHelpers.input_to_new_input_list(input))
        if hides(turn):
            input = items = sent_value(turn, items)
        call = ForeignCall(
            framework=_FRAMEWORK,
            provider=_provider(self._model, model),
            model=_name(self._model, model),
            messages=[*([{"instructions": system_instructions}] if system_instructions else []), *map(_sent, items)],
            settings=model_settings.to_json_dict() if hasattr(model_settings, "to_json_dict") else None,
            tools=[*map(_offered, tools), *map(_handoff, handoffs)],
        )

        async def request() -> ForeignAnswer:
            return _answer(
                await model.get_response(
                    system_instructions, input, model_settings, tools, output_schema, handoffs, *rest, **options
                )
            )

        return _RESPONSE.validate_python(await foreign_model_step(turn, call, request))

    def stream_response(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        """Refuse: an answer is journaled whole."""
        raise NotImplementedError("an agent is run by stream in a turn; expected a run: await run(agent, …)")


def _provider(named: str | Model | None, model: Model) -> str:
    """Return the provider that a name begins with; models of the SDK's own test kit are free, others are OpenAI's."""
    if isinstance(named, str) and "/" in named:
        return named.partition("/")[0]
    is_scripted = any(cls.__module__.startswith("agents.testing") for cls in type(model).__mro__)
    return "test" if is_scripted else "openai"


def _name(named: str | Model | None, model: Model) -> str:
    own = getattr(model, "model", None)
    return str(own or (named.rpartition("/")[2] if isinstance(named, str) else type(model).__name__))


def _sent(item: Any) -> JsonValue:
    written = to_jsonable_python(item)
    if not isinstance(written, dict):
        return cast("JsonValue", written)
    return {name: value for name, value in written.items() if name not in _NOT_SENT}


def _offered(tool: Tool) -> ForeignTool:
    if isinstance(tool, FunctionTool):
        return ForeignTool(tool.name, tool.description, tool.params_json_schema)
    return ForeignTool(tool.name, f"a hosted tool: {type(tool).__name__}", {})


def _handoff(handoff: Handoff[Any, Any]) -> ForeignTool:
    return ForeignTool(handoff.tool_name, handoff.tool_description, handoff.input_json_schema)


def _answer(response: ModelResponse) -> ForeignAnswer:
    calls = [item for item in response.output if getattr(item, "type", None) == "function_call"]
    details = response.usage.input_tokens_details
    return ForeignAnswer(
        carried=_RESPONSE.dump_python(response, mode="json"),
        text="".join(ItemHelpers.extract_last_content(item) or "" for item in response.output if item not in calls),
        tool_calls=[(each.name, _arguments(each.arguments), each.call_id) for each in cast("Any", calls)],
        input_tokens=response.usage.input_tokens,
        output_tokens=response.usage.output_tokens,
        cache_read_tokens=getattr(details, "cached_tokens", 0) or 0,
        response_id=response.response_id,
    )


def _arguments(text: str) -> dict[str, JsonValue]:
    """Return the arguments of a call; what a model writes may be no JSON object."""
    try:
        read = json.loads(text or "{}")
    except json.JSONDecodeError:
        return {"text": text}
    return arguments_json(read) if isinstance(read, dict) else {"value": read}


def _call_of(item: ToolApprovalItem, handling: Mapping[str, ToolHandling]) -> ToolCall:
    name = item.tool_name or ""
    raw: Any = item.raw_item
    about = raw if isinstance(raw, dict) else {"call_id": raw.call_id, "arguments": raw.arguments}
    arguments = _arguments(about.get("arguments") or "")
    return ToolCall(_FRAMEWORK, name, about["call_id"], arguments, handling.get(name, ToolHandling()))


def _turn() -> Turn:
    turn = turn_here()
    if turn is None:
        raise NoTurnError(
            "a copy of an agent was run outside its turn; expected it within: keep what run(…) returns, not its agent"
        )
    return turn
