"""The decision record of routing in the words of its rollout: what is frozen, type by type and field by field."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.decisions import Decision

__all__ = [
    "CausalRole",
    "DecisionOutcome",
    "DecisionRecord",
    "DecisionSource",
    "DecisionTrigger",
    "DecisionType",
]


class DecisionType(StrEnum):
    """What was decided. Another value is an addition; one that is taken away is a break."""

    CARE_ROUTING_OPTIMIZED = "care_routing_optimized"


class DecisionOutcome(StrEnum):
    """Whose choice it was. `baseline_selected` is the value of a reply, and never of a record."""

    BASELINE_SELECTED = "baseline_selected"
    OPTIMIZED_SELECTED = "optimized_selected"


class DecisionSource(StrEnum):
    """Who decided."""

    SYSTEM = "system"


class DecisionTrigger(StrEnum):
    """What it was decided on."""

    AUTONOMOUS = "autonomous"


class CausalRole(StrEnum):
    """Where it stands to the run that follows."""

    PRE_RUN = "pre_run"


class DecisionRecord(BaseModel):
    """One choice that history changed, as a record of its own: made of the journaled decision and of nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision_type: DecisionType
    decision_source: DecisionSource
    decision_trigger: DecisionTrigger
    decision_inputs: dict[str, JsonValue]
    decision_outcome: DecisionOutcome
    decision_reason: str
    run_id: str | None
    request_id: str
    causal_role: CausalRole
    details: dict[str, JsonValue]

    @classmethod
    def of(cls, decision: Decision) -> DecisionRecord:
        """Return the record of a decision; a `ValidationError` or `KeyError` says that it is none of routing's."""
        context: Any = decision.context
        names = ("baseline_agent", "optimized_agent", "confidence_score", "signals_used")
        return cls(
            decision_type=DecisionType(decision.decision_type),
            decision_source=context["decision_source"],
            decision_trigger=context["decision_trigger"],
            decision_inputs={name: context[name] for name in names},
            decision_outcome=DecisionOutcome(str(decision.outcome["selected"])),
            decision_reason=decision.rationale,
            run_id=decision.run_id,
            request_id=context["request_id"],
            causal_role=context["causal_role"],
            details=context["details"],
        )
