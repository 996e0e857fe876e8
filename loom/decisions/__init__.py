"""Decisions: the fact that something was decided, everything that is joined to it, and how it is read back."""

from __future__ import annotations

from loom.decisions.approvals import Approval, ApprovalChains, ApprovalEvent
from loom.decisions.approvals_view import ApprovalsProjection
from loom.decisions.decision import (
    Alternative,
    ApprovalGiven,
    Decision,
    DecisionInput,
    PolicyReference,
    PrecedentClass,
    PrecedentReference,
    Relation,
    decision_id,
)
from loom.decisions.entries import (
    ApprovalAnsweredEntry,
    ApprovalEscalatedEntry,
    ApprovalRequestedEntry,
    ContextGatheredEntry,
    DecisionJournalEntry,
    EvaluatedEntry,
    Failure,
    OutcomeObservedEntry,
    PrecedentFound,
    PrecedentReferencedEntry,
)
from loom.decisions.explanation import Explanation, ExplanationLine, ExplanationSection, explain
from loom.decisions.trace import (
    DecisionChain,
    DecisionSummary,
    DecisionTrace,
    OutcomeObserved,
    PrecedentSeen,
    Related,
)
from loom.decisions.traces import Traces
from loom.decisions.traces_view import TracesProjection

__all__ = [
    "Alternative",
    "Approval",
    "ApprovalAnsweredEntry",
    "ApprovalChains",
    "ApprovalEscalatedEntry",
    "ApprovalEvent",
    "ApprovalGiven",
    "ApprovalRequestedEntry",
    "ApprovalsProjection",
    "ContextGatheredEntry",
    "Decision",
    "DecisionChain",
    "DecisionInput",
    "DecisionJournalEntry",
    "DecisionSummary",
    "DecisionTrace",
    "EvaluatedEntry",
    "Explanation",
    "ExplanationLine",
    "ExplanationSection",
    "Failure",
    "OutcomeObserved",
    "OutcomeObservedEntry",
    "PolicyReference",
    "PrecedentClass",
    "PrecedentFound",
    "PrecedentReference",
    "PrecedentReferencedEntry",
    "PrecedentSeen",
    "Related",
    "Relation",
    "Traces",
    "TracesProjection",
    "decision_id",
    "explain",
]
