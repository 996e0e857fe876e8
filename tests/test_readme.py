"""The README tells the truth: its code runs, and prints what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

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


def test_the_code_runs_and_prints_what_the_readme_says(tmp_path: Path) -> None:
    [code] = blocks("python")
    script = tmp_path / "readme.py"
    script.write_text(code, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    shown = blocks("text")[0]
    assert ran.stdout.startswith("True\n")
    assert settled(shown).strip() in settled(ran.stdout)
    assert ran.stderr == ""


def test_the_readme_fits_its_page() -> None:
    assert len(README.splitlines()) <= 200


def test_every_path_it_names_is_there() -> None:
    for path in re.findall(r"`((?:tests|examples|requirements|docs|benchmarks)/[\w./-]+)`", README):
        assert (ROOT / path).exists(), path


def test_every_make_target_it_names_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make (\w+)", README)) - {"it"}:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_every_command_of_the_shell_that_it_names_is_there() -> None:
    commands = set(re.findall(r"^loom (\w+)", "\n".join(blocks("sh")), flags=re.MULTILINE))
    assert len(commands) >= 14
    ran = subprocess.run([sys.executable, "-m", "loom.cli", "--help"], capture_output=True, text=True, check=True)
    for command in commands:
        assert re.search(rf"\b{command}\b", ran.stdout), command
