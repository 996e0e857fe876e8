"""The gate of one agent: what it proposes is validated, executed once and written down, in one turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from loom.actors import Actor, Command
from loom.errors import LookupFailedError
from loom.gate.contract import ResponsibilityContract
from loom.gate.digest import digest
from loom.gate.entries import (
    AgentStateSetEntry,
    ContextCompiledEntry,
    CycleFailedEntry,
    ExecutedEntry,
    ProposalReceivedEntry,
    ValidatedEntry,
    Verdict,
)
from loom.gate.proposal import PolicyProposal, idempotency_key, read_proposal
from loom.gate.validation import (
    GateFacts,
    Validator,
    ceiling_exceeded,
    complaint_of,
    gate_validation,
    missing_number,
    said_in_code,
)
from loom.journal.entry import Entry

__all__ = [
    "Answer",
    "CompileContext",
    "CompiledContext",
    "Executor",
    "FailCycle",
    "GateActor",
    "Kernel",
    "Known",
    "SetAgentState",
    "Submit",
]

Executor = Callable[[PolicyProposal, str], Awaitable[Any]]
"""Does what was accepted, with the idempotency key that it passes on to the world; at least once, with one key."""

_MAX_FLOWS = 1_000


class Known(BaseModel):
    """What the gate looks up about an agent and a flow before it says anything."""

    model_config = ConfigDict(frozen=True)

    standing: str
    contract: ResponsibilityContract | None = None
    token_valid: bool = False
    rejections: int = 0
    executed: JsonValue = None
    """What came of the same execution, where it was done before: decision, result."""


class Kernel(NamedTuple):
    """What the gate leans on beyond its own journal."""

    know: Callable[[str, str, str | None, str], Awaitable[Known]]
    """Agent, flow, token, idempotency key → what is known, once the monitors have seen what was executed before."""
    validators: tuple[Validator, ...] = ()
    executor: Executor | None = None


class CompiledContext(BaseModel):
    """Session and state of a flow, and the hash that a proposal made on it has to name."""

    model_config = ConfigDict(frozen=True)

    flow_id: str
    context: dict[str, JsonValue]
    context_hash: str


class Answer(BaseModel):
    """What the gate makes of a proposal. `repeated` says that the same was executed before, and was not again."""

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
    """Propose something. The token is not kept: the gate is told what it makes of it."""

    flow_id: str
    root_id: str
    step_id: str
    attempt: int
    proposal: JsonValue = None
    problem: str | None = None
    explanation: JsonValue = None
    token_hash: str | None = None


class GateState(BaseModel):
    """What holds for the agent, and the contexts of its last thousand flows."""

    agent_state: dict[str, JsonValue] = Field(default_factory=dict)
    contexts: dict[str, str] = Field(default_factory=dict)


class GateActor(Actor[GateState]):
    """The gate of the agent that is its key."""

    actor_type = "gate"
    policy = gate_validation

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    async def execute(self, command: Submit | CompileContext | SetAgentState | FailCycle) -> Any:
        """Handle one command."""
        if isinstance(command, Submit):
            return await self._submit(command)
        if isinstance(command, CompileContext):
            return await self._compile(command)
        if isinstance(command, FailCycle):
            await self.record(CycleFailedEntry(**command.model_dump()))
            return True
        await self.record(AgentStateSetEntry(state=command.state))
        return True

    def apply(self, entry: Entry) -> None:
        """Fold state and contexts; a new state of the agent makes every context an old one."""
        if isinstance(entry, AgentStateSetEntry):
            self.state.agent_state = entry.state
            self.state.contexts.clear()
        elif isinstance(entry, ContextCompiledEntry):
            self.state.contexts.pop(entry.flow_id, None)
            self.state.contexts[entry.flow_id] = entry.context_hash
            if len(self.state.contexts) > _MAX_FLOWS:
                del self.state.contexts[next(iter(self.state.contexts))]

    async def _compile(self, command: CompileContext) -> CompiledContext:
        context: dict[str, JsonValue] = {
            "flow_id": command.flow_id, "agent": self.key, "session": command.session, "state": self.state.agent_state,
        }  # fmt: skip
        context_hash = digest("context", context)
        await self.record(
            ContextCompiledEntry(
                flow_id=command.flow_id, root_id=command.root_id, context=context, context_hash=context_hash
            )
        )
        return CompiledContext(flow_id=command.flow_id, context=context, context_hash=context_hash)

    # --- a proposal -----------------------------------------------------------------------------

    async def _submit(self, command: Submit) -> Answer:
        await self.record(
            ProposalReceivedEntry(
                flow_id=command.flow_id, root_id=command.root_id, step_id=command.step_id, attempt=command.attempt,
                proposal=command.proposal, problem=command.problem, explanation=command.explanation,
            )
        )  # fmt: skip
        proposal, problem = read_proposal(command.proposal) if command.problem is None else (None, command.problem)
        key = None if proposal is None else idempotency_key(command.flow_id, command.step_id, proposal.params)
        known = await self._known(command, key)
        now = await self.now()
        facts = self._facts(command, proposal, problem, known, now)
        said = self.evaluate(facts)
        verdict, code = said_in_code(said, facts)
        await self.record(
            ValidatedEntry(
                flow_id=command.flow_id, root_id=command.root_id, attempt=command.attempt, verdict=verdict, code=code,
                why=said.why,
            )
        )  # fmt: skip
        again: Any = known.executed if verdict == "ACCEPT" else None
        decision_id = await self.record_decision(
            decision_type="gate_verdict",
            rationale=f"{code}: {said.why}",
            outcome={"verdict": verdict, "code": code, "executes": verdict == "ACCEPT" and again is None},
            context={
                "flow_id": command.flow_id, "root_id": command.root_id, "step_id": command.step_id,
                "attempt": command.attempt, "idempotency_key": key,
                "policy_kind": None if proposal is None else proposal.policy_kind,
                "params": {} if proposal is None else proposal.params,
            },
            confidence=None if proposal is None else proposal.confidence,
        )  # fmt: skip
        answer = Answer(
            verdict=verdict, code=code, why=said.why, flow_id=command.flow_id, decision_id=decision_id,
            idempotency_key=key,
        )  # fmt: skip
        if verdict != "ACCEPT" or proposal is None or key is None:
            return answer
        if again is not None:
            return answer.model_copy(update={"repeated": True, "result": again.get("result")})
        result = await self._execute(command, proposal, key, decision_id)
        return answer.model_copy(update={"executed": True, "result": result})

    async def _known(self, command: Submit, key: str | None) -> Known:
        async def look() -> dict[str, Any]:
            known = await self._kernel.know(self.key, command.flow_id, command.token_hash, key or "")
            return known.model_dump(mode="json")

        try:
            known: Known = await self.gather_context(
                system="gate", entity="agent", query=self.key, fetcher=look, returns=Known
            )
        except LookupFailedError as error:  # who cannot be known may do nothing
            return Known(standing=f"UNKNOWN ({error.type_name})")
        return known

    def _facts(
        self, command: Submit, proposal: PolicyProposal | None, problem: str | None, known: Known, now: datetime
    ) -> GateFacts:
        contract = known.contract
        if proposal is None or contract is None:
            return GateFacts(
                rejections=known.rejections, schema_problem=problem, standing=known.standing, token_valid=False,
                expired=proposal is not None and proposal.expired(now),
            )  # fmt: skip
        context: dict[str, JsonValue] = {"agent": self.key, "flow_id": command.flow_id, **self.state.agent_state}
        complaint = complaint_of(proposal, context, self._kernel.validators)
        exceeded, why = ceiling_exceeded(proposal, contract)
        return GateFacts(
            rejections=known.rejections,
            schema_problem=missing_number(proposal, contract),
            expired=proposal.expired(now),
            standing=known.standing,
            token_valid=known.token_valid,
            policy_kind=proposal.policy_kind,
            allowed_policy_types=contract.allowed_policy_types,
            confidence=proposal.confidence,
            minimum_confidence=contract.minimum_confidence,
            context_fresh=self.state.contexts.get(command.flow_id) == proposal.context_hash,
            complaint=None if complaint is None else f"{complaint.code}: {complaint.why}",
            complaint_escalates=complaint is not None and complaint.escalate,
            exceeded=exceeded,
            exceeded_why=why,
        )

    async def _execute(self, command: Submit, proposal: PolicyProposal, key: str, decision_id: str) -> JsonValue:
        """Do it: the claim is durable before, and what was done is written in the same turn, which is resumed."""
        executor, result = self._kernel.executor, None
        if executor is not None:
            result = await self.perform(
                action=f"execute {proposal.policy_kind}", effect=lambda key: executor(proposal, key), key=key
            )
        await self.record(
            ExecutedEntry(
                flow_id=command.flow_id, root_id=command.root_id, step_id=command.step_id, idempotency_key=key,
                policy_kind=proposal.policy_kind, params=proposal.params, decision_id=decision_id, result=result,
            )
        )  # fmt: skip
        plain: JsonValue = result
        return plain
