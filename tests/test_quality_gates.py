"""What `make audit` and `make coverage` make of reports: what is wrong in one is found, and no answer is no pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.audit import of_bandit, of_pip_audit, of_status
from tests.coverage_floors import ROOT, below, branches_of, core_of, files_of, line, rules_in, statements_of
from tests.mutation.core import CORE

SAID: dict[str, Any] = {"core": {"missing": {"loom/journal/merkle.py": 1}}, "whole": {"statements": 90}}


def report(**missing: int) -> dict[str, Any]:
    """Return a report of coverage.py with so many branches missing in modules of the core, by their last name."""
    files = {}
    for name in CORE:
        gone = [[number, number + 1] for number in range(missing.get(name.split("/")[-1][:-3], 0))]
        files[name] = {"summary": {"num_branches": 10}, "missing_branches": gone}
    totals = {"covered_lines": 89, "num_statements": 100, "covered_branches": 8, "num_branches": 10}
    return {"totals": totals, "files": files}


def test_a_branch_more_than_is_allowed_and_a_share_below_its_floor_are_found() -> None:
    fine = branches_of(report(merkle=1), CORE)
    assert below("core", fine, SAID) == []
    assert line("core", fine) == (
        f"miss: the core: {len(CORE) * 10 - 1} of {len(CORE) * 10} branches in {len(CORE)} modules "
        f"({100 * (len(CORE) * 10 - 1) / (len(CORE) * 10):.1f} %), 100 % is the aim"
    )
    [wrong] = below("core", branches_of(report(merkle=2), CORE), SAID)
    assert wrong.startswith("loom/journal/merkle.py: 2 branches are not taken, at most 1 may be: 0->1, 1->2")
    [wrong] = below("core", branches_of(report(chain=1), CORE), SAID)
    assert wrong.startswith("loom/journal/chain.py: 1 branches")
    whole = statements_of(report())
    assert below("whole", whole, SAID) == ["all of loom: 89.0 % of its statements, at least 90 %"]
    assert below("whole", {**whole, "run": whole["statements"]}, SAID) == []


def test_what_children_run_is_counted_whether_they_are_forked_or_started_and_end_by_a_signal(tmp_path: Path) -> None:
    measured = tmp_path / "measured"
    measured.mkdir()
    (measured / "__init__.py").touch()
    (measured / "ran.py").write_text(
        "".join(f"def {name}():\n    return 1\n\n" for name in ("forked", "started", "ended", "never"))
    )
    (tmp_path / "script.py").write_text(
        "import os, subprocess, sys\nfrom measured import ran\n"
        "child = os.fork()\nif not child:\n    ran.forked()\n    os._exit(0)\nos.waitpid(child, 0)\n"
        "for code in ('ran.started()', 'ran.ended(); import os, signal; os.kill(os.getpid(), signal.SIGTERM)'):\n"
        "    subprocess.run([sys.executable, '-c', f'from measured import ran; {code}'], cwd='/', check=False)\n"
    )
    rules = rules_in(tmp_path, measured, branches=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment["PYTHONPATH"] = str(tmp_path)
    coverage = [sys.executable, "-m", "coverage"]
    report = tmp_path / "report.json"
    for words in (
        ["run", f"--rcfile={rules}", "script.py"],
        ["combine", f"--rcfile={rules}"],
        ["json", f"--rcfile={rules}", "-o", report],
    ):
        subprocess.run([*coverage, *words], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert json.loads(report.read_text())["files"]["measured/ran.py"]["missing_lines"] == [11]


def test_every_room_of_loom_has_a_floor_and_tests_and_so_has_each_module_of_the_core() -> None:
    said = tomllib.loads((ROOT / "tests" / "coverage.toml").read_text(encoding="utf-8"))
    rooms = {each.parent.name for each in (ROOT / "loom").glob("*/__init__.py")}
    assert set(said["rooms"]) == rooms
    assert set(said["elsewhere"]) <= rooms
    core = core_of(said)
    assert core.keys() >= {*CORE, *said["core"]["missing"]}
    tests = [each for room in rooms for each in files_of(room, said)] + [
        each for files in core.values() for each in files
    ]
    assert [each for each in (*tests, *core) if not (ROOT / each).exists()] == []


@pytest.mark.parametrize(
    ("severity", "lines_read", "errors", "status"),
    [("LOW", 9, [], "passed"), ("HIGH", 9, [], "failed"), ("LOW", 0, [], "failed"), ("LOW", 9, ["a.py"], "failed")],
)
def test_bandit_has_read_all_code_and_found_nothing_of_high_severity(
    severity: str, lines_read: int, errors: list[str], status: str
) -> None:
    found = {"issue_severity": severity, "test_id": "B1", "filename": "a.py", "line_number": 1}
    unread = [{"filename": each} for each in errors]
    said = {"metrics": {"_totals": {"loc": lines_read}}, "errors": unread, "results": [found]}
    assert of_bandit(json.dumps(said)).status == status
    assert of_bandit("no json").status == "failed"


def test_a_package_with_a_vulnerability_fails_and_a_service_that_does_not_answer_is_skipped() -> None:
    def said(*each: dict[str, Any]) -> str:
        return json.dumps({"dependencies": list(each)})

    sound: dict[str, Any] = {"name": "a", "vulns": []}
    unknown = {"name": "b", "skip_reason": "not found"}
    assert of_pip_audit(said(sound, sound), "", locked=2).status == "passed"
    assert of_pip_audit(said(sound, {"name": "b", "vulns": [{"id": "X-1"}]}), "", locked=2).status == "failed"
    assert of_pip_audit(said(unknown, unknown), "", locked=2).status == "SKIPPED"
    assert of_pip_audit(said(sound, unknown), "", locked=2).status == "failed"
    assert of_pip_audit("", "usage: pip-audit [-h]\nerror: unrecognized arguments: -x", locked=2).status == "failed"
    assert of_pip_audit("", "no network", locked=2) == (
        "SKIPPED",
        "pip-audit gave no answer: the advisory service [no network]",
    )


def test_a_tool_passes_by_its_exit_code() -> None:
    assert of_status("ruff", 0, "All checks passed!") == ("passed", "ruff: All checks passed!")
    assert of_status("ruff", 1, "").status == "failed"
