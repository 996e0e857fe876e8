"""The shapes of requests and answers of circuits, as the OpenAPI document has them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, AwareDatetime, Field, JsonValue

from loom.ext.http import Shape

__all__ = [
    "AuditAnswer",
    "ChainAnswer",
    "ChainRequest",
    "CloseRequest",
    "CycleAnswer",
    "CycleRequest",
    "DashboardAnswer",
    "EscalationAnswer",
    "ExecuteAnswer",
    "ExecuteRequest",
    "HealthAnswer",
    "HealthRequest",
]

Client = Annotated[str, Field(min_length=1, max_length=100)]
Circuit = Annotated[str, Field(min_length=1, max_length=64)]
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]
Json = dict[str, JsonValue]


def _either(name: str, camel: str) -> Any:
    """Return a required field that may be spelled in either way; the document has the first."""
    return Field(validation_alias=AliasChoices(name, camel))


class ExecuteRequest(Shape):
    """Run one circuit."""

    circuit_id: Circuit = _either("circuit_id", "circuitId")
    client_id: Client = _either("client_id", "clientId")
    inputs: Json = Field(default_factory=dict)


class ChainedCircuit(Shape):
    """One circuit of a chain."""

    circuit_id: Circuit = _either("circuit_id", "circuitId")
    inputs: Json = Field(default_factory=dict)


class ChainRequest(Shape):
    """Run circuits one after the other."""

    client_id: Client = _either("client_id", "clientId")
    circuits: tuple[ChainedCircuit, ...] = Field(min_length=1, max_length=100)


class HealthRequest(Shape):
    """Ask how a strategy does."""

    client_id: Client = _either("client_id", "clientId")
    audience_segment: Client = _either("audience_segment", "audienceSegment")


class CycleRequest(Shape):
    """Count a cycle."""

    client_id: Client = _either("client_id", "clientId")
    audience_segment: Client = _either("audience_segment", "audienceSegment")
    engagement_score: Score = _either("engagement_score", "engagementScore")
    conversion_score: Score = _either("conversion_score", "conversionScore")
    confidence: Score | None = None
    """How sure the figures are."""


class CloseRequest(Shape):
    """Close an escalation. Who does, the key says."""

    reason: str = Field(min_length=1, max_length=10_000)


class StepAnswer(Shape):
    """What came of a circuit."""

    circuit_id: str
    success: bool
    data: Json
    confidence: float
    substituted: bool
    error: str | None
    provenance: dict[str, str]
    decision_trace: list[str]


class ExecuteAnswer(StepAnswer):
    """What came of a circuit that was run by itself."""

    execution_id: str


class ChainAnswer(Shape):
    """What came of a chain: the results so far."""

    success: bool
    execution_id: str
    confidence: float
    results: list[StepAnswer]
    final_output: Json
    total_decision_path: list[str]


class Execution(Shape):
    """An execution, as the audit has it. What was sealed says `sealed`, or `erased`."""

    position: int
    client_id: str
    circuit_id: str
    execution_id: str
    timestamp: AwareDatetime
    success: bool
    latency_ms: float
    confidence_score: float
    substituted: bool
    error: str | None
    decision_path: list[str]
    inputs: Json | None
    outputs: Json | None


class Target(Shape):
    """What a figure is expected to be, and whether it is; null where there is nothing to compare."""

    target: str
    value: float | None
    met: bool | None


class Metrics(Shape):
    """How executions went: the share that succeeded by itself, and how many came to what a failure mode put in."""

    total_executions: int
    success_rate: float | None
    substituted_count: int
    avg_latency_ms: float | None
    p50_latency_ms: float | None
    p95_latency_ms: float | None
    avg_confidence: float | None
    error_count: int
    targets: dict[str, Target]


class AuditAnswer(Shape):
    """A page of executions, newest first, and the metrics of all that match the filters, on this page or not."""

    workspace_id: str
    client_id: str | None
    circuit_id: str | None
    execution_history: list[Execution]
    metrics: Metrics
    by_circuit: dict[str, Metrics]
    next_before: int | None


class Health(Shape):
    """How a strategy does."""

    needs_correction: bool
    reason: str
    confidence: float | None = None
    action_type: Literal["rotate_strategy", "log_and_monitor", "escalate_to_admin"] | None = None


class StrategyMetrics(Shape):
    """The figures of a strategy after its last cycle."""

    engagement_score: float | None
    conversion_score: float | None
    cycle_count: int
    decline_cycles: int


class Correction(Shape):
    """What the last correction came to."""

    success: bool
    new_strategy_id: str | None
    log_id: str


class HealthAnswer(Shape):
    """How a strategy does, and what was last corrected."""

    workspace_id: str
    client_id: str
    audience_segment: str
    needs_correction: bool
    health_status: Health
    current_metrics: StrategyMetrics | None
    correction_result: Correction | None


class CycleAnswer(Shape):
    """What came of a cycle."""

    workspace_id: str
    client_id: str
    audience_segment: str
    message: str
    updated_metrics: StrategyMetrics
    health_status: Health


class Summary(Shape):
    """What was corrected, and how often people were asked to look: `escalations` counts the repeated ones too."""

    total_corrections: int
    successful_rotations: int
    escalations: int
    repeated_escalations: int
    avg_correction_confidence: float | None


class StrategyState(StrategyMetrics):
    """A strategy of a client and segment."""

    client_id: str
    audience_segment: str
    strategy_id: str
    updated_at: AwareDatetime
    last_rotated_at: AwareDatetime | None


class EscalationAnswer(Shape):
    """Something that a person is to look at."""

    escalation_id: str
    cause: str
    reason: str
    about: Json
    opened_at: AwareDatetime
    repeats: int
    closed_by: str | None
    closed_because: str | None
    identity_source: str | None
    via: str | None
    open: bool


class DashboardAnswer(Shape):
    """Every strategy, what was corrected, what waits for a person, and how executions went."""

    workspace_id: str
    days: float
    summary: Summary
    monitored: int
    """Declines that were too unsure for a rotation, and are watched."""
    notifications: list[EscalationAnswer]
    """What people are to look at, oldest first."""
    metrics: Metrics
    by_circuit: dict[str, Metrics]
    strategy_states: list[StrategyState]
