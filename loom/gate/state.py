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
)
from loom.journal.entry import Entry

__all__ = ["Escalation", "GateState"]

_MAX_FLOWS = 1_000


class Escalation(BaseModel):
    """How it stands with the consent to one proposal. `granted` is a consent that was not executed yet."""

    status: Literal["waits", "granted", "denied", "executed"] = "waits"
    approval_id: str | None = None


class GateState(BaseModel):
    """What holds for the agent, the contexts of its last thousand flows, its last thousand escalations by key."""

    agent_state: dict[str, JsonValue] = Field(default_factory=dict)
    contexts: dict[str, str] = Field(default_factory=dict)
    escalations: dict[str, Escalation] = Field(default_factory=dict)

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
        elif isinstance(entry, EscalatedEntry):
            self._escalated(entry.idempotency_key)
        elif isinstance(entry, EscalationAnsweredEntry):
            self._set(entry.idempotency_key, status="granted" if entry.granted else "denied")
        elif isinstance(entry, ExecutedEntry):
            self._set(entry.idempotency_key, status="executed")
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
