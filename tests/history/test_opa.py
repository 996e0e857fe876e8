"""Decision logs of Open Policy Agent: read, imported, and judged under a table of loom's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loom.history.opa import OpaLog
from tests.cli.support import Answer, invoke

TABLE = """
format: loom.table/1
name: loans
facts:
  amount: {type: integer}
  grade: {type: string, values: [a, b, c]}
rules:
  - {name: small, when: [[amount, "<=", 1000]], effect: allow, why: it is small}
  - {name: good, when: [[grade, "=", a]], effect: allow, why: the grade is good}
otherwise: {name: rest, effect: deny, why: it is large and not good}
"""
MAP = """
format: loom.import/1
source: opa
type: loan
own_id: {column: decision_id}
table: loans.table.yaml
facts:
  amount: {column: input.loan.amount, as: integer}
  grade: {column: input.applicant.grade}
outcome: {granted: {column: result.allow, as: boolean}}
decided_at: {column: timestamp}
decider: {column: requested_by}
"""


def event(number: int, amount: int, grade: str, *, allow: bool, path: str = "loans/decide") -> dict[str, Any]:
    """An event as OPA documents it, with what is beside the decision."""
    return {
        "labels": {"id": "1780d507-aea2-45cc-ae50-fa153c8e4a5a", "version": "v1.9.0"},
        "decision_id": f"4ca636c1-55e4-417a-b1d8-4aceb67960{number:02d}",
        "bundles": {"authz": {"revision": "W3sibCI6InN5cy9jYXRhbG9nIiwicyI6NDA3MX1d"}},
        "path": path,
        "input": {"loan": {"amount": amount}, "applicant": {"grade": grade, "roles": ["x"]}},
        "result": {"allow": allow},
        "requested_by": "[::1]:59943",
        "timestamp": f"2026-01-01T00:00:{number:02d}.123456789Z",
        "metrics": {"timer_rego_query_eval_ns": 61_000 + number},
    }


EVENTS = [
    event(1, 500, "c", allow=True),
    event(2, 5_000, "a", allow=True),
    event(3, 5_000, "c", allow=False),
    event(4, 9_000, "b", allow=True),  # the table denies this one
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "loom.config.yaml").write_text(
        "data: data\nworkspace: w\npolicies: [loans.table.yaml]\n", encoding="utf-8"
    )
    (tmp_path / "loans.table.yaml").write_text(TABLE, encoding="utf-8")
    (tmp_path / "map.yaml").write_text(MAP, encoding="utf-8")
    return tmp_path


def written(place: Path, *lines: Any) -> Path:
    path = place / "decisions.log"
    path.write_text("".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in lines))
    return path


def imported(place: Path, log: Path, *more: str) -> Answer:
    given = ["--map", str(place / "map.yaml"), "--by", "vera", "--from", "opa", *more]
    return invoke("import", log, *given, "--json", config=place / "loom.config.yaml")


def test_a_log_of_opa_is_judged_under_a_table(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    console = {"level": "info", "msg": "Initializing server.", "time": "2026-01-01T00:00:00Z"}
    done = imported(place, written(place, console, *({**each, "msg": "Decision Log"} for each in EVENTS)))
    assert done.code == 0, done.err
    assert done.json["written"] == 4
    config = place / "loom.config.yaml"
    known = invoke("policies", "register", place / "loans.table.yaml", "--by", "vera", "--json", config=config)
    assert known.code == 0, known.err
    judge = ["replay", "judge", "--run", done.json["run_id"], "--under", known.json["version"], "--against", "outcome"]
    maps = ["--map", "granted:true=allow", "--map", "granted:false=deny"]
    judged = invoke(*judge, *maps, "--cases", "--json", config=config)
    assert judged.code == 1, judged.err
    assert (judged.json["agrees"], judged.json["differs"]) == (3, 1)
    [differs] = judged.json["listed"]
    assert (differs["said"], differs["done"], differs["rule"]) == ("deny", "allow", "rest")


def test_only_the_events_of_a_path_are_rows(place: Path) -> None:
    log = written(place, *EVENTS, event(9, 1, "a", allow=True, path="other/decide"))
    every, some = OpaLog(log), OpaLog(log, policy_path="loans/decide")
    assert [len(list(each.read())) for each in (every, some)] == [5, 4]
    assert every.digest != some.digest


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("not json", "is no JSON"),
        ("[1]", "expected an object"),
        ({"decision_id": 5, "timestamp": "2026-01-01T00:00:00Z"}, "has no [decision_id]"),
        ({"decision_id": "x"}, "has no [timestamp]"),
        ({**EVENTS[0], "input": {"a": {"b": 1}, "a.b": 2}}, "names [input.a.b] twice"),
        ({**EVENTS[0], "input": {"a.b": 2, "a": {"b": 1}}}, "names [input.a.b] twice"),
        ('{"decision_id": "a", "decision_id": "b"}', "is no JSON"),
    ],
)
def test_a_line_that_is_no_event_is_refused_and_nothing_is_written(line: Any, problem: str, place: Path) -> None:
    [row] = OpaLog(written(place, line)).read()
    assert problem in str(row.problem)
    refused = imported(place, written(place, *EVENTS, line))
    assert refused.code == 1
    assert invoke("decisions", config=place / "loom.config.yaml", env={}).code in (0, 2)
    assert not refused.json["ok"]


def test_what_was_masked_in_the_log_is_an_open_fact(place: Path) -> None:
    masked = {**EVENTS[0], "masked": ["/input/loan/amount"], "input": {"applicant": {"grade": "a"}}}
    [row] = OpaLog(written(place, masked)).read()
    assert "input.loan.amount" not in row.cells
    (place / "map.yaml").write_text(MAP.replace("table: loans.table.yaml\n", ""), encoding="utf-8")
    done = imported(place, written(place, masked, EVENTS[1]))
    assert done.code == 0, done.out
    _, decision = invoke("decisions", "--json", config=place / "loom.config.yaml").json
    shown = invoke("why", decision["decision_id"], "--json", config=place / "loom.config.yaml").json
    assert shown["decision"]["facts"] == {"grade": "a"}


def test_options_of_a_log_go_together(place: Path) -> None:
    log, config = written(place, *EVENTS), place / "loom.config.yaml"
    given = ["import", str(log), "--map", str(place / "map.yaml"), "--by", "vera"]
    assert invoke(*given, "--path", "loans/decide", config=config).code == 2
    assert invoke(*given, "--from", "opa", "--select", "SELECT 1", config=config).code != 0
