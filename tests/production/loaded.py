"""A loom under load with the metrics of the page: decisions, exceptions, look-ups, a critic that fails at times."""

from __future__ import annotations

import asyncio
import runpy
import sys
from itertools import count
from pathlib import Path

from loom import Actor, Command, Loom, LoomConfig
from loom.decisions import Analysis, Decision
from loom.enrichment import DecisionTracesConfig, EnrichmentConfig, ScriptedCritic
from loom.errors import CriticError
from tests.enrichment.agents import opinion


class Claim(Command[str]):
    number: int


class Desk(Actor[None]):
    async def execute(self, command: Claim) -> str:
        await self.gather_context(
            system=f"crm-{command.number % 2}", entity="account", query=str(command.number), fetcher=lambda: {"is": 1}
        )
        kind = "exception" if command.number % 4 == 0 else "policy_application"
        return await self.record_decision(
            rationale="it had to be",
            decision_type=kind,
            is_exception=command.number % 4 == 0,
            outcome={"granted": True, "number": command.number},
        )


def judged(decision: Decision) -> Analysis:
    number = (decision.outcome or {}).get("number", 0)
    if isinstance(number, int) and number % 3 == 0:
        raise CriticError("the endpoint does not answer")
    return opinion(decision)


async def main(data: Path) -> None:
    """Work until the process is ended."""
    traces = DecisionTracesConfig(llm_enrichment=EnrichmentConfig(mode="always"))
    config = LoomConfig(data=data, sections={"decision_traces": traces})
    async with Loom.open(config, actors=[Desk], by="robin", critic=ScriptedCritic(judged)) as loom:
        for number in count():
            await loom.actor(Desk, f"d{number % 8}").ask(Claim(number=number), by="ada")
            if number == 0:
                print("under way", flush=True)
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    runpy.run_path(sys.argv[1])  # the block of the page
    asyncio.run(main(Path(sys.argv[2])))
