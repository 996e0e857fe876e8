"""Compare what tests cover with the floors in `coverage.toml`.

`python -m tests.coverage_floors [ROOM …]` runs the tests of each room. `--core` runs the tests of the core and counts
its branches; `--whole` runs the whole suite and counts the statements of all of loom, which costs least on Python 3.12
or later. Each of the two writes its part of `coverage.json`, which row R39 of the scoreboard reads, with the commit
that it is of. What tests start or fork is counted with them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.mutation.core import CORE
from tests.reliability.board import commit, dirty, trees_of

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULT = ROOT / "coverage.json"

_RULES = """
[run]
branch = {branch}
source = {source}
data_file = {data}
patch =
    subprocess
    fork
    _exit
sigterm = true
[report]
exclude_also =
    if TYPE_CHECKING
"""


def main() -> int:
    """Return 1 where a room is below its floor, or its tests fail."""
    said: dict[str, Any] = tomllib.loads((HERE / "coverage.toml").read_text(encoding="utf-8"))
    if sys.argv[1:] in (["--core"], ["--whole"]):
        return _counted(sys.argv[1].removeprefix("--"), said)
    floors: dict[str, float] = said["rooms"]
    wanted = sys.argv[1:] or sorted(floors)
    if unknown := [room for room in wanted if room not in floors]:
        sys.exit(f"room [{unknown[0]}] has no floor; expected one of [{', '.join(sorted(floors))}]")
    below = [room for room in wanted if not _holds(room, floors[room], files_of(room, said))]
    print(f"below their floor, or failed: {', '.join(below)}" if below else "every floor holds")
    return 1 if below else 0


def files_of(room: str, said: dict[str, Any]) -> list[str]:
    """Return where the tests of a room are: in the room of its name, or elsewhere."""
    tests: list[str] = said["elsewhere"].get(room, [f"tests/{room}"])
    return tests


def _holds(room: str, floor: float, tests: Sequence[str]) -> bool:
    print(f"== {room}: at least {floor:g} %", flush=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:  # a child may end after its test
        report = ["--cov-report=term:skip-covered", f"--cov-fail-under={floor:g}"]
        return _measured(Path(place), ROOT / "loom" / room, tests, report, branches=False)


# --- measuring ------------------------------------------------------------------------------------


def _measured(place: Path, source: Path, tests: Sequence[str], report: Sequence[str], *, branches: bool) -> bool:
    """Run tests and measure them with every process that they start or fork; return whether all is well.

    What a process has run that is killed is lost, and so is that of one to which the environment is not handed on.
    """
    rules = rules_in(place, source, branches=branches)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "logical", "--timeout", "600", *tests]
    # Of branches, what this interpreter offers knows too little before 3.14, and nothing before 3.12.
    cheaply = {"COVERAGE_CORE": "sysmon"} if not branches and sys.version_info >= (3, 12) else {}
    covered = [*command, "--cov", f"--cov-config={rules}", *report]
    return subprocess.run(covered, cwd=ROOT, env={**os.environ, **cheaply}, check=False).returncode == 0


def rules_in(place: Path, source: Path, *, branches: bool) -> Path:
    """Write how a folder is measured, children and forks included, and return the file of these rules."""
    rules = place / "rc"
    rules.write_text(_RULES.format(branch=branches, source=source, data=place / "data"), encoding="utf-8")
    return rules


def _counted(part: str, said: dict[str, Any]) -> int:
    whole, core = part == "whole", core_of(said)
    tests = ["tests"] if whole else sorted({each for tests in core.values() for each in tests})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:  # a child may end after its test
        report = Path(place, "report.json")
        passed = _measured(Path(place), ROOT / "loom", tests, [f"--cov-report=json:{report}"], branches=not whole)
        if not report.exists():
            sys.exit("no coverage was measured: see what pytest says above")
        found = json.loads(report.read_text(encoding="utf-8"))
    counted = statements_of(found) if whole else branches_of(found, core)
    parts = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    of = {"commit": commit(), "trees": trees_of("HEAD"), "dirty": dirty(), "python": sys.version.split()[0]}
    RESULT.write_text(json.dumps({**parts, part: {**of, **counted}}, indent=2) + "\n", encoding="utf-8")
    wrong = below(part, counted, said)
    print(line(part, counted), *wrong, sep="\n")
    return 0 if passed and not wrong else 1


def core_of(said: dict[str, Any]) -> dict[str, list[str]]:
    """Return the modules of the core, each with its tests: those whose mutants are tried, and those named here."""
    also: dict[str, list[str]] = said["core"]["also"]
    return {name: [*CORE.get(name, ()), *also.get(name, ())] for name in sorted({*CORE, *also})}


def branches_of(found: dict[str, Any], core: Iterable[str]) -> dict[str, Any]:
    """Return how many branches the modules of the core have in a report of coverage.py, and which were not taken."""
    files = found["files"]
    modules = {
        name: {
            "branches": files[name]["summary"]["num_branches"],
            "missing": [f"{before}->{after}" for before, after in files[name]["missing_branches"]],
        }
        for name in core
    }
    return {"modules": modules}


def statements_of(found: dict[str, Any]) -> dict[str, Any]:
    """Return how many statements all of loom has in a report of coverage.py, and how many were run."""
    return {"statements": found["totals"]["num_statements"], "run": found["totals"]["covered_lines"]}


def below(part: str, counted: dict[str, Any], said: dict[str, Any]) -> list[str]:
    """Return what is below its floor: a module of the core with more branches missing, the whole with a lower share."""
    if part == "whole":
        share, floor = 100 * counted["run"] / counted["statements"], said["whole"]["statements"]
        return [f"all of loom: {share:.1f} % of its statements, at least {floor} %"] if share < floor else []
    allowed: dict[str, int] = said["core"]["missing"]
    return [
        f"{name}: {len(each['missing'])} branches are not taken, at most {allowed.get(name, 0)} may be: "
        f"{', '.join(each['missing'][:20])}"
        for name, each in counted["modules"].items()
        if len(each["missing"]) > allowed.get(name, 0)
    ]


def line(part: str, counted: dict[str, Any]) -> str:
    """Return the figures of a part in words."""
    if part == "whole":
        share = 100 * counted["run"] / counted["statements"]
        return f"all of loom: {counted['run']:,} of {counted['statements']:,} statements ({share:.1f} %)"
    branches = sum(each["branches"] for each in counted["modules"].values())
    missing = sum(len(each["missing"]) for each in counted["modules"].values())
    core = f"the core: {branches - missing} of {branches} branches in {len(counted['modules'])} modules"
    met = "pass" if not missing else "miss"
    return f"{met}: {core} ({100 * (branches - missing) / branches:.1f} %), 100 % is the aim"


if __name__ == "__main__":
    sys.exit(main())
