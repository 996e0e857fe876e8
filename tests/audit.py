"""Ask the tools that read code: `python -m tests.audit TOOLS`, a directory with bandit and pip-audit.

What each said goes into `audit.json`, which row R39 of the scoreboard reads, with the commit that it is of. A service
that does not answer is no failure, and is not counted as a pass either: SKIPPED.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.reliability.board import commit, dirty, trees_of

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "audit.json"
LOCKED = ("requirements/runtime.txt", "requirements/dev.txt")


class Said(NamedTuple):
    """What one tool said: `passed`, `failed` or `SKIPPED`, and the words for it."""

    status: str
    words: str


def of_bandit(output: str) -> Said:
    """Return what a report of bandit in JSON says: none of high severity may be there, and code must have been read."""
    try:
        report = json.loads(output)
        lines = report["metrics"]["_totals"]["loc"]
        unread = [each["filename"] for each in report["errors"]]
        high = [each for each in report["results"] if each["issue_severity"] == "HIGH"]
    except (ValueError, KeyError) as error:
        return Said("failed", f"bandit gave no report [{error!r}]")
    if unread or not lines:
        return Said("failed", f"bandit read {lines} lines, and not {unread}")
    places = ", ".join(f"{each['test_id']} {each['filename']}:{each['line_number']}" for each in high)
    words = f"bandit: {len(high)} of high severity in {lines:,} lines {places}".rstrip()
    return Said("failed" if high else "passed", words)


def of_pip_audit(output: str, problem: str, *, locked: int) -> Said:
    """Return what pip-audit says; each locked package has to be looked up, and none may have a known vulnerability."""
    try:
        found = json.loads(output)["dependencies"]
    except (ValueError, KeyError):
        if "usage:" in problem:
            return Said("failed", f"pip-audit was asked wrongly [{problem.strip()[-160:]}]")
        return Said("SKIPPED", f"pip-audit gave no answer: the advisory service [{problem.strip()[-160:]}]")
    known = [each for each in found if "vulns" in each]
    wrong = [f"{each['name']} {vuln['id']}" for each in known for vuln in each["vulns"]]
    if wrong:
        return Said("failed", f"pip-audit: {len(wrong)} known: {', '.join(wrong)}")
    if len(known) < locked:
        words = f"pip-audit: the advisory service has answered for {len(known)} of {locked} packages"
        return Said("SKIPPED" if not known else "failed", words)
    return Said("passed", f"pip-audit: {len(known)} packages audited, none has a known vulnerability")


def of_status(name: str, code: int, output: str) -> Said:
    """Return what a tool says that ends with 0 where all is well."""
    last = (output.strip().splitlines() or [""])[-1][:160]
    return Said("failed" if code else "passed", f"{name}: {last}")


def audited(tools: Path) -> dict[str, Said]:
    """Run all the tools."""
    bandit = _run(tools / "bandit", "-q", "-r", "loom", "-f", "json")
    names = {line.split("==")[0] for file in LOCKED for line in _pins(ROOT / file)}
    wanted = [part for file in LOCKED for part in ("-r", file)]
    pip_audit = _run(
        tools / "pip-audit", "--disable-pip", "--no-deps", "--progress-spinner", "off", "-f", "json", *wanted
    )
    found = {
        "bandit": of_bandit(bandit.stdout),
        "pip-audit": of_pip_audit(pip_audit.stdout, pip_audit.stderr, locked=len(names)),
    }
    own = Path(sys.executable).parent
    for name, arguments in {
        "ruff": ["check"],
        "mypy": ["--strict", *(each for each in ("loom", "tests", "examples", "release") if (ROOT / each).exists())],
    }.items():
        done = _run(own / name, *arguments)
        found[name] = of_status(name, done.returncode, done.stdout)
    return found


def _pins(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8").splitlines() if "==" in line and line[0].isalnum()]


def _run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(each) for each in words], cwd=ROOT, capture_output=True, text=True, check=False)


def main() -> int:
    """Write what was found; return 1 where a tool found something."""
    found = audited(Path(sys.argv[1]))
    result: dict[str, Any] = {"commit": commit(), "trees": trees_of("HEAD"), "dirty": dirty()}
    result["parts"] = {name: said._asdict() for name, said in found.items()}
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for said in found.values():
        print(f"{said.status}: {said.words}")
    return int(any(said.status == "failed" for said in found.values()))


if __name__ == "__main__":
    sys.exit(main())
