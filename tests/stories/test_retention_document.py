"""The document of the retention sample: its commands, its SQL and its printed forms, run as they are there."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.cli.support import environment, invoke

EXAMPLE = Path(__file__).parents[2] / "examples" / "retention_drift"

AUDIT = """
SELECT dfid, event, json_extract(detail_json, '$.simulation_id') AS sim,
       json_extract(detail_json, '$.discount_offered') AS discount_pct
FROM decision_audit_events
WHERE json_extract(detail_json, '$.simulation_id') = 'run_36_retention_01'
ORDER BY id ASC;
"""
"""The document's query for SQLite, letter by letter."""

EVENTS = {
    "SIMULATION_START",
    "SIMULATION_END",
    "CONTEXT_COMPILED",
    "POLICY_PROPOSAL",
    "DIM_VALIDATION",
    "AGENT_DECISION",
    "RETENTION_EXECUTED",
    "MONITOR_TICK",
    "AGENT_SUSPENDED",
}


class Ran(NamedTuple):
    """What a run of the sample left behind."""

    sample: Path
    said: str

    @property
    def reports(self) -> list[Path]:
        return sorted((self.sample / "results").glob("*.html"))


def python(script: str, sample: Path, *arguments: str | Path, cwd: Path | None = None, **env: str) -> str:
    chosen = {name: value for name, value in environment().items() if name not in ("OPEN_REPORT_HTML", "BROWSER")}
    path = str(sample / script) if cwd is None else script
    ran = subprocess.run(
        [sys.executable, "-W", "error", path, *map(str, arguments)],
        env={**chosen, "USE_MOCK_LLM": "1", **env},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        cwd=cwd,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Run the sample once, by the command of the document, in a copy of its directory."""
    beside = tmp_path_factory.mktemp("samples") / "36_drift_optimization_discount"
    ignored = shutil.ignore_patterns("__pycache__", "results", "retention_drift")
    shutil.copytree(EXAMPLE, beside, ignore=ignored)
    return Ran(beside, python("run.py", beside))


@contextmanager
def views(ran: Ran) -> Iterator[sqlite3.Connection]:
    [path] = (ran.sample / "data" / "retention_drift" / "default").glob("*views*.db")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        yield connection


# --- expected output -------------------------------------------------------------------------------


def test_the_console_has_dfid_tagged_lines_and_stops_as_the_document_says(sample: Ran) -> None:
    lines = sample.said.splitlines()
    assert "Stopped: profitability_drift_monitor" in lines
    tagged = [line for line in lines if line.startswith("[DFID=")]
    assert len(tagged) >= 8
    assert re.search(
        r"\[DFID=\w{12}\] decision 10/100 discount=\d\.\d+% - DIM accepts - monitor: window not full", sample.said
    )
    assert tagged[-1].endswith("] Agent state transition: retention-agent -> SUSPENDED (reason=PROFITABILITY_DRIFT)")
    with views(sample) as connection:
        known = {row[0][:12] for row in connection.execute(AUDIT) if row[0] is not None}
    assert {line[6:18] for line in tagged} <= known, "each tag names a flow of the audit"


def test_a_report_is_written_under_the_documents_name(sample: Ran) -> None:
    names = [path.name for path in sample.reports]
    assert re.fullmatch(r"report_\d{4}-\d\d-\d\d_\d{6}_run_36_retention_01\.html", names[0])
    assert f"report: {sample.reports[0]}" in sample.said


# --- database storage ------------------------------------------------------------------------------


def test_the_audit_query_of_the_document_runs_on_sqlite_letter_by_letter(sample: Ran) -> None:
    with views(sample) as connection:
        rows = connection.execute(AUDIT).fetchall()
    assert {row[1] for row in rows} == EVENTS
    assert {row[2] for row in rows} == {"run_36_retention_01"}
    offers = [row[3] for row in rows if row[1] == "RETENTION_EXECUTED"]
    assert len(offers) == 85
    assert 0 <= min(offers) <= max(offers) <= 15
    assert all(row[0] for row in rows if row[1] not in ("SIMULATION_START", "SIMULATION_END"))


def test_the_agent_registry_holds_the_handshake_contract_and_the_final_status(sample: Ran) -> None:
    with views(sample) as connection:
        connection.row_factory = sqlite3.Row
        [agent] = connection.execute("SELECT * FROM agent_registry").fetchall()
    assert (agent["agent_id"], agent["status"]) == ("retention-agent", "SUSPENDED")
    assert agent["suspension_reason"] == "PROFITABILITY_DRIFT"
    assert (agent["contract_id"], agent["contract_version"]) == ("retention-offers", "1.2.0")
    assert json.loads(agent["allowed_policy_types"]) == ["retention_discount"]
    assert json.loads(agent["limits"]) == {"discount_offered": 15.0}


def test_a_reinstated_agent_has_no_suspension_reason_and_a_new_handshake_changes_no_status(tmp_path: Path) -> None:
    first = Ran(tmp_path / "sample", "")
    shutil.copytree(EXAMPLE, first.sample, ignore=shutil.ignore_patterns("__pycache__", "results", "retention_drift"))
    python("run.py", first.sample, "--no-report")
    python("run.py", first.sample, "--no-report")  # it shakes hands again, and stays suspended
    with views(first) as connection:
        [status] = connection.execute("SELECT status, suspension_reason FROM agent_registry").fetchall()
    assert status == ("SUSPENDED", "PROFITABILITY_DRIFT")
    journal = first.sample / "data" / "retention_drift" / "default" / "journal.db"
    assert invoke("gate", "reinstate", "retention-agent", "--by", "vera", "-m", "fine", "-j", journal).code == 0
    with views(first) as connection:
        [status] = connection.execute("SELECT status, suspension_reason, status_by FROM agent_registry").fetchall()
    assert status[:2] == ("ACTIVE", None)
    assert str(status[2]).startswith("vera")


def test_every_verdict_and_every_intervention_is_confirmed_by_an_audit_from_the_shell(sample: Ran) -> None:
    journal = sample.sample / "data" / "retention_drift" / "default" / "journal.db"
    found = invoke("policies", "audit", "-j", journal, "--json")
    assert (found.code, found.json["confirmed"], found.json["decisions"]) == (0, 86, 86)


# --- regenerating reports --------------------------------------------------------------------------


class _Table(HTMLParser):
    """The table of decisions: its headings and its rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data


def decisions_in(report: Path) -> list[dict[str, str]]:
    html = report.read_text(encoding="utf-8")
    table = _Table()
    table.feed(html[html.index("<h2>Every decision</h2>") : html.index("<h2>Parameters</h2>")])
    heading, *rows = table.rows
    return [dict(zip(heading, row, strict=True)) for row in rows]


def test_the_reports_table_has_input_plan_channel_and_reason_of_each_cancellation(sample: Ran) -> None:
    given = {each["id"]: each for each in json.loads((EXAMPLE / "data" / "cancelation.json").read_text())}
    rows = decisions_in(sample.reports[0])
    assert len(rows) == 85
    for row in rows:
        cancellation = given[row["input"]]
        assert (row["plan"], row["channel"], row["reason"]) == (
            cancellation["plan"],
            cancellation["channel"],
            cancellation["reason"],
        )


def text_of(report: Path) -> str:
    """Return a report without the position up to which it was read: a loom that is closed writes one entry more."""
    return re.sub(r"up to position [\d,]+", "", report.read_text(encoding="utf-8"))


def test_reports_are_regenerated_by_the_two_commands_of_the_document(sample: Ran) -> None:
    before = text_of(sample.reports[0])
    replay = sample.sample / "results" / "replay.html"
    said = python(
        "report_generator.py", sample.sample, "--simulation-id", "run_36_retention_01", "--output-path", replay
    )
    assert str(replay) in said
    assert text_of(replay) == before, "the same journal gives the same report"
    again = Ran(sample.sample, "")
    replay.unlink()
    known = set(again.reports)
    python("report_generator.py", sample.sample, cwd=sample.sample)  # from inside the sample directory
    [new] = set(again.reports) - known
    assert text_of(new) == before
    # And it is what `loom report` writes.
    page = sample.sample / "page.html"
    journal = sample.sample / "data" / "retention_drift" / "default" / "journal.db"
    assert invoke("report", "-j", journal, "-o", page).code == 0
    assert text_of(page) == before


def test_a_browser_is_opened_only_where_it_is_asked_for(sample: Ran, tmp_path: Path) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened.txt"
    browser.write_text(f'#!/bin/sh\necho "$1" >> "{opened}"\n')
    browser.chmod(0o755)
    page = tmp_path / "page.html"
    named = ("--simulation-id", "run_36_retention_01", "--output-path", page)
    for asked in ("", "0"):
        python("report_generator.py", sample.sample, *named, BROWSER=f"{browser} %s", OPEN_REPORT_HTML=asked)
        assert not opened.exists()
    python("report_generator.py", sample.sample, *named, BROWSER=f"{browser} %s", OPEN_REPORT_HTML="1")
    assert opened.read_text().split() == [page.as_uri()]
    # The experiment itself asks the same; here it ends at once, as its agent is suspended.
    data = tmp_path / "data"
    shutil.copytree(sample.sample / "data" / "retention_drift", data)
    python("run.py", sample.sample, "--data", data, BROWSER=f"{browser} %s", OPEN_REPORT_HTML="1")
    assert "run_36_retention_02.html" in opened.read_text().split()[-1]


# --- configuration ---------------------------------------------------------------------------------


def test_the_blocks_of_the_configuration_are_where_the_page_says(sample: Ran) -> None:
    def read(name: str) -> Any:
        return yaml.safe_load((EXAMPLE / name).read_text(encoding="utf-8"))

    config, simulation, contract = read("config.yaml"), read("simulation.yaml"), read("contract.yaml")
    assert {"database", "llm_defaults", "agents", "simulation_config"} <= config.keys()
    assert (config["llm_defaults"]["provider"], config["simulation_config"]) == ("mock", "simulation.yaml")
    assert {"simulation", "monitor"} <= simulation.keys()
    assert contract["allowed_policy_types"] == ["retention_discount"]
    assert contract["max_discount_pct"] == 15.0
    assert "speaks through a mock model" in sample.said


def test_a_run_deletes_nothing_and_the_monitor_of_a_reinstated_agent_begins_clean(tmp_path: Path) -> None:
    data = tmp_path / "data"
    python("run.py", EXAMPLE, "--data", data, "--no-report")
    said = python("run.py", EXAMPLE, "--data", data, "--no-report", "--reinstate", "mira", "--reason", "looked into")
    assert "run_36_retention_02 stopped after 85 decisions" in said
    runs = invoke("runs", "-j", data / "default" / "journal.db", "--json").json
    assert len(runs) == 2
