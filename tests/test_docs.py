"""The pages under docs tell the truth: the Python in them runs and prints what they say it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
RUNS = re.compile(
    r"```python\n(?P<code>(?:(?!```).)*(?:asyncio\.run\(main\(\)\)|\nwith Loom\.open_sync\((?:(?!```).)*)\n)```\n\n"
    r"(?P<after>[^\n]*(?:\n[^\n]+)*)",
    re.DOTALL,
)
EXAMPLES = [
    pytest.param(
        found["code"], found["after"], id=f"{page.name}:{page.read_text()[: found.start()].count(chr(10)) + 1}"
    )
    for page in [*sorted(DOCS.glob("*.md")), DOCS / "llms.txt"]
    for found in RUNS.finditer(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("code", "after"), EXAMPLES)
def test_an_example_of_the_docs_runs_and_prints_what_the_page_says(tmp_path: Path, code: str, after: str) -> None:
    script = tmp_path / "example.py"
    script.write_text(code, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stderr
    said = re.findall(r"`([^`]+)`", after) if after.startswith("It prints") else []
    assert ran.stdout.splitlines()[: len(said)] == said


def test_there_are_examples() -> None:
    assert EXAMPLES
