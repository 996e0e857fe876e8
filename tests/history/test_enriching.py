"""Nothing asks a critic about history, until a person does; then the budget has the last word."""

from __future__ import annotations

from pathlib import Path

import pytest

from loom import Loom, LoomConfig
from loom.enrichment import BudgetsConfig, DecisionTracesConfig, EnrichmentConfig
from loom.enrichment.entries import ImportEnrichedEntry
from loom.errors import RunConflictError
from tests.cli.support import configured, invoke
from tests.enrichment.agents import CountingCritic
from tests.history.support import bank, rows


def config(path: Path, **budgets: float) -> LoomConfig:
    traces = DecisionTracesConfig(
        llm_enrichment=EnrichmentConfig.model_validate({"mode": "always"}),
        budgets=BudgetsConfig.model_validate(budgets),
    )
    return LoomConfig(data=path, sections={"decision_traces": traces})


async def test_a_person_has_an_import_enriched_and_what_is_enriched_is_passed_over(tmp_path: Path) -> None:
    critic = CountingCritic()
    async with Loom.open(config(tmp_path), by="robin", critic=critic) as loom:
        done = await loom.history.load(rows(7), bank(), by="vera")
        assert loom.enricher is not None
        await loom.enricher.idle()
        assert critic.asked == []

        first = await loom.enricher.enrich_import(done.run_id, by="vera", limit=3)
        rest = await loom.enricher.enrich_import(done.run_id, by="vera")

        assert (first.enriched, rest.enriched) == (3, 4)
        assert len(set(critic.asked)) == len(critic.asked) == 7
        trace = await loom.traces.get(critic.asked[0])
        assert [each.status for each in trace.enrichments] == ["enriched"]
        asked = [each.entry async for each in loom.store.read("loom/enrichment")]
        assert [(each.by, each.identity_source) for each in asked if isinstance(each, ImportEnrichedEntry)] == [
            ("vera", "claimed")
        ] * 2


async def test_the_budget_ends_it_and_what_it_refused_is_asked_about_another_time(tmp_path: Path) -> None:
    critic = CountingCritic()
    async with Loom.open(config(tmp_path, max_enrichments_per_day=2), by="robin", critic=critic) as loom:
        done = await loom.history.load(rows(40), bank(), by="vera")
        assert loom.enricher is not None
        first = await loom.enricher.enrich_import(done.run_id, by="vera")
    async with Loom.open(config(tmp_path, max_enrichments_per_day=100), by="robin", critic=critic) as loom:
        assert loom.enricher is not None
        rest = await loom.enricher.enrich_import(done.run_id, by="vera")

    assert (first.enriched, first.exhausted) == (2, True)
    assert (rest.enriched, rest.exhausted) == (38, False)


async def test_only_an_import_that_has_ended_is_enriched(tmp_path: Path) -> None:
    async with Loom.open(config(tmp_path), by="robin", critic=CountingCritic()) as loom:
        run = await loom.runs.start(kind="simulation", by="vera")
        assert loom.enricher is not None
        with pytest.raises(RunConflictError, match="import that has ended"):
            await loom.enricher.enrich_import(run.run_id, by="vera")


def test_the_shell_says_that_there_is_no_critic(tmp_path: Path) -> None:
    place = configured(tmp_path)
    invoke("run", "--once", config=place)
    said = invoke("enrich", "--import", "x", "--by", "vera", config=place)
    assert said.code == 2
    assert "no critic is set up" in said.err


async def test_a_loom_that_follows_nothing_leaves_what_another_process_set_aside(tmp_path: Path) -> None:
    async with Loom.open(config(tmp_path), by="robin") as loom:
        await loom.budget.reserve("d", reservation_id="r", worst_case_micro_usd=1_000, patience_s=1.0)
        before = loom.store.acknowledged
    async with Loom.open(config(tmp_path), by="robin", critic=CountingCritic(), resume=False) as loom:
        assert loom.enricher is not None
    async with Loom.open(config(tmp_path), by="robin", resume=False) as loom:
        written = [each.kind async for each in loom.store.read_all(after=before)]

    assert "budget_settled" not in written
