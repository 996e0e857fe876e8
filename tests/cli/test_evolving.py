"""`loom suggestions`, `loom metrics` and `loom budget` by hand."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from loom import Loom
from loom.cli.commands.decisions import _cells
from loom.cli.listing import rows_of
from loom.cli.output import Output
from loom.decisions import DecisionSummary
from loom.decisions.alerts import ALERT_JOURNAL, AnomalyFoundEntry
from loom.journal import Append
from tests.cli.agents import Note, NoteAgent
from tests.cli.support import CONFIG, configured, invoke
from tests.cli.test_reading import on_a_terminal
from tests.evolution.test_suggestions import Ask, Seller, exceptions


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "loom.config.yaml"
    path.write_text(CONFIG.format(workspace="main", module="tests.evolution.test_suggestions:Seller"))

    async def fill() -> None:
        async with Loom.open(path, by="robin") as loom:
            await exceptions(loom, 12)

    asyncio.run(fill())
    return path


def test_a_suggestion_is_looked_for_shown_and_adopted(config: Path) -> None:
    assert "loom suggestions look" in invoke("suggestions", config=config).out
    looked = invoke("suggestions", "look", "--by", "vera", config=config)
    assert looked.code == 0
    assert "industry is health, percent is 15 to 17" in looked.out
    assert invoke("suggestions", "look", "--by", "vera", config=config).out.startswith("Nothing new")
    [listed] = invoke("suggestions", "--json", config=config).json
    shown = invoke("suggestions", "show", listed["suggestion_id"][:6], config=config)
    assert "12 that were require_approval:vp" in shown.out
    alone = invoke("suggestions", "adopt", listed["suggestion_id"], "--by", "vera", "-m", "the rule", config=config)
    assert alone.code == 1
    approved = invoke(
        "suggestions", "approve", listed["suggestion_id"], "--by", "vera", "-m", "the rule", config=config
    )
    assert approved.code == 0
    alone = invoke("suggestions", "adopt", listed["suggestion_id"], "--by", "Vera", "-m", "the rule", config=config)
    assert alone.code == 1
    adopted = invoke("suggestions", "adopt", listed["suggestion_id"], "--by", "kim", "-m", "I agree", config=config)
    assert adopted.code == 0
    assert "new turns pin it" in adopted.out
    refused = invoke("suggestions", "reject", listed["suggestion_id"], "--by", "vera", "-m", "no", config=config)
    assert refused.code == 1
    assert invoke("suggestions", "show", "nothing", config=config).code == 1


def test_figures_are_shown_in_groups_and_over_time(config: Path) -> None:
    said = invoke("metrics", config=config)
    assert said.code == 0
    assert "exception" in said.out
    document = invoke("metrics", "--by", "policy_version", "--json", config=config).json
    assert document["all"]["decisions"] == 12
    assert document["all"]["exception_rate"] == 1.0
    trend = invoke("metrics", "--trend", "decisions", "--days", "10", config=config)
    assert trend.code == 0
    assert "fewer than 30 days" in trend.out or "a day by least squares" in trend.out


@pytest.mark.parametrize("columns", [80, 120])
def test_figures_and_decisions_can_be_read_on_a_narrow_terminal(config: Path, columns: int) -> None:
    for command in (["metrics"], ["metrics", "--by", "policy_version"], ["decisions"]):
        shown = re.sub(r"\x1b\[[0-9;]*m", "", on_a_terminal(*command, "-c", str(config), columns=columns))
        lines = [line.rstrip() for line in shown.splitlines()]
        assert max(map(len, lines)) <= columns
        assert "…" not in shown.partition("─")[0]  # every title is whole
        if command[0] == "metrics":
            assert "not observed" in shown
            assert " 12 " in shown
        else:
            assert sum("granted=true" in line for line in lines) == 12


def test_a_long_rationale_takes_few_lines_of_a_narrow_terminal(config: Path) -> None:
    async def newest() -> DecisionSummary:
        async with Loom.open(config, by="robin") as loom:
            [found] = await loom.traces.find(limit=1)
        long = "the customer had three outages in a quarter; " * 4
        return found.model_copy(
            update={
                "decision_type": "policy_application",
                "outcome": {"granted": True, "percent": 15},
                "rationale": long,
            }
        )

    output, written = Output(), StringIO()
    output.console = Console(file=written, width=80, force_terminal=True, color_system=None)
    found = [asyncio.run(newest())]
    rows_of(output, found, _cells(output, found))
    shown = written.getvalue().splitlines()
    assert "granted=true" in shown[2]
    assert len(shown) < 10, "\n".join(shown)


def test_decisions_show_their_outcome_and_whether_it_went_against_the_rule(config: Path) -> None:
    async def go_against() -> None:
        async with Loom.open(config, by="robin") as loom:
            await loom.actor(Seller, "bold").ask(Ask(industry="health", percent=16, grant=True), by="ana")

    asyncio.run(go_against())
    last, *_, first = invoke("decisions", "--json", config=config).json
    assert last["outcome"] == {"granted": True}
    assert (last["verdict"], last["departure"]) == ("granted", "granted_without_consent")
    assert (first["verdict"], first["departure"]) == ("granted", None)
    assert invoke("decisions", config=config).out.count("against its rule") == 1
    said = invoke("metrics", config=config).out
    assert "without the approval that the rule requires: asked for by ana (claimed) 1; for example" in said
    [departed] = invoke("metrics", "--json", config=config).json["departures"]
    assert (departed["decisions"], departed["people"]) == (1, {"ana (claimed)": 1})
    assert departed["actor_types"] == {"suggested-seller": 1}


def test_a_pattern_of_a_rule_in_python_is_told_with_why_there_is_no_suggestion(tmp_path: Path) -> None:
    config = configured(tmp_path)

    async def fill() -> None:
        async with Loom.open(config, by="robin") as loom:
            for number in range(12):
                asked = asyncio.create_task(
                    loom.actor(NoteAgent, "a").ask(Note(text=f"heavy {number}", topic="poetry", weight=20), by="bob")
                )
                while not (waiting := await loom.approvals.pending()):
                    await asyncio.wait([asked], timeout=0.01)
                await loom.approvals.grant(waiting[0].approval_id, by="dana", comment="fine")
                await asked

    asyncio.run(fill())
    said = invoke("suggestions", "look", "--by", "vera", config=config)
    assert said.code == 0
    assert said.out.startswith("Nothing new that is worth a rule.")
    assert "[notes] is a rule in Python, and loom writes tables, no code: 12 of its exceptions were granted" in said.err
    assert "where topic is poetry, weight is 20 to 20" in said.err
    assert invoke("suggestions", "look", "--by", "vera", "--policy", "other", config=config).err == ""


def test_days_that_stood_out_are_shown_with_the_figures(config: Path) -> None:
    found = [
        AnomalyFoundEntry(
            measure="denial_rate",
            day=datetime(2026, 4, day, tzinfo=UTC),
            value=1.0,
            expected=0.1,
            deviations=4.5,
            severity="critical",
        )
        for day in range(1, 13)
    ]

    async def write() -> None:
        async with Loom.open(config, by="robin") as loom:
            for sequence, entry in enumerate(found):
                await loom.store.append(Append(ALERT_JOURNAL, sequence, (loom.draft(entry),)))

    assert invoke("metrics", "--json", config=config).json["alerts"] == []
    assert "stood out" not in invoke("metrics", config=config).out
    asyncio.run(write())
    said = invoke("metrics", config=config).out
    assert "Unusual days" in said
    assert said.index("2026-04-12") < said.index("2026-04-03")
    assert "2026-04-02" not in said
    assert "10 of 12 are listed" in said
    assert len(invoke("metrics", "--json", config=config).json["alerts"]) == 12


def test_the_budget_of_today_is_shown(config: Path) -> None:
    said = invoke("budget", "--json", config=config)
    assert said.code == 0
    assert (said.json["calls"], said.json["max_calls"], said.json["left_usd"]) == (0, 10_000, 50.0)
    assert "US dollars" in invoke("budget", config=config).out
