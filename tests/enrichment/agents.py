"""An agent whose decisions are enriched, and critics without a model."""

from __future__ import annotations

import asyncio
from typing import Literal

from loom import Actor, Command
from loom.decisions import Analysis, CriticalFactor, Decision, RiskAssessment
from loom.enrichment import CriticAnswer, CriticRequest


class Decide(Command[str]):
    kind: str = "exception"
    why: str = "it had to be"
    enrich: Literal["always", "never"] | None = None


class Clerk(Actor[None]):
    actor_type = "clerk"

    async def execute(self, command: Decide) -> str:
        return await self.record_decision(
            rationale=command.why, decision_type=command.kind, outcome={"granted": True}, enrich=command.enrich
        )


def opinion(decision: Decision) -> Analysis:
    return Analysis(
        deeper_rationale=f"about {decision.rationale}",
        critical_factors=(CriticalFactor(factor="size", impact="high", reasoning="it is large"),),
        risk=RiskAssessment(level="low"),
        confidence=0.8,
    )


class CountingCritic:
    """Counts how many calls are under way, and holds them until it is let go on."""

    def __init__(self, *, worst_case_micro_usd: int = 10_000, cost_micro_usd: int | None = 4_000) -> None:
        self.worst_case_micro_usd = worst_case_micro_usd
        self.cost_micro_usd = cost_micro_usd
        self.asked: list[str] = []
        self.called = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()
        self.error: Exception | None = None

    async def analyse(self, request: CriticRequest) -> CriticAnswer:
        self.asked.append(request.decision_id)
        self.called.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return CriticAnswer(opinion(request.decision), model="counting", cost_micro_usd=self.cost_micro_usd)
