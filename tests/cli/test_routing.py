"""`loom routing` by hand: beside nobody, and on a loom that runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from loom import Loom
from loom.routing import Router
from tests.cli.support import RunningLoom, invoke
from tests.projections.tampering import tamper
from tests.routing.support import CANDIDATES, REQUEST, history_for_b

CONFIG = "data: data\nworkspace: main\ncareOptimization: {enabled: true, mode: active, killSwitch: true}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "loom.config.yaml"
    path.write_text(CONFIG)

    async def fill() -> None:
        async with Loom.open(path, by="robin") as loom:
            await history_for_b(loom)
            await Router.of(loom).choose(REQUEST, CANDIDATES, request_id="r-1")

    asyncio.run(fill())
    return path


def test_status_and_timeline_are_read_beside_whoever_runs(config: Path) -> None:
    said = invoke("routing", config=config)
    assert said.code == 0
    assert "active" in said.out
    assert "by robin (claimed, via config) (from the config)" in said.out
    assert "1 times" in said.out
    document = invoke("routing", "status", "--json", config=config).json
    assert (document["mode"], document["killed"], document["decisions"]) == ("active", False, 1)
    timeline = invoke("routing", "timeline", config=config)
    assert timeline.out.startswith("[CARE Routing Optimized]\nBaseline would have selected: agent-a\n")
    assert "\nConfidence is n / (n + 10) * (0.5 + min(lead, 0.5)) = 50 / 60 * (0.5 + " in timeline.out
    [entry] = invoke("routing", "timeline", "--json", config=config).json
    assert (entry["baseline_agent"], entry["optimized_agent"]) == ("agent-a", "agent-b")


def test_a_choice_that_history_changed_is_confirmed_by_an_audit_from_the_shell(config: Path) -> None:
    found = invoke("policies", "audit", "--json", config=config)
    assert (found.code, found.json["confirmed"], found.json["decisions"]) == (0, 1, 1)


def test_the_switch_the_mode_and_a_replay_work_without_a_running_loom(config: Path) -> None:
    assert invoke("routing", "kill", "--by", "vera", "-m", "odd", config=config).code == 0
    assert "engaged, by vera (claimed, via shell): odd" in invoke("routing", config=config).out
    assert invoke("routing", "rearm", "-m", "fine", config=config, env={"LOOM_BY": "vera"}).code == 0
    changed = invoke("routing", "mode", "shadow", "--by", "vera", "-m", "first look", "--json", config=config)
    assert (changed.json["mode"], changed.json["set_by"], changed.json["source"]) == ("shadow", "vera", "person")
    replayed = invoke("routing", "replay", "r-1", "--by", "vera", config=config)
    assert (replayed.code, replayed.out) == (0, "chosen was agent-b, now agent-b: the same\n")
    assert invoke("routing", "replay", "r-2", "--by", "vera", config=config).code == 1
    assert invoke("routing", "mode", "sometimes", "--by", "vera", config=config).code == 2
    assert invoke("routing", "kill", "--by", "vera", config=config).code == 2


def test_after_a_stop_the_shell_says_which_and_re_arms_with_a_cause_alone(config: Path) -> None:
    async def stop() -> None:
        async with Loom.open(config, by="robin") as loom:
            await Router.of(loom).switch.stop_for("not_explainable", reason="for the test", request_id="r-1")

    asyncio.run(stop())
    said = " ".join(invoke("routing", config=config).out.split())
    assert "engaged, by loom (system): for the test (not_explainable; `loom routing rearm` takes --cause" in said
    [views] = config.parent.glob("data/*/*views*.db")
    assert tamper(views, "DELETE FROM care_state WHERE what = 'switch'") == 1
    hidden = invoke("routing", "status", "--json", config=config).json
    assert (hidden["killed"], hidden["switch_condition"]) == (True, "not_explainable"), "the switch has its own journal"
    assert invoke("routing", "rearm", "--by", "vera", "-m", "fine", config=config).code == 1
    wrong = ("--cause", "a bad merge", "--replay", "nobody")
    assert invoke("routing", "rearm", "--by", "vera", "-m", "fine", *wrong, config=config).code == 1
    rearmed = invoke(
        "routing", "rearm", "--by", "vera", "-m", "fine", "--cause", "a bad merge", "--json", config=config
    )
    assert (rearmed.code, rearmed.json["killed"], rearmed.json["switch_condition"]) == (0, False, None)


def test_stable_is_a_mode_that_can_be_set_and_configured(config: Path) -> None:
    config.write_text(CONFIG.replace("mode: active", "mode: stable"))
    changed = invoke("routing", "mode", "stable", "--by", "vera", "-m", "a quarter without a surprise", config=config)
    assert changed.code == 0
    assert invoke("routing", "status", "--json", config=config).json["mode"] == "stable"


def test_a_kill_from_the_shell_reaches_the_loom_that_runs(config: Path) -> None:
    with RunningLoom(config):
        killed = invoke("routing", "kill", "--by", "vera", "-m", "now", "--json", config=config)
        assert (killed.code, killed.json["killed"], killed.json["switch_by"]) == (0, True, "vera")
        assert invoke("routing", "status", "--json", config=config).json["killed"] is True


def test_an_empty_journal_has_a_status_and_no_timeline(tmp_path: Path) -> None:
    path = tmp_path / "loom.config.yaml"
    path.write_text("data: data\n")
    asyncio.run(_nothing(path))
    assert "not set at run time" in invoke("routing", config=path).out
    assert invoke("routing", "timeline", config=path).out == "History has changed no choice.\n"


async def _nothing(path: Path) -> None:
    async with Loom.open(path, by="robin"):
        pass


def test_a_config_that_would_have_no_kill_switch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "loom.config.yaml"
    path.write_text("care_optimization: {kill_switch: false}\n")
    said = invoke("routing", config=path)
    assert said.code == 2
    assert "care_optimization.kill_switch" in said.err
