"""How decisions are enriched: modes, the critic, the budget; in snake_case or the camelCase of older files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from loom.config import Section
from loom.spend.config import TimeZone

__all__ = ["BudgetsConfig", "CriticConfig", "CriticLlmConfig", "DecisionTracesConfig", "EnrichmentConfig"]


class CriticConfig(Section):
    """The request to the model. `worst_case_usd` is reserved for a call with an unknown price."""

    model: str | None = None
    temperature: float = Field(default=0.3, ge=0, le=2)
    max_tokens: int = Field(default=500, ge=1, le=100_000)
    max_input_tokens: int = Field(default=8_000, ge=100, le=1_000_000)
    worst_case_usd: float = Field(default=0.05, gt=0, le=1_000, allow_inf_nan=False)


class EnrichmentConfig(Section):
    """Which decisions a critic analyses, and its time limit; `timeout`, in older files, is in milliseconds."""

    mode: Literal["never", "hybrid", "always"] = "never"
    auto_enrich_on: tuple[str, ...] = ("exception", "approval", "synthesis")
    critic: CriticConfig = CriticConfig()
    in_background: bool = Field(default=True, alias="async")
    """Recording a decision never waits for a critic. If this is false, the reply of its turn waits, for `patience_s` at
    most."""
    timeout_s: float = Field(default=5.0, gt=0, le=600, allow_inf_nan=False)
    timeout: float | None = Field(default=None, gt=0, le=600_000, allow_inf_nan=False)
    concurrency: int = Field(default=8, ge=1, le=1_000)
    plain_fields: tuple[Annotated[str, Field(min_length=1, max_length=500)], ...] = ()
    """What of a decision a critic sees in plain though it is sealed: paths such as `facts.age`, `*` for any name."""

    @property
    def patience_s(self) -> float:
        """The time limit of a critic in seconds, from either form in the file."""
        return self.timeout_s if self.timeout is None else self.timeout / 1_000


class BudgetsConfig(Section):
    """The maximum spending on enrichment on one day of a time zone."""

    max_enrichments_per_day: int = Field(default=10_000, ge=0, le=10**9)
    max_cost_per_day: float = Field(default=50.0, ge=0, le=10**9, allow_inf_nan=False)
    time_zone: TimeZone = "UTC"


class DecisionTracesConfig(Section):
    """The section `decision_traces`."""

    llm_enrichment: EnrichmentConfig = EnrichmentConfig()
    budgets: BudgetsConfig = BudgetsConfig()


class CriticLlmConfig(Section):
    """The section `critic_llm`: which endpoint, with which key. The key is masked wherever it is shown.

    Where the mode is `never`, variables of endpoint and key need not be set.
    """

    provider: Literal["openai", "ollama", "gemini", "openai-compatible"] = "openai"
    base_url: str | None = None
    api_key: SecretStr | None = None
    model: str = "gpt-4o-mini"

    @classmethod
    def spares(cls, sections: Mapping[str, Section]) -> frozenset[str]:
        """Return the keys that are not needed until a decision asks for a critic by itself."""
        traces = sections.get("decision_traces")
        never = isinstance(traces, DecisionTracesConfig) and traces.llm_enrichment.mode == "never"
        return frozenset({"api_key", "base_url"}) if never else frozenset()
