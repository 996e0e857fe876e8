"""R39: what `make coverage` and `make audit` wrote, and the commit it is of; what did not run is SKIPPED by name."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests import audit, coverage_floors
from tests.reliability.board import ROOT, Tally, row, trees_of


def _read(path: Path, command: str, tally: Tally) -> dict[str, Any]:
    if not path.exists():
        pytest.skip(f"there is no {path.name}: {command}")
    said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if said["trees"]["loom"] != trees_of("HEAD")["loom"]:
        pytest.skip(f"{path.name} is of commit {said['commit'][:12]}, which has another loom/ than HEAD: {command}")
    changed = " with changes that were not committed" if said["dirty"] else ""
    tally.note(f"{path.name} is of commit {said['commit'][:12]}{changed}")
    return said


@row("R39")
def test_the_branches_of_the_core_and_of_all_are_covered_down_to_their_floors(tally: Tally) -> None:
    said = _read(coverage_floors.RESULT, "make coverage", tally)
    floors = tomllib.loads((ROOT / "tests" / "coverage.toml").read_text(encoding="utf-8"))
    tally.tried(len(said["core"]) + len(said["whole"] or ()))
    for each in coverage_floors.below(said, floors):
        tally.fail(each)
    for each in coverage_floors.lines(said):
        tally.note(each)
    if said["whole"] is None:
        tally.note("SKIPPED in part: the whole was not counted: python -m tests.coverage_floors --whole")


@pytest.mark.parametrize("tool", ["bandit", "mypy", "pip-audit", "ruff"])
@row("R39")
def test_a_tool_that_reads_code_finds_nothing(tool: str, tally: Tally) -> None:
    said = _read(audit.RESULT, "make audit", tally)["parts"][tool]
    if said["status"] == "SKIPPED":
        pytest.skip(said["words"])
    tally.tried()
    tally.check(said["status"] == "passed", said["words"])
    tally.note(said["words"])
