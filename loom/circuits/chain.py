"""What a chain of circuits is asked for with, and what comes back of it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from loom.actors import Command
from loom.circuits.entries import Provenance

__all__ = ["ChainReply", "RunChain", "Step", "StepReply"]


class Step(BaseModel):
    """A circuit of a chain, and what is given to it besides what earlier ones found."""

    model_config = ConfigDict(frozen=True)

    circuit_id: str
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    unwritten: tuple[str, ...] = ()
    """Inputs that were given and are not to be written, or not as they are."""
    proof: str | None = None
    """A keyed hash of these, by which the same request is distinguished from another; without a vault there is none."""


class StepReply(BaseModel):
    """What came of a circuit."""

    model_config = ConfigDict(frozen=True)

    circuit_id: str
    success: bool
    data: dict[str, JsonValue] = Field(default_factory=dict)
    confidence: float = 0.0
    latency_ms: float = 0.0
    substituted: bool = False
    error: str | None = None
    code: str | None = None
    provenance: Provenance = Field(default_factory=dict)
    decision_trace: tuple[str, ...] = ()


class ChainReply(BaseModel):
    """What came of a chain: the results so far, the outputs together, and the path."""

    model_config = ConfigDict(frozen=True)

    execution_id: str
    success: bool
    confidence: float
    results: tuple[StepReply, ...]
    total_decision_path: tuple[str, ...]

    @property
    def final_output(self) -> dict[str, JsonValue]:
        """The outputs of all circuits together; a later one has the last word."""
        return {name: value for result in self.results for name, value in result.data.items()}


class RunChain(Command[ChainReply]):
    """Run circuits one after the other. `Circuits.run` makes it, which protects what is in it."""

    by_hand = False

    execution_id: str
    client_id: str
    steps: tuple[Step, ...] = Field(min_length=1, max_length=100)
