"""The operations of an agent's run as steps of a turn: the backend that pydantic-ai hands each of them to.

A request of a model is the step of the verb `call_model`. A call of a tool is `perform` or `gather_context`, by its
handling. What a toolset offers, and what a validator of arguments says, are look-ups. The names of steps come from
pydantic-ai's `JournalOperationNamer`, and a number where one may be made several times: they are in journals, so they
must not change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Literal, TypeVar, cast

from pydantic import JsonValue
from pydantic_ai.durable_exec import (
    BoundDurableOperation,
    DurableOperation,
    DurableOperationId,
    DynamicToolsetCallToolParams,
    EventStreamHandlerId,
    JournalCallableOperationBackend,
    ModelCompactMessagesId,
    ModelCompactMessagesParams,
    ModelRequestId,
    ModelRequestParams,
    RoleBasedOperationConfig,
    ToolsetCallToolId,
    ToolsetCallToolParams,
    ToolsetGetInstructionsId,
    ToolsetGetToolsId,
    ToolsetValidateToolArgumentsId,
    durable_unit_scope,
)
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import Model

from loom.actors.turn import Turn
from loom.actors.verbs.model import model_step
from loom.errors import ModelCallError, NoTurnError
from loom.integrations.handling import ToolHandling, arguments_json, handling_of, in_short
from loom.integrations.pydantic_ai.provider_errors import as_provider_error
from loom.integrations.runs import Answered, runs_of, turn_here
from loom.integrations.tool_steps import effect_key, effect_step, look_up_step, step_scope

__all__ = ["TurnOperations"]

P = TypeVar("P")
W = TypeVar("W")
R = TypeVar("R")

_WRAPPED = "$tool"
"""The key of what a tool gave where that is more than a value, as a request to try again."""

_params: ContextVar[Any] = ContextVar("loom_agent_operation")


class TurnOperations(JournalCallableOperationBackend[Mapping[str, Any]]):
    """Runs the operations of one agent as steps of the turn in which it runs."""

    def __init__(
        self,
        *,
        agent_name: str,
        models: Mapping[str, Model],
        resolve_tool: Callable[[DurableOperationId, object | None, str], Mapping[str, Any] | Literal[False]],
        trusts_hints: bool,
    ) -> None:
        nothing: Mapping[str, Any] = {}
        super().__init__(
            agent_name=agent_name,
            config=RoleBasedOperationConfig(
                model=nothing, event=nothing, capability=nothing, tool=nothing, resolve_tool=resolve_tool
            ),
        )
        self._agent_name = agent_name
        self._models = models
        self._trusts_hints = trusts_hints

    def bind(self, operation: DurableOperation[P, W, R]) -> BoundDurableOperation[P, W, R]:
        """Return the operation as something to call, once for each time that the run makes it."""
        if isinstance(operation.operation_id, ModelRequestId | ModelCompactMessagesId):
            return _Bound(operation, lambda params, config: self._model(operation, params))
        inner = super().bind(operation)

        async def call(params: P, config: object | None) -> R:
            token = _params.set(params)
            try:
                return await inner(params, config=config)
            finally:
                _params.reset(token)

        return _Bound(operation, call)

    async def execute(
        self,
        *,
        operation_id: DurableOperationId,
        name: str,
        body: Callable[[], Awaitable[object]],
        cache_key: tuple[object, ...],
        config: Mapping[str, Any],
    ) -> object:
        """Run an operation that is not a request of a model as a step; its result is JSON, live and resumed."""
        turn, params = _turn(name), _params.get()
        if isinstance(operation_id, EventStreamHandlerId):
            # Progress is not journaled: a resumed turn reports it again, and a replay does not.
            if turn.compare is not None:
                return None
            with step_scope():
                return await body()
        runs = runs_of(turn)
        run_id = _run_id(params)
        match operation_id:
            case ToolsetCallToolId():
                return await self._tool(turn, runs.name(_for_tool(name, params), run_id), body, params, config)
            case ToolsetValidateToolArgumentsId(toolset_id=toolset):
                asked = in_short(arguments_json(params.tool_args))
                key = runs.numbered(runs.name(_for_tool(name, params), run_id))
                return await look_up_step(
                    turn, key, body, system=toolset, entity=f"arguments of {params.name}", query=asked
                )
            case ToolsetGetToolsId(toolset_id=toolset):
                key = runs.numbered(runs.name(name, run_id))
                return await look_up_step(turn, key, body, system=toolset, entity="tools", query="")
            case ToolsetGetInstructionsId(toolset_id=toolset):
                key = runs.numbered(runs.name(name, run_id))
                return await look_up_step(turn, key, body, system=toolset, entity="instructions", query="")
            case _:
                key = runs.numbered(runs.name(name, run_id))
                return await effect_step(turn, name, key, body, repeatable=True, arguments=None)

    async def _model(self, operation: DurableOperation[P, W, R], params: P) -> R:
        """Make a request of a model as the step of `call_model`, and return its whole response."""
        asked: Any = params
        # One operation is bound for all models of the agent: the name is that of the model that is asked.
        name = self._namer.operation_name(replace(cast("Any", operation.operation_id), model_id=asked.model_id))
        turn = _turn(name)
        messages = asked.request_context.messages if isinstance(asked, ModelCompactMessagesParams) else asked.messages
        parameters = None if isinstance(asked, ModelCompactMessagesParams) else asked.model_request_parameters
        settings = None if isinstance(asked, ModelCompactMessagesParams) else asked.model_settings
        model = self._model_of(asked)

        async def request(sent: Sequence[ModelMessage]) -> ModelResponse:
            with step_scope(), durable_unit_scope():
                return cast("ModelResponse", await operation.handler(_with_messages(params, sent)))

        try:
            response = await model_step(
                turn,
                model,
                messages,
                parameters,
                settings,
                key=runs_of(turn).name(name, asked.run_context.run_id),
                request=request,
            )
        except ModelCallError as error:
            raise as_provider_error(error, model if isinstance(model, str) else model.model_name) from error
        return cast("R", response)

    def _model_of(self, params: ModelRequestParams | ModelCompactMessagesParams) -> Model | str:
        """Return the model that a request is for, as far as it is known here."""
        if params.model_id is not None:
            return self._models.get(params.model_id, params.model_id)
        return cast("Model", params.run_context.model)

    async def _tool(
        self,
        turn: Turn,
        name: str,
        body: Callable[[], Awaitable[object]],
        params: ToolsetCallToolParams | DynamicToolsetCallToolParams,
        config: Mapping[str, Any],
    ) -> object:
        """Call a tool as a look-up or as an effect; an effect of an approved call is bound to what was approved."""
        runs = runs_of(turn)
        key = runs.numbered(name)
        handling = self._handling(params, config)
        arguments = arguments_json(params.tool_args)
        if handling.calls == "look_up":
            system, entity = handling.system or self._agent_name, handling.entity or params.name
            found = await look_up_step(turn, key, _kept(body), system=system, entity=entity, query=in_short(arguments))
            return _given(found)
        answered = runs.answers.get(params.ctx.tool_call_id or "")
        if answered is not None:
            arguments = _as_approved(params, answered, arguments)
        repeatable = handling.calls == "repeatable"
        under = None if answered is None else answered.given
        done = await effect_step(
            turn,
            params.name,
            effect_key(turn, name, key),
            _kept(body),
            repeatable=repeatable,
            arguments=arguments,
            under=under,
        )
        return _given(done)

    def _handling(
        self, params: ToolsetCallToolParams | DynamicToolsetCallToolParams, config: Mapping[str, Any]
    ) -> ToolHandling:
        """Return how a tool is handled: as its metadata says, or as its server hints, if that is trusted."""
        handling = handling_of(config, params.name)
        if "calls" in handling.model_fields_set or not self._trusts_hints:
            return handling
        hints = _hints(params)
        if hints.get("readOnlyHint") is True:
            return handling.model_copy(update={"calls": "look_up"})
        return handling.model_copy(update={"calls": "repeatable"}) if hints.get("idempotentHint") is True else handling


class _Bound(BoundDurableOperation[P, W, R]):
    """An operation, and how it is called."""

    def __init__(self, operation: DurableOperation[P, W, R], call: Callable[[P, object | None], Awaitable[R]]) -> None:
        self._operation = operation
        self._call = call

    @property
    def operation(self) -> DurableOperation[P, W, R]:
        """The operation as pydantic-ai declares it."""
        return self._operation

    async def __call__(self, params: P, *, config: object | None = None) -> R:
        """Make it, as a step of the turn."""
        return await self._call(params, config)


def _turn(name: str) -> Turn:
    turn = turn_here()
    if turn is None:
        raise NoTurnError(
            f"operation [{name}] was made outside a turn; expected it within execute of an actor: run the agent there"
        )
    return turn


def _run_id(params: Any) -> str | None:
    context = getattr(params, "ctx", None) or getattr(params, "run_context", None)
    return None if context is None else context.run_id


def _for_tool(name: str, params: Any) -> str:
    """Return the name of a call with that of its tool; names of MCP tools lack it."""
    return name if name.endswith(f":{params.name}") else f"{name}:{params.name}"


def _kept(body: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
    """Return a tool's body that gives its plain result, or all that it gave under a name of its own."""

    async def kept() -> object:
        given = await body()
        if isinstance(given, dict) and given.get("kind") == "tool_return" and not given.get("content_file_digests"):
            result = given["result"]
            if not (isinstance(result, dict) and _WRAPPED in result):
                return result
        return {_WRAPPED: given}

    return kept


