"""What the gate of an agent remembers: state, contexts, and what people were asked. Folded out of its journal."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from loom.decisions import ApprovalRequestedEntry
from loom.gate.entries import (
    AgentStateSetEntry,
    ContextCompiledEntry,
    EscalatedEntry,
    EscalationAnsweredEntry,
    ExecutedEntry,
    ValidatedEntry,
)
from loom.journal.entry import Entry

__all__ = ["Escalation", "GateState", "is_reasoned_rejection"]

_MAX_FLOWS = 1_000


def is_reasoned_rejection(entry: ValidatedEntry) -> bool:
    """Tell whether a rejection counts towards the exhaustion of its flow.

    An agent that is not let in has not reasoned: else anyone could exhaust a flow, and so would a restart, after which
    a proposal that was under way comes with the token of the session before.
    """
    return entry.verdict == "REJECT" and entry.code != "RBAC_DENIED"


class Escalation(BaseModel):
    """How it stands with the consent to one proposal. `granted` is a consent that was not executed yet."""

    status: Literal["waits", "granted", "denied", "executed"] = "waits"
    approval_id: str | None = None


class GateState(BaseModel):
    """What holds for the agent; of its last thousand flows context, rejections and executions; as many escalations."""

    agent_state: dict[str, JsonValue] = Field(default_factory=dict)
    contexts: dict[str, str] = Field(default_factory=dict)
    rejections: dict[str, int] = Field(default_factory=dict)
    escalations: dict[str, Escalation] = Field(default_factory=dict)
    executed: dict[str, list[str]] = Field(default_factory=dict)
    """By flow, the keys under which something was executed."""

    def fold(self, entry: Entry) -> None:
        """Fold one entry; a new state of the agent makes every context an old one."""
        if isinstance(entry, AgentStateSetEntry):
            self.agent_state = entry.state
            self.contexts.clear()
        elif isinstance(entry, ContextCompiledEntry):
            self.contexts.pop(entry.flow_id, None)
            self.contexts[entry.flow_id] = entry.context_hash
            if len(self.contexts) > _MAX_FLOWS:
                del self.contexts[next(iter(self.contexts))]
        elif isinstance(entry, ValidatedEntry):
            if is_reasoned_rejection(entry):
                self.rejections[entry.flow_id] = self.rejections.pop(entry.flow_id, 0) + 1
                if len(self.rejections) > _MAX_FLOWS:
                    del self.rejections[next(iter(self.rejections))]
        elif isinstance(entry, EscalatedEntry):
            self._escalated(entry.idempotency_key)
        elif isinstance(entry, EscalationAnsweredEntry):
            self._set(entry.idempotency_key, status="granted" if entry.granted else "denied")
        elif isinstance(entry, ExecutedEntry):
            self._set(entry.idempotency_key, status="executed")
            self.executed[entry.flow_id] = [*self.executed.pop(entry.flow_id, ()), entry.idempotency_key]
            if len(self.executed) > _MAX_FLOWS:
                del self.executed[next(iter(self.executed))]
        elif isinstance(entry, ApprovalRequestedEntry) and entry.step is not None:
            self._set(entry.step.key, approval_id=entry.approval_id)

    def _escalated(self, key: str) -> None:
        self.escalations.pop(key, None)
        self.escalations[key] = Escalation()
        if len(self.escalations) > _MAX_FLOWS:
            settled = (each for each, known in self.escalations.items() if known.status != "waits")
            del self.escalations[next(settled, next(iter(self.escalations)))]

    def _set(self, key: str, **changes: str) -> None:
        known = self.escalations.get(key)
        if known is not None:
            self.escalations[key] = known.model_copy(update=changes)
