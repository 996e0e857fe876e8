"""Nothing acts on history, live or after a rebuild: one of each is installed, and none is called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loom import Loom, LoomConfig
from loom.decisions.alerts import AnomalyFoundEntry
from loom.decisions.entries import DECISIONS
from loom.enrichment import BudgetsConfig, DecisionTracesConfig, EnrichmentConfig
from loom.journal.entry import Recorded
from loom.journal.kinds import OWN_IDS
from loom.monitors import Monitor, watch
from loom.monitors.monitor import Observation
from loom.reactors import Reaction
from tests.actors.agents import discount
from tests.enrichment.agents import Clerk, CountingCritic, Decide
from tests.history.support import bank, rows


class Everything:
    """A reactor that asks for decisions of both kinds, and for what an import says of itself."""

    name = "everything"
    kinds = DECISIONS | {"run_started"}

    def __init__(self) -> None:
        self.seen: list[str] = []

    def react(self, recorded: Recorded) -> Sequence[Reaction]:
        self.seen.append(recorded.kind)
        return ()


class Approver:
    """Takes note of whom it was to tell."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    async def deliver(self, request: Any, *, journal: str) -> None:
        self.told.append(request)


async def test_nothing_acts_on_what_was_imported_live_or_after_a_rebuild(tmp_path: Path) -> None:
    reactor, approver, critic = Everything(), Approver(), CountingCritic()
    watched: list[str] = []

    def observe(recorded: Recorded) -> Observation | None:
        watched.append(recorded.kind)
        return None

    async def intervene(finding: Any) -> None:
        raise AssertionError("nobody is to step in")

    monitor = Monitor(
        name="watching", kinds=DECISIONS, policy=discount, observe=observe, facts=lambda *_: None, intervene=intervene
    )
    traces = DecisionTracesConfig(
        llm_enrichment=EnrichmentConfig.model_validate({"mode": "always"}), budgets=BudgetsConfig()
    )
    config = LoomConfig(data=tmp_path, sections={"decision_traces": traces})
    async with Loom.open(config, actors=[Clerk], by="robin", critic=critic, approver=approver) as loom:
        loom.reactors.add(reactor)
        await watch(loom, monitor)
        await loom.actor(Clerk, "a").ask(Decide(kind="exception"))  # all of them are at work

        async def calls() -> dict[str, int]:
            await loom.reactors.reached()
            assert loom.enricher is not None
            await loom.enricher.idle()
            alerts = await loom.alerts.look()
            found = [each.entry async for each in loom.store.read_all()]
            return {
                "reactor": reactor.seen.count("decision_observed"),
                "monitor": watched.count("decision_observed"),
                "critic": len(critic.asked),
                "spent": (await loom.budget.today()).calls,
                "approver": len(approver.told),
                "alerts": len(alerts),
                "anomalies": sum(isinstance(each, AnomalyFoundEntry) for each in found),
                "standings": sum(each.kind == "standing_changed" for each in found),
                "suggestions": len(await loom.suggestions.look()),
                "departures": len(await loom.metrics.departures()),
            }

        before = await calls()
        assert (reactor.seen, watched, before["critic"]) == (["decision"], ["decision"], 1)
        await loom.history.load(rows(60), bank(), by="vera")
        assert await calls() == before
        assert reactor.seen == ["decision", "run_started"]  # that somebody imported is no history
        await loom.rebuild()
        assert await calls() == before
        assert (await loom.metrics.of(origin="observed")).decisions == 60
    critic.asked.clear()
    watched.clear()
    again = Everything()
    async with Loom.open(config, actors=[Clerk], by="robin", critic=critic, approver=approver) as loom:
        again.name = "again"
        loom.reactors.add(again)  # a new one begins with the first entry there is
        await watch(loom, monitor)
        await loom.reactors.reached()
        assert loom.enricher is not None
        await loom.enricher.idle()
        assert again.seen == ["decision", "run_started"]
        assert watched == []  # its place was kept, and history behind it is none of its
        assert critic.asked == []
    assert {"decision_observed"} == OWN_IDS
