"""The entries of circuits: entered, succeeded, failed, substituted; cycles and corrections; escalations."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import Field, JsonValue

from loom.circuits.definition import FailureMode
from loom.journal.entry import Entry, PersonEntry
from loom.sealing import Handling

__all__ = [
    "ChainEndedEntry",
    "CircuitEnteredEntry",
    "CircuitFailedEntry",
    "CircuitSucceededEntry",
    "CorrectionEntry",
    "CycleCountedEntry",
    "EscalationClosedEntry",
    "EscalationOpenedEntry",
    "EscalationRepeatedEntry",
    "Provenance",
    "StrategyRegisteredEntry",
    "SubstitutedEntry",
]

Provenance: TypeAlias = dict[str, str]
"""Where each input came from: `explicit`, or `<circuit>.<output>` of an earlier step of the chain."""


class CircuitEnteredEntry(Entry):
    """A circuit began: what it was given, and where each of that came from."""

    kind: ClassVar[str] = "circuit.entered"

    execution_id: str
    place: int
    """Its place in the chain, from 1."""
    circuit_id: str
    version: str
    inputs: dict[str, JsonValue]
    provenance: Provenance
    protected: dict[str, Handling] = Field(default_factory=dict)
    """Which inputs are not written as they were given, and what became of them."""


class SubstitutedEntry(Entry):
    """A circuit failed, and its failure mode put something in the place of its outputs."""

    kind: ClassVar[str] = "circuit.substituted"

    execution_id: str
    circuit_id: str
    failure_mode: FailureMode
    reason: str
    outputs: dict[str, JsonValue]
    confidence: float


class CircuitSucceededEntry(Entry):
    """A circuit came to its outputs, by itself or through its failure mode."""

    kind: ClassVar[str] = "circuit.succeeded"

    execution_id: str
    circuit_id: str
    outputs: dict[str, JsonValue]
    confidence: float
    band: Literal["act", "monitor", "escalate"]
    latency_ms: float
    substituted: bool = False
    protected: dict[str, Handling] = Field(default_factory=dict)
    """Which outputs are not written as they are, and what became of them."""


class CircuitFailedEntry(Entry):
    """A circuit came to nothing that its failure mode could make good."""

    kind: ClassVar[str] = "circuit.failed"

    execution_id: str
    circuit_id: str
    failure_mode: FailureMode | None = None
    code: Literal["missing_input", "unknown_circuit", "failed"]
    reason: str
    latency_ms: float = 0.0


class ChainEndedEntry(Entry):
    """A chain came to its end, or stopped."""

    kind: ClassVar[str] = "circuit.chain_ended"

    execution_id: str
    client_id: str
    circuits: tuple[str, ...]
    success: bool
    confidence: float
    decision_path: tuple[str, ...]
    latency_ms: float


class StrategyRegisteredEntry(PersonEntry):
    """A strategy may be rotated to, or may no longer."""

    kind: ClassVar[str] = "circuit.strategy_registered"
    schema_version: ClassVar[int] = 2

    strategy_id: str
    success_rate: float = Field(ge=0, le=1)
    active: bool = True
    by: str


class CycleCountedEntry(Entry):
    """Metrics of a cycle came in: how it compares with the cycles before it under the same strategy."""

    kind: ClassVar[str] = "circuit.cycle_counted"
    schema_version: ClassVar[int] = 2

    strategy_id: str
    cycle: int
    engagement: float = Field(ge=0, le=1)
    conversion: float = Field(ge=0, le=1)
    baseline: float | None
    declining: bool
    decline_cycles: int
    measured: float = Field(default=1.0, ge=0, le=1)
    """How sure the metrics are."""
    frozen_baseline: float | None = None
    """What the next cycle is held against, as long as the strategy declines."""

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body of schema 1 as it was meant: metrics were taken as sure, no baseline was frozen."""
        return {**body, "measured": 1.0, "frozen_baseline": None}


class CorrectionEntry(Entry):
    """A strategy that declined was rotated or is watched, or a person is asked."""

    kind: ClassVar[str] = "circuit.corrected"
    schema_version: ClassVar[int] = 2

    log_id: str
    action: Literal["rotate_strategy", "log_and_monitor", "escalate_to_admin"]
    previous_strategy_id: str
    new_strategy_id: str | None = None
    reason: str
    confidence: float
    decline_cycles: int = 0
    """How many cycles in a row count as declining from here on: none under a new strategy."""

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body of schema 1 as it was meant: the count of declines began again."""
        return {**body, "decline_cycles": 0}


class EscalationOpenedEntry(Entry):
    """A person is to look at something; what comes of the same cause attaches to it while it is open."""

    kind: ClassVar[str] = "circuit.escalation_opened"

    escalation_id: str
    key: str
    cause: str
    reason: str
    about: dict[str, JsonValue] = Field(default_factory=dict)


class EscalationRepeatedEntry(Entry):
    """The cause of an open escalation was met again."""

    kind: ClassVar[str] = "circuit.escalation_repeated"

    escalation_id: str
    key: str
    reason: str


class EscalationClosedEntry(PersonEntry):
    """A person looked at it."""

    kind: ClassVar[str] = "circuit.escalation_closed"
    schema_version: ClassVar[int] = 2

    escalation_id: str
    by: str
    reason: str
