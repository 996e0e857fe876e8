"""The analysis of a decision by a critic. It is an opinion: it is kept apart from the decision and never changes it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Analysis", "CriticalFactor", "DecisionAnalysis", "RiskAssessment", "WeighedAlternative"]


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")


class CriticalFactor(_Said):
    """One factor that was critical for the decision."""

    factor: str = Field(min_length=1, max_length=500)
    impact: Literal["high", "medium", "low"]
    reasoning: str = Field(max_length=2_000)


class RiskAssessment(_Said):
    """How risky the decision is, why, and what would help."""

    level: Literal["high", "medium", "low"]
    factors: tuple[str, ...] = Field(default=(), max_length=20)
    mitigation: str = Field(default="", max_length=2_000)


class WeighedAlternative(_Said):
    """An alternative to the decision."""

    option: str = Field(min_length=1, max_length=500)
    pros: tuple[str, ...] = Field(default=(), max_length=20)
    cons: tuple[str, ...] = Field(default=(), max_length=20)
    why_rejected: str = Field(default="", max_length=2_000)


class Analysis(_Said):
    """The part that the model itself fills in. Its name and the time are added by loom."""

    deeper_rationale: str = Field(min_length=1, max_length=8_000)
    critical_factors: tuple[CriticalFactor, ...] = Field(default=(), max_length=20)
    risk: RiskAssessment
    alternatives: tuple[WeighedAlternative, ...] = Field(default=(), max_length=20)
    precedent_relevance: str = Field(default="", max_length=4_000)
    confidence: float = Field(ge=0, le=1)


class DecisionAnalysis(Analysis):
    """An analysis with the model that gave it, and when."""

    model: str = Field(min_length=1, max_length=200)
    generated_at: datetime

    @classmethod
    def of(cls, analysis: Analysis, *, model: str, generated_at: datetime) -> DecisionAnalysis:
        """Return an analysis with its source."""
        return cls(**analysis.model_dump(), model=model, generated_at=generated_at)
