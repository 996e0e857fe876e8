"""The entries of routing: executions, settings, the kill switch, and answers that came from outside the router."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import Field

from loom.journal.entry import Entry, PersonEntry
from loom.routing.config import Mode
from loom.routing.request import AgentId, ContextSize

__all__ = [
    "AnsweredWithBaselineEntry",
    "ExecutionEntry",
    "KillSwitchEngagedEntry",
    "KillSwitchRearmedEntry",
    "OptimizationSetEntry",
    "StopCondition",
]

StopCondition: TypeAlias = Literal[
    "decision_missing", "foreign_entry", "replay_diverged", "signal_refused", "switch_failed", "not_explainable"
]
"""What stops optimisation by itself, in the order of the rollout's matrix: `loom.routing.stops` says when."""


class ExecutionEntry(Entry):
    """An agent was run: how long it took, what it cost, whether it came to its end. Nothing of what it said."""

    kind: ClassVar[str] = "care.execution"

    agent: AgentId
    succeeded: bool
    """Whether the run completed without failure or halt, and nothing else: no judgement of what came out."""
    latency_ms: float = Field(ge=0, allow_inf_nan=False)
    cost_micro_usd: int | None = Field(default=None, ge=0)
    recovered: bool = False
    """Whether there was a recovery on the way; its kind is not recorded here."""
    context_size: ContextSize | None = None


class OptimizationSetEntry(PersonEntry):
    """It was set what history may do to choices from here on."""

    kind: ClassVar[str] = "care.optimization_set"
    schema_version: ClassVar[int] = 3
    """2: there is a mode `stable`; 3: the name has a source."""
    sources_since: ClassVar[int] = 3

    mode: Mode
    version: str
    by: str
    reason: str | None = None
    source: Literal["config", "person"] = "person"

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return the body of an older schema, which lacks what is optional now."""
        return body if version == 1 else super().upcast(version, body)


class AnsweredWithBaselineEntry(Entry):
    """The caller had the baseline before the router could answer: the optimised choice, if there is one, is not used.

    `decision_id` is the decision that chose it, None where the router had not come so far.
    """

    kind: ClassVar[str] = "care.answered_with_baseline"

    request_id: str
    agent: str | None
    decision_id: str | None = None
    reason: str


class KillSwitchEngagedEntry(PersonEntry):
    """Optimisation was stopped: from here on choices are the baseline's."""

    kind: ClassVar[str] = "care.kill_switch_engaged"
    schema_version: ClassVar[int] = 3
    """2: it says which stop condition engaged it, and on which request; 3: the name has a source."""
    sources_since: ClassVar[int] = 3

    by: str
    trigger: Literal["person", "system"]
    reason: str
    condition: StopCondition | None = None
    request_id: str | None = None

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return the body of an older schema, which lacks what is optional now."""
        return body if version == 1 else super().upcast(version, body)


class KillSwitchRearmedEntry(PersonEntry):
    """A person let optimisation work again, as far as the mode allows.

    After a stop condition it names the cause, and the request whose replay has passed.
    """

    kind: ClassVar[str] = "care.kill_switch_rearmed"
    schema_version: ClassVar[int] = 3
    """2: it may name a cause and a replay; 3: the name has a source."""
    sources_since: ClassVar[int] = 3

    by: str
    reason: str
    cause: str | None = None
    replayed: str | None = None

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return the body of an older schema, which lacks what is optional now."""
        return body if version == 1 else super().upcast(version, body)
