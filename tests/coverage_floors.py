"""Compare what tests cover with the floors in `coverage.toml`.

`python -m tests.coverage_floors [ROOM …]` runs the tests of each room that has a floor. `--core` runs the tests of the
core and counts its branches; `--whole` runs the whole suite, and counts all. These two write `coverage.json`, which row
R39 of the scoreboard reads, with the commit that it is of.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from tests.mutation.core import CORE
from tests.reliability.board import commit, dirty, trees_of

HERE = Path(__file__).parent
RESULT = HERE.parent / "coverage.json"


def main() -> int:
    """Return 1 where a room is below its floor, or its tests fail."""
    said: dict[str, Any] = tomllib.loads((HERE / "coverage.toml").read_text(encoding="utf-8"))
    if sys.argv[1:] in (["--core"], ["--whole"]):
        return _branches(said, whole=sys.argv[1] == "--whole")
    floors: dict[str, float] = {room: floor for room, floor in said.items() if not isinstance(floor, dict)}
    wanted = sys.argv[1:] or sorted(floors)
    if unknown := [room for room in wanted if room not in floors]:
        sys.exit(f"room [{unknown[0]}] has no floor; expected one of [{', '.join(sorted(floors))}]")
    below = [room for room in wanted if not _holds(room, floors[room])]
    print(f"below their floor, or failed: {', '.join(below)}" if below else "every floor holds")
    return 1 if below else 0


def _holds(room: str, floor: float) -> bool:
    covered = [f"--cov=loom/{room}", "--cov-report=term:skip-covered", f"--cov-fail-under={floor:g}"]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "logical", f"tests/{room}", *covered]
    print(f"== {room}: at least {floor:g} %", flush=True)
    return subprocess.run(command, cwd=HERE.parent, check=False).returncode == 0


# --- branches -------------------------------------------------------------------------------------


def _branches(said: dict[str, Any], *, whole: bool) -> int:
    with tempfile.TemporaryDirectory() as place:
        rules, report = Path(place, "rc"), Path(place, "report.json")
        rules.write_text("[run]\nbranch = true\nsource = loom\n[report]\nexclude_also =\n    if TYPE_CHECKING\n")
        tests = ["tests"] if whole else said["core"]["tests"]
        covered = ["--cov", f"--cov-config={rules}", f"--cov-report=json:{report}"]
        command = [sys.executable, "-m", "pytest", "-q", "-n", "logical", *tests, *covered]
        passed = subprocess.run(command, cwd=HERE.parent, check=False).returncode == 0
        if not report.exists():
            sys.exit("no coverage was measured: see what pytest says above")
        found = json.loads(report.read_text(encoding="utf-8"))
    result = counted(found, whole=whole)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    wrong = below(result, said)
    print("\n".join(lines(result)), *wrong, sep="\n")
    return 0 if passed and not wrong else 1


def counted(found: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    """Return what counts of a report of coverage.py, and what it is of."""
    totals = found["totals"]
    shares = {
        "statements": 100 * totals["covered_lines"] / totals["num_statements"],
        "branches": 100 * totals["covered_branches"] / totals["num_branches"],
    }
    files = found["files"]
    core = {
        name: {
            "branches": files[name]["summary"]["num_branches"],
            "missing": [f"{before}->{after}" for before, after in files[name]["missing_branches"]],
        }
        for name in CORE
    }
    measured = shares if whole else None
    return {"commit": commit(), "trees": trees_of("HEAD"), "dirty": dirty(), "whole": measured, "core": core}


def below(result: dict[str, Any], said: dict[str, Any]) -> list[str]:
    """Return what is below its floor: a module of the core with more branches missing, the whole with a lower share."""
    allowed: dict[str, int] = said["core"]["missing"]
    wrong = [
        f"{name}: {len(each['missing'])} branches are not taken, at most {allowed.get(name, 0)} may be: "
        f"{', '.join(each['missing'][:20])}"
        for name, each in result["core"].items()
        if len(each["missing"]) > allowed.get(name, 0)
    ]
    if result["whole"] is not None:
        wrong += [
            f"all of loom: {result['whole'][what]:.1f} % of its {what}, at least {floor} %"
            for what, floor in said["whole"].items()
            if result["whole"][what] < floor
        ]
    return wrong


def lines(result: dict[str, Any]) -> list[str]:
    """Return the figures in words."""
    branches = sum(each["branches"] for each in result["core"].values())
    missing = sum(len(each["missing"]) for each in result["core"].values())
    core = f"the core: {branches - missing} of {branches} branches in {len(result['core'])} modules"
    met = "pass" if not missing else "miss"
    found = [f"{met}: {core} ({100 * (branches - missing) / branches:.1f} %), 100 % is the aim"]
    if result["whole"] is not None:
        shares = " and ".join(f"{share:.1f} % of its {what}" for what, share in result["whole"].items())
        found.append(f"all of loom: {shares}")
    return found


if __name__ == "__main__":
    sys.exit(main())
