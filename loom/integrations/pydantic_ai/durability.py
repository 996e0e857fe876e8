"""The capability that makes runs of an agent durable and accountable inside a turn, and changes nothing elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal, cast

from pydantic_ai.agent import AbstractAgent, EventStreamHandler
from pydantic_ai.durable_exec import (
    BaseDurabilityCapability,
    DurabilityEngineSpec,
    DurableOperationBackend,
    DurableOperationId,
    ToolsetCallToolId,
    ToolsetValidateToolArgumentsId,
    conversation_id_from_run_id,
)
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.models import Model
from pydantic_ai.tools import (
    AgentDepsT,
    DeferredToolRequests,
    DeferredToolResults,
    RunContext,
    ToolApproved,
    ToolDefinition,
    ToolDenied,
)

from loom.actors import verbs
from loom.actors.turn_context import turn_of_caller
from loom.decisions.decision import ApprovalGiven
from loom.integrations.handling import KEY, ToolHandling, arguments_json, handling_of
from loom.integrations.pydantic_ai.codec import STRICT_JSON, not_json
from loom.integrations.pydantic_ai.operations import TurnOperations
from loom.integrations.pydantic_ai.progress import watched_by
from loom.integrations.runs import Answered, runs_of, turn_here
from loom.integrations.tool_steps import approval_step, denied_words

__all__ = ["LoomDurability"]


class LoomDurability(BaseDurabilityCapability[AgentDepsT]):
    """Journals the run of an agent in the turn in which it runs: models, tools, and approvals of tools.

    Outside a turn the agent runs as it would without this capability, also in a tool of another agent that is a step by
    itself. `approver` is who is asked for tools that need approval and name no one in their metadata; without it such
    calls are the run's output, as `DeferredToolRequests`. With `trusts_hints` the read-only and idempotent hints of MCP
    servers say how a tool is journaled.

    Raises pydantic-ai's `UserError` for an agent without a name: it names the steps.
    """

    engine_spec: ClassVar[DurabilityEngineSpec] = DurabilityEngineSpec(
        engine_name="Loom",
        durable_unit_noun="step",
        durable_container_noun="turn",
        codec=STRICT_JSON,
        serialization_failure=not_json,
        unsupported_runtime_toolset_kinds=frozenset({"function", "mcp", "dynamic"}),
        toolset_lifecycles={"function": "enter-always", "mcp": "enter-in-durable-unit", "dynamic": "enter-never"},
        sequential_tools_in_durable_context=True,
        tool_config_key=KEY,
    )

    def __init__(
        self,
        *,
        approver: str | None = None,
        timeout_s: float | None = None,
        escalate_to: Sequence[str] = (),
        trusts_hints: bool = False,
        models: Mapping[str, Model] | None = None,
        event_stream_handler: EventStreamHandler[AgentDepsT] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(models=models, event_stream_handler=event_stream_handler, name=name)
        self._asks = ToolHandling(approver=approver, timeout_s=timeout_s, escalate_to=tuple(escalate_to))
        self._trusts_hints = trusts_hints
        self._models = dict(models or {})
        self._operations: TurnOperations | None = None

    @property
    def in_durable_context(self) -> bool:
        """Whether the run makes steps of a turn here."""
        return turn_here() is not None

    def get_durable_operation_backend(self) -> DurableOperationBackend[Any]:
        """Return the backend that makes each operation of this agent a step of a turn."""
        assert self._operations is not None  # noqa: S101 - an agent is bound before it runs
        return self._operations

    def _bind_to_agent(self, agent: AbstractAgent[AgentDepsT, Any]) -> None:
        """Make the backend of an agent, and bind its requests of models once and not again for each request."""
        self._operations = TurnOperations(
            agent_name=self.name,
            models=self._models,
            resolve_tool=self._tool_config,
            trusts_hints=self._trusts_hints,
        )
        super()._bind_to_agent(agent)
        self._bound_model_operations = self._bind_model_operations(
            self._operations, model_id=None, model_name="default"
        )

    def _model_stream_event_handler(self) -> EventStreamHandler[AgentDepsT] | None:
        """Return what reads the stream of a model within its step: the handler, and those who watch the turn."""
        turn = turn_of_caller()
        handler = super()._model_stream_event_handler()
        return handler if turn is None else watched_by(turn, handler)

    def get_default_run_id(self) -> str | None:
        """Return the id of a run, the same again when the turn is resumed."""
        turn = turn_here()
        return None if turn is None else runs_of(turn).next_run_id()

    def get_default_conversation_id(self, run_id: str) -> str | None:
        """Return the id of a conversation, the same again when the turn is resumed."""
        return conversation_id_from_run_id(run_id) if self.in_durable_context else None

    def get_run_clock(self) -> Callable[[], datetime] | None:
        """Return the clock of the loom, against which a run's timeout is measured."""
        turn = turn_here()
        return None if turn is None else turn.services.now

    async def get_run_start_time(self, run_id: str) -> datetime | None:
        """Return the time at which a run with a timeout began, as it was when the turn first ran."""
        turn = turn_here()
        return None if turn is None else await verbs.now(turn, key=f"{self.name}__run_start_time")

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[AgentDepsT], *, requests: DeferredToolRequests
    ) -> DeferredToolResults | None:
        """Request the approvals that tool calls need, all at once, and wait for the answers.

        Calls whose approver is not named, and calls that are answered from outside, stay with the caller of the run.
        """
        turn = turn_here()
        if turn is None:
            return None
        asked = [(call, handling) for call in requests.approvals if (handling := self._handling(ctx, call)).approver]
        if not asked:
            return None
        keys = [runs_of(turn).numbered(f"{self.name}__approval:{call.tool_name}") for call, _ in asked]
        answers = await asyncio.gather(
            *(self._ask(call, handling, key) for (call, handling), key in zip(asked, keys, strict=True))
        )
        return requests.build_results(
            approvals={call.tool_call_id: _result(given) for (call, _), given in zip(asked, answers, strict=True)},
            answered_by={
                call.tool_call_id: given.by or "the deadline" for (call, _), given in zip(asked, answers, strict=True)
            },
        )

    async def _ask(self, call: ToolCallPart, handling: ToolHandling, key: str) -> ApprovalGiven:
        turn = turn_here()
        assert turn is not None  # noqa: S101 - the caller has it
        arguments = call.args_as_dict()
        given = await approval_step(
            turn,
            f"agent {self.name}",
            call.tool_name,
            arguments_json(arguments),
            handling,
            approver=cast("str", handling.approver),
            key=key,
        )
        runs_of(turn).answers[call.tool_call_id] = Answered(given, arguments)
        return given

    def _handling(self, ctx: RunContext[AgentDepsT], call: ToolCallPart) -> ToolHandling:
        """Return who approves a call: as the tool's metadata says, or as this capability does."""
        definition = _definition(ctx, call.tool_name)
        config = (getattr(definition, "metadata", None) or {}).get(KEY)
        own = handling_of(config if isinstance(config, Mapping) else None, call.tool_name)
        return own if own.approver is not None else self._asks

    def _tool_config(
        self, operation_id: DurableOperationId, tool: object | None, tool_name: str
    ) -> Mapping[str, Any] | Literal[False]:
        if not isinstance(operation_id, ToolsetCallToolId | ToolsetValidateToolArgumentsId):
            return {}
        config = self._build_resolve_tool_config(None)(cast("Any", tool), tool_name)
        return False if config is False else dict(config or {})


def _definition(ctx: RunContext[Any], tool: str) -> ToolDefinition | None:
    manager = ctx.tool_manager
    return None if manager is None else manager.get_tool_def(tool)


def _result(given: ApprovalGiven) -> ToolApproved | ToolDenied:
    return ToolApproved() if given.granted else ToolDenied(denied_words(given))
