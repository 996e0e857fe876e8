"""A hundred subscribers want to leave: each offer is allowed, their mean is not, and only a person lets it go on."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cli.support import environment, invoke

EXAMPLE = Path(__file__).parents[2] / "examples" / "retention_drift"


def run(*arguments: str | Path, config: Path | None = None) -> str:
    chosen = ["--config", str(config)] if config is not None else []
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE / "run.py"), *map(str, arguments), *chosen],
        env=environment(USE_MOCK_LLM="1"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def quiet(tmp_path: Path) -> Path:
    """Return the config of the experiment without noise and volatility."""
    beside = tmp_path / "experiment"
    shutil.copytree(EXAMPLE, beside, ignore=shutil.ignore_patterns("__pycache__", "results", "*.db*", "default"))
    path = beside / "simulation.yaml"
    written = yaml.safe_load(path.read_text())
    written["simulation"] |= {"noise": 0.0, "volatility": 0.0}
    path.write_text(yaml.safe_dump(written))
    return beside / "config.yaml"


def test_without_noise_the_agent_is_suspended_after_decision_86(tmp_path: Path) -> None:
    said = run("--data", tmp_path / "data", "--no-report", config=quiet(tmp_path))
    assert "run_36_retention_01 stopped after 86 decisions: profitability_drift_monitor" in said
    assert "EXCEEDS" not in said, "every single offer was allowed"


def test_with_noise_it_is_close_to_it_and_the_same_every_time(tmp_path: Path) -> None:
    first = run("--data", tmp_path / "one", "--no-report")
    assert first == run("--data", tmp_path / "two", "--no-report")
    found = re.search(r"stopped after (\d+) decisions: profitability_drift_monitor", first)
    assert found is not None
    assert abs(int(found[1]) - 86) <= 3
    page = " ".join((EXAMPLE.parents[1] / "docs" / "gate.md").read_text(encoding="utf-8").split())
    assert f"after {found[1]} decisions their mean gives them away (without noise and volatility after 86)" in page


def test_a_second_run_is_a_second_run_and_only_a_person_lets_the_agent_go_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    run("--data", data, "--no-report")
    again = run("--data", data, "--no-report")
    assert "run_36_retention_02 stopped after 0 decisions: agent_already_suspended" in again
    third = run("--data", data, "--reinstate", "mira", "--reason", "the prices were raised")
    assert "retention-agent was reinstated by mira: the prices were raised" in third
    assert "run_36_retention_03 stopped after 85 decisions: profitability_drift_monitor" in third
    journal = data / "default" / "journal.db"
    runs = invoke("runs", "-j", journal, "--json").json
    assert sorted(each["run_id"] for each in runs) == [f"run_36_retention_0{number}" for number in (1, 2, 3)]
    assert invoke("verify", "-j", journal).code == 0
    report = next((data / "results").glob("*.html")).read_text(encoding="utf-8")
    assert "completed: profitability_drift_monitor" in report


def test_the_audit_is_read_by_hand_in_order(tmp_path: Path) -> None:
    data = tmp_path / "data"
    run("--data", data, "--no-report")
    [views] = (data / "default").glob("*views*.db")
    query = """
        SELECT dfid, event, json_extract(detail_json, '$.simulation_id') AS sim,
               json_extract(detail_json, '$.discount_offered') AS discount_pct
        FROM decision_audit_events
        WHERE json_extract(detail_json, '$.simulation_id') = 'run_36_retention_01'
        ORDER BY id ASC;
    """
    connection = sqlite3.connect(f"file:{views}?mode=ro", uri=True)
    rows = connection.execute(query).fetchall()
    connection.close()
    events = [row[1] for row in rows]
    assert events[0] == "SIMULATION_START"
    assert events[-2:] == ["AGENT_SUSPENDED", "SIMULATION_END"]
    one = ["CONTEXT_COMPILED", "POLICY_PROPOSAL", "DIM_VALIDATION", "AGENT_DECISION", "RETENTION_EXECUTED"]
    assert events[1:6] == one
    assert events[-8:-2] == [*one, "MONITOR_TICK"]
    assert sum(event == "RETENTION_EXECUTED" for event in events) == 85
    assert sum(event == "MONITOR_TICK" for event in events) == 66
    assert max(row[3] for row in rows if row[3] is not None) <= 15


def test_the_shell_shows_the_gate_and_writes_the_report_of_any_run(tmp_path: Path) -> None:
    data = tmp_path / "data"
    run("--data", data, "--no-report")
    journal = data / "default" / "journal.db"
    said = invoke("gate", "-j", journal)
    assert "discount_offered ≤ 15" in said.out
    assert "SUSPENDED  monitor profitability (system)  PROFITABILITY_DRIFT" in said.out
    audit = invoke("gate", "audit", "-j", journal, "--run", "run_36_retention_01", "-n", "3", "--json").json
    assert [each["event"] for each in audit] == ["MONITOR_TICK", "AGENT_SUSPENDED", "SIMULATION_END"]
    page = tmp_path / "page.html"
    written = invoke("report", "run_36", "-j", journal, "-o", page, "--json")
    assert (written.code, written.json["run"]) == (0, "run_36_retention_01")
    assert page.read_text(encoding="utf-8").count("VALIDATION_PASSED") >= 85
    assert invoke("report", "nothing", "-j", journal, "-o", page).code == 1
    of_time = invoke("report", "--since", "7d", "-j", journal, "-o", page, "--json")
    assert of_time.code == 0
    assert of_time.json["run"] is None
    backwards = ("--since", "1d", "--until", "2d")
    for wrong in (("run_36", "--since", "7d"), ("--until", "1d"), ("--since", "soon"), backwards):
        assert invoke("report", *wrong, "-j", journal, "-o", page).code == 2, wrong
    reinstated = invoke("gate", "reinstate", "retention-agent", "--by", "vera", "-m", "looked into", "-j", journal)
    assert (reinstated.code, reinstated.out) == (
        0,
        "retention-agent is ACTIVE by vera (claimed, via shell): looked into\n",
    )
    assert invoke("gate", "reinstate", "retention-agent", "--by", "vera", "-m", "again", "-j", journal).code == 1
    contract = EXAMPLE / "contract.yaml"
    assert invoke("gate", "register", contract, "--by", "vera", "-j", journal).code == 0


def test_an_endpoint_that_is_not_there_is_said_and_the_mock_speaks(tmp_path: Path) -> None:
    config = quiet(tmp_path)
    written = yaml.safe_load(config.read_text())
    written["llm_defaults"] = {"provider": "openai-compatible", "base_url": "http://127.0.0.1:9/v1", "timeout": 1}
    config.write_text(yaml.safe_dump(written))
    ran = subprocess.run(
        [sys.executable, EXAMPLE / "run.py", "--data", tmp_path / "data", "--no-report", "--config", config],
        env={name: value for name, value in environment().items() if name != "USE_MOCK_LLM"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "a mock model, as nobody answers at http://127.0.0.1:9/v1" in ran.stdout
    assert "stopped after 86 decisions" in ran.stdout


@pytest.mark.parametrize("name", ["config.yaml", "simulation.yaml", "contract.yaml"])
def test_the_files_of_the_experiment_are_there_to_be_changed(name: str) -> None:
    assert yaml.safe_load((EXAMPLE / name).read_text(encoding="utf-8"))


def test_the_cancellations_are_a_hundred() -> None:
    found = json.loads((EXAMPLE / "data" / "cancelation.json").read_text(encoding="utf-8"))
    assert len({each["id"] for each in found}) == 100
