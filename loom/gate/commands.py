"""What the gate of an agent is asked and answers: its commands, its replies, and what it looks up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.actors import Command
from loom.gate.contract import ResponsibilityContract
from loom.gate.entries import Verdict
from loom.gate.proposal import PolicyProposal
from loom.gate.validation import Validator

__all__ = [
    "Answer",
    "CompileContext",
    "CompiledContext",
    "Dependencies",
    "Executor",
    "FailCycle",
    "Known",
    "SetAgentState",
    "Submit",
]

Executor = Callable[[PolicyProposal, str], Awaitable[Any]]
"""Does what was accepted, with the idempotency key that it passes on to the world; at least once, with one key."""


class Known(BaseModel):
    """What the gate looks up about an agent and a flow before it says anything."""

    model_config = ConfigDict(frozen=True)

    standing: str
    contract: ResponsibilityContract | None = None
    token_valid: bool = False
    rejections: int = 0
    executed: JsonValue = None
    """The result of the same execution, if it was done before: decision, result."""


class Dependencies(NamedTuple):
    """What the gate depends on beyond its own journal."""

    know: Callable[[str, str, str | None, str], Awaitable[Known]]
    """Agent, flow, token, idempotency key → what is known, once the monitors have seen what was executed before."""
    executed: Callable[[str, str], Awaitable[JsonValue]]
    """Agent, idempotency key → what was executed under it, read out of the journal: for what a view hides."""
    validators: tuple[Validator, ...] = ()
    executor: Executor | None = None


class CompiledContext(BaseModel):
    """Session and state of a flow, and the hash that a proposal made on it has to name."""

    model_config = ConfigDict(frozen=True)

    flow_id: str
    context: dict[str, JsonValue]
    context_hash: str


class Answer(BaseModel):
    """What the gate makes of a proposal. `repeated` says that the same was executed before, and was not again.

    `approval_id` names the open request where a person was asked and has not answered yet.
    """

    model_config = ConfigDict(frozen=True)

    verdict: Verdict
    code: str
    why: str
    flow_id: str
    decision_id: str
    executed: bool = False
    repeated: bool = False
    result: JsonValue = None
    idempotency_key: str | None = None
    approval_id: str | None = None


class SetAgentState(Command[bool]):
    """Say what holds for the agent in every flow."""

    state: dict[str, JsonValue]


class CompileContext(Command[CompiledContext]):
    """Put session and state of a flow together."""

    flow_id: str
    root_id: str
    session: dict[str, JsonValue]


class FailCycle(Command[bool]):
    """Write down that the agent came to no proposal."""

    flow_id: str
    root_id: str
    attempt: int
    code: str
    detail: str


class Submit(Command[Answer]):
    """Propose something. The token is not kept: the gate gets the result of checking it."""

    flow_id: str
    root_id: str
    step_id: str
    attempt: int
    proposal: JsonValue = None
    problem: str | None = None
    explanation: JsonValue = None
    token_hash: str | None = None
