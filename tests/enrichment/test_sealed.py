"""What a critic is shown of a decision in which something is sealed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from loom import Actor, Command, Loom, LoomConfig
from loom.enrichment import CriticAnswer, CriticRequest, DecisionTracesConfig, EnrichmentConfig
from tests.contracts.outgoing import SUBJECT, OutgoingContract
from tests.enrichment.agents import CountingCritic


class Grant(Command[str]):
    subject_field = "customer"

    customer: str = SUBJECT
    outcome: dict[str, Any]


class Desk(Actor[None]):
    actor_type = "desk"

    async def execute(self, command: Grant) -> str:
        return await self.record_decision(
            rationale="somebody wrote", outcome=command.outcome, protect={"email": "seal", "phone": "seal"}
        )


class Listening(CountingCritic):
    """Keeps every character that it is shown, and what the request says in other ways."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = ""

    async def analyse(self, request: CriticRequest) -> CriticAnswer:
        self.heard += f"{request.instructions}{request.content}{request.decision.model_dump_json()}"
        return await super().analyse(request)


class TestCritic(OutgoingContract):
    def config(self, path: Path, named: Sequence[str]) -> LoomConfig:
        traces = DecisionTracesConfig(llm_enrichment=EnrichmentConfig(plain_fields=tuple(named)))
        return LoomConfig(data=path, sections={"decision_traces": traces})

    def open(self, config: LoomConfig) -> Loom:
        self.critic = Listening()
        return Loom.open(config, by="mira", actors=[Desk], critic=self.critic)

    def place(self, field: str) -> str:
        return f"outcome.{field}"

    async def prepare(self, loom: Loom, fields: dict[str, JsonValue]) -> Any:
        return await loom.actor(Desk, "one").ask(Grant(outcome=fields))

    async def left(self, loom: Loom, prepared: Any) -> str:
        assert loom.enricher is not None
        assert await loom.enricher._ask((await loom.traces.get(prepared)).decision) == "enriched"
        return self.critic.heard
