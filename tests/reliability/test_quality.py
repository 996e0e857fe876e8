"""R39: what `make coverage` and `make audit` wrote, and the commit it is of; what did not run is SKIPPED by name."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests import audit, coverage_floors
from tests.reliability.board import ROOT, Tally, row, trees_of


def _read(path: Path, command: str, tally: Tally, *, part: str | None = None) -> dict[str, Any]:
    parts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    said: dict[str, Any] = parts.get(part, {}) if part is not None else parts
    if not said:
        pytest.skip(f"there is no {path.name} with it: {command}")
    if said["trees"]["loom"] != trees_of("HEAD")["loom"]:
        pytest.skip(f"{path.name} is of commit {said['commit'][:12]}, which has another loom/ than HEAD: {command}")
    changed = " with changes that were not committed" if said["dirty"] else ""
    tally.note(f"{path.name}{f', {part},' if part else ''} is of commit {said['commit'][:12]}{changed}")
    return said


@pytest.mark.parametrize("part", ["core", "whole"])
@row("R39")
def test_the_branches_of_the_core_and_the_statements_of_all_are_covered_down_to_their_floors(
    part: str, tally: Tally
) -> None:
    said = _read(coverage_floors.RESULT, f"python -m tests.coverage_floors --{part}", tally, part=part)
    floors = tomllib.loads((ROOT / "tests" / "coverage.toml").read_text(encoding="utf-8"))
    tally.tried(len(said.get("modules", "1")))
    for each in coverage_floors.below(part, said, floors):
        tally.fail(each)
    tally.note(f"Python {said['python']}: {coverage_floors.line(part, said)}")


@pytest.mark.parametrize("tool", ["bandit", "mypy", "pip-audit", "ruff"])
@row("R39")
def test_a_tool_that_reads_code_finds_nothing(tool: str, tally: Tally) -> None:
    said = _read(audit.RESULT, "make audit", tally)["parts"][tool]
    if said["status"] == "SKIPPED":
        pytest.skip(said["words"])
    tally.tried()
    tally.check(said["status"] == "passed", said["words"])
    tally.note(said["words"])
