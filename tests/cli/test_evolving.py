"""`loom suggestions`, `loom metrics` and `loom budget` by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from loom import Loom
from tests.cli.support import CONFIG, invoke
from tests.evolution.test_suggestions import exceptions


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
    adopted = invoke("suggestions", "adopt", listed["suggestion_id"], "--by", "vera", "-m", "the rule", config=config)
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


def test_the_budget_of_today_is_shown(config: Path) -> None:
    said = invoke("budget", "--json", config=config)
    assert said.code == 0
    assert (said.json["calls"], said.json["max_calls"], said.json["left_usd"]) == (0, 10_000, 50.0)
    assert "US dollars" in invoke("budget", config=config).out
