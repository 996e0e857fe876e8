"""Enrichment: critics that annotate decisions, without influence on them, within a budget."""

from __future__ import annotations

from loom.enrichment.budget import Budget, BudgetDay
from loom.enrichment.config import BudgetsConfig, CriticConfig, CriticLlmConfig, DecisionTracesConfig, EnrichmentConfig
from loom.enrichment.critic import Critic, CriticAnswer, CriticRequest, ScriptedCritic
from loom.enrichment.enricher import Enricher

__all__ = [
    "Budget",
    "BudgetDay",
    "BudgetsConfig",
    "Critic",
    "CriticAnswer",
    "CriticConfig",
    "CriticLlmConfig",
    "CriticRequest",
    "DecisionTracesConfig",
    "Enricher",
    "EnrichmentConfig",
    "ScriptedCritic",
]
