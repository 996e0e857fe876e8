"""Decisions: the recorded fact of a decision, everything that is joined to it, and how it is read."""

from __future__ import annotations

from loom.decisions.analysis import (
    Analysis,
    CriticalFactor,
    DecisionAnalysis,
    RiskAssessment,
    WeighedAlternative,
)
from loom.decisions.approvals import Approval, ApprovalChains, ApprovalEvent
from loom.decisions.approvals_view import ApprovalsProjection
from loom.decisions.decision import (
    Alternative,
    ApprovalGiven,
    Decision,
    DecisionInput,
    NeedsInformation,
    ObservedSource,
    PolicyReference,
    PrecedentClass,
    PrecedentReference,
    Relation,
    decision_id,
    observed_decision_id,
)
from loom.decisions.effects_view import EffectsProjection
from loom.decisions.enrichments import EnrichmentEntry, EnrichmentFailedEntry, EnrichmentRefusedEntry
from loom.decisions.enrichments_view import EnrichmentsProjection
from loom.decisions.entries import (
    ApprovalAnsweredEntry,
    ApprovalEscalatedEntry,
    ApprovalRequestedEntry,
    ContextGatheredEntry,
    DecisionJournalEntry,
    DecisionObservedEntry,
    EvaluatedEntry,
    Failure,
    OutcomeObservedEntry,
    PrecedentFound,
    PrecedentReferencedEntry,
    RunEndedEntry,
    RunEnding,
    RunKind,
    RunStartedEntry,
)
from loom.decisions.explanation import Explanation, ExplanationLine, ExplanationSection, explain
from loom.decisions.imports import IMPORT_WORDS
from loom.decisions.model_calls import ModelCalledEntry, ModelObservedEntry, ModelUsage
from loom.decisions.model_calls_view import ModelCallsProjection
from loom.decisions.model_costs import CostGroup, CostLine, ModelCall, ModelCosts
from loom.decisions.out import OutFormat
from loom.decisions.run import Run, RunStatus, VersionSeen
from loom.decisions.runs import RUN_JOURNAL, Runs, RunsView, current_run
from loom.decisions.runs_view import RunsProjection
from loom.decisions.shown import Shown
from loom.decisions.trace import (
    DecisionChain,
    DecisionLineage,
    DecisionSummary,
    DecisionTrace,
    DecisionWithBody,
    OutcomeObserved,
    PrecedentSeen,
    Related,
)
from loom.decisions.traces import Traces
from loom.decisions.traces_view import TracesProjection
from loom.decisions.waits import Wait, WaitsProjection

__all__ = [
    "IMPORT_WORDS",
    "RUN_JOURNAL",
    "Alternative",
    "Analysis",
    "Approval",
    "ApprovalAnsweredEntry",
    "ApprovalChains",
    "ApprovalEscalatedEntry",
    "ApprovalEvent",
    "ApprovalGiven",
    "ApprovalRequestedEntry",
    "ApprovalsProjection",
    "ContextGatheredEntry",
    "CostGroup",
    "CostLine",
    "CriticalFactor",
    "Decision",
    "DecisionAnalysis",
    "DecisionChain",
    "DecisionInput",
    "DecisionJournalEntry",
    "DecisionLineage",
    "DecisionObservedEntry",
    "DecisionSummary",
    "DecisionTrace",
    "DecisionWithBody",
    "EffectsProjection",
    "EnrichmentEntry",
    "EnrichmentFailedEntry",
    "EnrichmentRefusedEntry",
    "EnrichmentsProjection",
    "EvaluatedEntry",
    "Explanation",
    "ExplanationLine",
    "ExplanationSection",
    "Failure",
    "ModelCall",
    "ModelCalledEntry",
    "ModelCallsProjection",
    "ModelCosts",
    "ModelObservedEntry",
    "ModelUsage",
    "NeedsInformation",
    "ObservedSource",
    "OutFormat",
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
    "RiskAssessment",
    "Run",
    "RunEndedEntry",
    "RunEnding",
    "RunKind",
    "RunStartedEntry",
    "RunStatus",
    "Runs",
    "RunsProjection",
    "RunsView",
    "Shown",
    "Traces",
    "TracesProjection",
    "VersionSeen",
    "Wait",
    "WaitsProjection",
    "WeighedAlternative",
    "current_run",
    "decision_id",
    "explain",
    "observed_decision_id",
]
