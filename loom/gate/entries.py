"""The entries of the gate: contracts and handshakes, contexts, proposals, validations, executions, failed cycles."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import Field, JsonValue

from loom.gate.contract import ResponsibilityContract
from loom.journal.entry import Entry, PersonEntry

__all__ = [
    "AgentStateSetEntry",
    "ContextCompiledEntry",
    "ContractRegisteredEntry",
    "CycleFailedEntry",
    "EscalatedEntry",
    "EscalationAnsweredEntry",
    "ExecutedEntry",
    "HandshakeEntry",
    "ProposalReceivedEntry",
    "ValidatedEntry",
    "Verdict",
]

Verdict: TypeAlias = Literal["ACCEPT", "REJECT", "ESCALATE"]


class ContractRegisteredEntry(PersonEntry):
    """A person registered a version of a contract."""

    kind: ClassVar[str] = "gate.contract_registered"
    schema_version: ClassVar[int] = 3
    """2: contracts may have floors and an approver to escalate to; 3: the name has a source."""
    sources_since: ClassVar[int] = 3

    contract: ResponsibilityContract
    contract_hash: str
    by: str
    reason: str | None = None

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return the body of an older schema: a contract from before floors has none."""
        return body if version == 1 else super().upcast(version, body)


class HandshakeEntry(Entry):
    """An agent presented the contract that it works by. Only the hash of its session token is kept."""

    kind: ClassVar[str] = "gate.handshake"

    agent: str
    contract_id: str
    requirement: str
    contract_hash: str
    code: Literal["HANDSHAKE_OK", "VERSION_MISMATCH", "CONTRACT_UNKNOWN", "CONTRACT_HASH_MISMATCH"]
    version: str | None = None
    token_hash: str | None = None


class AgentStateSetEntry(Entry):
    """What holds for an agent in every flow was set again."""

    kind: ClassVar[str] = "gate.agent_state_set"

    state: dict[str, JsonValue]


class ContextCompiledEntry(Entry):
    """Session and state of a flow were put together; a proposal has to name the hash of the result."""

    kind: ClassVar[str] = "gate.context_compiled"

    flow_id: str
    root_id: str
    context: dict[str, JsonValue]
    context_hash: str


class CycleFailedEntry(Entry):
    """An agent came to no proposal: what it said could not be read, or did not pass its own check."""

    kind: ClassVar[str] = "gate.cycle_failed"

    flow_id: str
    root_id: str
    attempt: int
    code: str
    detail: str


class ProposalReceivedEntry(Entry):
    """An agent proposed something. `proposal` is None where it could not be kept, and `problem` says why."""

    kind: ClassVar[str] = "gate.proposal_received"

    flow_id: str
    root_id: str
    step_id: str
    attempt: int
    proposal: JsonValue = None
    problem: str | None = None
    explanation: JsonValue = None
    """What the agent made of the situation before it proposed."""


class ValidatedEntry(Entry):
    """The gate said what it makes of a proposal."""

    kind: ClassVar[str] = "gate.validated"

    flow_id: str
    root_id: str
    attempt: int
    verdict: Verdict
    code: str
    why: str


class EscalatedEntry(Entry):
    """A validator wants a person to look at a proposal, and the contract says who is asked: the request follows."""

    kind: ClassVar[str] = "gate.escalated"

    flow_id: str
    root_id: str
    idempotency_key: str
    approver: str
    code: str
    decision_id: str


class EscalationAnsweredEntry(PersonEntry):
    """A person, or a deadline, answered; `by` is none for a deadline. What came of it is validated once more."""

    kind: ClassVar[str] = "gate.escalation_answered"
    schema_version: ClassVar[int] = 2

    flow_id: str
    root_id: str
    idempotency_key: str
    approval_id: str
    granted: bool
    by: str | None
    comment: str | None = None


class ExecutedEntry(Entry):
    """What was accepted was done, once: `idempotency_key` says what counts as the same."""

    kind: ClassVar[str] = "gate.executed"

    flow_id: str
    root_id: str
    step_id: str
    idempotency_key: str
    policy_kind: str
    params: dict[str, JsonValue] = Field(default_factory=dict)
    decision_id: str
    result: JsonValue = None
