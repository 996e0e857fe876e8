"""The entries that a trace joins: look-ups, evaluations, precedents, approvals, the decision, what came of it."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.decisions.decision import Decision
from loom.journal.entry import Entry
from loom.policies.evaluation import Evaluation

__all__ = [
    "ApprovalAnsweredEntry",
    "ApprovalEscalatedEntry",
    "ApprovalRequestedEntry",
    "ContextGatheredEntry",
    "DecisionJournalEntry",
    "EvaluatedEntry",
    "Failure",
    "OutcomeObservedEntry",
    "PrecedentFound",
    "PrecedentReferencedEntry",
]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Failure(_Frozen):
    """How something went wrong, in the form that is the same live and resumed."""

    type_name: str
    message: str


class ContextGatheredEntry(Entry):
    """A system was consulted: what was asked, what came back or how it failed, and how long it took."""

    kind: ClassVar[str] = "context_gathered"

    system: str
    entity: str
    query: str
    relevance: str | None = None
    result: JsonValue = None
    failure: Failure | None = None
    retrieved_at: datetime
    duration_ms: float
    masked: tuple[str, ...] = ()


class EvaluatedEntry(Entry):
    """The policy version pinned for the turn was asked about facts; its hash is in the entry's header."""

    kind: ClassVar[str] = "evaluated"

    facts: dict[str, JsonValue]
    evaluation: Evaluation


class PrecedentFound(_Frozen):
    """One earlier decision as the precedent index showed it."""

    decision_id: str
    journal: str
    decision_type: str
    rationale: str
    outcome: dict[str, JsonValue]
    is_exception: bool
    recorded_at: datetime
    situation: str | None = None
    precedent: str | None = None


class PrecedentReferencedEntry(Entry):
    """Earlier decisions were looked for: by what, and which were found, or how it failed."""

    kind: ClassVar[str] = "precedent_referenced"

    situation: str | None = None
    facets: dict[str, JsonValue] | None = None
    text: str | None = None
    found: tuple[PrecedentFound, ...] = ()
    failure: Failure | None = None


class ApprovalRequestedEntry(Entry):
    """Somebody's consent was asked for. `shown` is a digest of what it rests on: facts, evaluation, policy version."""

    kind: ClassVar[str] = "approval_requested"

    approval_id: str
    approver: str
    reason: str
    shown: str
    facts: dict[str, JsonValue] | None = None
    evaluation: Evaluation | None = None
    requested_by: str | None = None
    deadline: datetime | None = None
    on_deadline: Literal["deny", "escalate"] = "deny"
    escalate_to: tuple[str, ...] = ()


class ApprovalAnsweredEntry(Entry):
    """A named person granted or denied; or the deadline denied (`by` is none then). The first answer counts."""

    kind: ClassVar[str] = "approval_answered"

    approval_id: str
    granted: bool
    by: str | None
    role: str | None = None
    comment: str | None = None
    shown: str


class ApprovalEscalatedEntry(Entry):
    """The deadline passed and the request went on to the next approver, with a deadline of its own."""

    kind: ClassVar[str] = "approval_escalated"

    approval_id: str
    approver: str
    passed_over: str
    deadline: datetime


class DecisionJournalEntry(Entry):
    """Something was decided."""

    kind: ClassVar[str] = "decision"

    decision: Decision


class OutcomeObservedEntry(Entry):
    """How a decision turned out, seen later by somebody; any number of them, in the journal `loom/outcomes`."""

    kind: ClassVar[str] = "outcome_observed"

    decision_id: str
    correct: bool | None
    actual: JsonValue = None
    feedback: str | None = None
    observed_by: str
    observed_at: datetime
