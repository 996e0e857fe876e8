"""The README tells the truth: its code runs, and prints what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from loom.cli.app import _Loom
from tests.cli.support import environment

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def settled(text: str) -> str:
    """Return a text without what is different every time: moments, durations, and where lines break for them."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "MOMENT", text)
    text = re.sub(r"\b\d+ ms\b", "N ms", text)
    return re.sub(r"\s+", " ", text)


def test_the_code_runs_and_loom_why_says_what_the_readme_says(tmp_path: Path) -> None:
    [code] = blocks("python")
    (tmp_path / "refunds.py").write_text(code, encoding="utf-8")
    first, second = re.findall(r"^(\w+ \w+(?:\.py)?) +#", blocks("sh")[0], flags=re.MULTILINE)
    assert (first, second) == ("python refunds.py", "loom why")
    ran = subprocess.run(
        [sys.executable, "-W", "error", "refunds.py"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stderr
    assert (ran.stdout, ran.stderr) == ("True\n", "")
    loom = [sys.executable, "-m", "loom.cli", "why"]
    said = subprocess.run(
        loom, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env=environment()
    )
    assert said.returncode == 0, said.stderr
    assert settled(blocks("text")[0]).strip() in settled(said.stdout)


def test_the_agent_has_twelve_lines() -> None:
    [code] = blocks("python")
    begins, ends = code.index("@policy"), code.index("if __name__")
    assert len([line for line in code[begins:ends].splitlines() if line.strip()]) <= 12


def test_the_readme_fits_its_page() -> None:
    assert len(README.splitlines()) <= 200


def test_every_path_it_names_is_there() -> None:
    for path in re.findall(r"`((?:tests|examples|requirements|docs|benchmarks)/[\w./-]+)`", README):
        assert (ROOT / path).exists(), path


def test_every_make_target_it_names_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make (\w+)", README)) - {"it"}:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_it_names_the_commands_that_the_shell_shows_first() -> None:
    commands = set(re.findall(r"^loom (\w+)", "\n".join(blocks("sh")), flags=re.MULTILINE))
    assert commands == set(_Loom.first), "those that the shell shows without arguments"
