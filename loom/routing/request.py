"""What is routed: a request, and the agents that could take it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from loom.errors import AdmissionError

__all__ = [
    "DIFFICULTIES",
    "RISKS",
    "Availability",
    "Candidate",
    "ContextSize",
    "Difficulty",
    "Metric",
    "Risk",
    "RoutingRequest",
    "check_candidates",
]

Metric: TypeAlias = Literal["cost", "latency", "accuracy", "risk_min", "balanced"]
"""What a request asks for, or an agent is best at."""

Difficulty: TypeAlias = Literal["low", "medium", "high"]
Risk: TypeAlias = Literal["strict", "balanced", "fast"]
"""How much risk a request tolerates, or an agent takes."""

Availability: TypeAlias = Literal["available", "degraded", "unavailable"]
"""What the last health check said; a soft failure makes an agent degraded."""

ContextSize: TypeAlias = Literal["small", "medium", "large"]
"""A bucket of how much context goes with a request, and nothing of what is in it."""

DIFFICULTIES: tuple[Difficulty, ...] = ("low", "medium", "high")
RISKS: tuple[Risk, ...] = ("strict", "balanced", "fast")

MAX_CANDIDATES = 200

AgentId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RoutingRequest(_Frozen):
    """A task to be done. Of its description only its presence counts."""

    description: str
    metric: Metric = "balanced"
    domain: str
    tools: tuple[str, ...] = ()
    difficulty: Difficulty = "medium"
    risk: Risk = "balanced"
    tasks: tuple[str, ...] = ()
    mode: str = "default"
    context_size: ContextSize | None = None


class Candidate(_Frozen):
    """An agent as it stands when the request comes: what it is for, and whether it is there."""

    agent: AgentId
    metric: Metric = "balanced"
    domains: tuple[str, ...]
    tools: tuple[str, ...] = ()
    difficulty: Difficulty = "high"
    risk: Risk = "balanced"
    tasks: tuple[str, ...] = ()
    modes: tuple[str, ...] = ("default",)
    availability: Availability = "available"


def check_candidates(candidates: Sequence[Candidate]) -> None:
    """Raise `AdmissionError` for an agent that stands there twice, or for more agents than can be looked at."""
    twice = sorted(agent for agent, times in Counter(each.agent for each in candidates).items() if times > 1)
    if twice:
        raise AdmissionError(
            f"candidates name [{', '.join(twice)}] more than once; expected each agent once: drop the others",
            path="$.candidates",
        )
    if len(candidates) > MAX_CANDIDATES:
        raise AdmissionError(
            f"there are [{len(candidates)}] candidates; expected at most [{MAX_CANDIDATES}]: narrow them down first",
            path="$.candidates",
        )
