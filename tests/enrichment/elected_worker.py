"""A node of several that decides, and whose critic writes down each call: for `test_elected.py`.

`python -m tests.enrichment.elected_worker URL DIRECTORY NAME`; a line on stdin is a command: `decide N`, `idle`, `end`.
The critic waits for the file `DIRECTORY/../go`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from loom import Actor, Command, Loom, LoomConfig
from loom.decisions.analysis import Analysis, RiskAssessment
from loom.engine.local import LocalEngine
from loom.enrichment import DecisionTracesConfig, EnrichmentConfig
from loom.enrichment.critic import CriticAnswer, CriticRequest


class Decide(Command[str]):
    number: int


class Desk(Actor):
    async def execute(self, command: Decide) -> str:
        return await self.record_decision(rationale="because", outcome={"number": command.number})


class Noted:
    """A critic that writes down, in one file for all processes, who was asked about what."""

    worst_case_micro_usd = 1_000

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name

    async def analyse(self, request: CriticRequest) -> CriticAnswer:
        with (self._directory / "calls").open("a") as calls:
            calls.write(f"{self._name} {request.decision_id}\n")
        while not (self._directory / "go").exists():
            await asyncio.sleep(0.01)
        said = Analysis(deeper_rationale="it is so", risk=RiskAssessment(level="low"), confidence=0.5)
        return CriticAnswer(said, model="none", cost_micro_usd=1_000)


async def main(url: str, directory: Path, name: str) -> None:
    traces = DecisionTracesConfig(llm_enrichment=EnrichmentConfig(mode="always", concurrency=2))
    config = LoomConfig.model_validate({"data": directory, "workspace": "w", "journal": {"url": url}})
    config = config.model_copy(update={"sections": {"decision_traces": traces}})
    critic = Noted(directory.parent, name)
    loom = Loom.open(config, actors=[Desk], by="ops", critic=critic, engine=lambda _: LocalEngine())
    made = 0
    async with loom:
        print(json.dumps({"pid": os.getpid(), "writer": loom.store.writer}), flush=True)
        while line := (await asyncio.to_thread(sys.stdin.readline)).split():
            if line[0] == "decide":
                for number in range(made, made + int(line[1])):
                    await loom.actor(Desk, f"{name}-{number}").ask(Decide(number=number))
                made += int(line[1])
            elif line[0] == "idle":
                assert loom.enricher is not None
                await loom.store.refresh()
                await loom.enricher.idle()
            else:
                break
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