def _given(kept: Any) -> object:
    if isinstance(kept, dict) and kept.keys() == {_WRAPPED}:
        return kept[_WRAPPED]
    return {"result": kept, "kind": "tool_return"}


def _as_approved(
    params: ToolsetCallToolParams | DynamicToolsetCallToolParams, answered: Answered, arguments: dict[str, JsonValue]
) -> dict[str, JsonValue]:
    """Return the arguments that were approved where those of the call are the same, validated; else those of the call.

    A request shows arguments as the model gave them, before defaults are filled in.
    """
    tool = getattr(params, "tool", None)
    approved = answered.arguments
    if tool is not None:
        approved = tool.args_validator.validate_python(approved)
    return answered.arguments if arguments_json(approved) == arguments else arguments


def _with_messages(params: P, sent: Sequence[ModelMessage]) -> P:
    """Return the parameters of a request with the messages that are really sent."""
    asked: Any = params
    if isinstance(asked, ModelCompactMessagesParams):
        context = replace(asked.request_context, messages=list(sent))
        return cast("P", replace(asked, request_context=context))
    return cast("P", replace(asked, messages=list(sent)))


def _hints(params: Any) -> Mapping[str, Any]:
    """Return what the server of an MCP tool says about it."""
    definition = getattr(params, "tool_def", None) or getattr(getattr(params, "tool", None), "tool_def", None)
    hints = (getattr(definition, "metadata", None) or {}).get("annotations")
    return hints if isinstance(hints, Mapping) else {}
