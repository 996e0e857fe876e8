"""Pages that are walked through: files are written as they say, commands run in order, and say what the page shows.

A block with a title is a file. In a block of `sh`, lines that begin with `loom` or `python` are run; a comment
`# exit code N` says how one ends, and `ID` is the request that waits. A block of `text` is part of what the last block
of `sh` printed; MOMENT, DURATION and ID stand for what is different every time.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.support import environment
from tests.test_docs import DOCS

_BLOCK = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$', re.DOTALL | re.MULTILINE
)
_MEANING = {
    "MOMENT": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC",
    "DURATION": r"[\d.]+ \w+",
    "N": r"\d+",
    "ID": r"[0-9a-f]{8,}",
}


class Walk(NamedTuple):
    """One walk: the blocks of a section with files, in order."""

    name: str
    blocks: list[re.Match[str]]


def walks() -> list[Walk]:
    """Return the tutorial as one walk, and each section of other pages that has files."""
    found = []
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        parts = [text] if page.stem == "tutorial" else re.split(r"^(?=## )", text, flags=re.MULTILINE)
        for part in parts:
            blocks = list(_BLOCK.finditer(part))
            if any(each["title"] for each in blocks):
                found.append(Walk(f"{page.stem}: {part.splitlines()[0].lstrip('# ')}", blocks))
    return found


def pattern(shown: str) -> str:
    """Return a regular expression for what a page shows; where lines break does not matter."""
    return r"\s+".join(
        re.sub(rf"\b({'|'.join(_MEANING)})\b", lambda found: _MEANING[found[0]], re.escape(word))
        for word in shown.split()
    )


def run(line: str, at: Path) -> str:
    """Run a line, check its exit code, and return what it printed."""
    command, _, comment = line.partition("  #")
    expected = re.search(r"exit code (\d)", comment)
    words = shlex.split(command)
    if "ID" in words:
        asked = json.loads(call(["loom", "approvals", "--json"], at).stdout)
        words[words.index("ID")] = asked[0]["approval_id"][:12]
    done = call(words, at)
    assert done.returncode == (int(expected[1]) if expected else 0), f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def call(words: list[str], at: Path) -> subprocess.CompletedProcess[str]:
    first = [sys.executable, "-m", "loom.cli"] if words[0] == "loom" else [sys.executable]
    return subprocess.run(
        [*first, *words[1:]],
        cwd=at,
        env=environment(COLUMNS="200"),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)  # a dozen processes; on a machine with much else to do each takes its time
@pytest.mark.parametrize("walk", walks(), ids=lambda walk: walk.name)
def test_a_page_can_be_walked_through(tmp_path: Path, walk: Walk) -> None:
    printed = ""
    for block in walk.blocks:
        if block["title"]:
            place = tmp_path / block["title"]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(block["text"], encoding="utf-8")
        elif block["language"] == "sh":
            lines = [line for line in block["text"].splitlines() if line.startswith(("loom ", "python "))]
            printed = "".join(run(line, tmp_path) for line in lines)
        elif block["language"] == "text":
            assert re.search(pattern(block["text"]), re.sub(r"\s+", " ", printed)), f"{block['text']}\n---\n{printed}"


def test_what_a_page_shows_is_compared() -> None:
    assert re.search(
        pattern("asked MOMENT: “x” after N ms, ID"), "asked 2026-11-22 06:00:05 UTC: “x” after 13 ms, 0a1b2c3d4e5f"
    )
    assert not re.search(pattern("asked MOMENT"), "asked today")
    assert not re.search(pattern("rule short"), "rule long")
