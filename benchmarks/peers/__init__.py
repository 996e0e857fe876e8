"""Other libraries doing the same work, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

__all__ = ["environment", "measured"]

_HERE = Path(__file__).parent


def environment(directory: Path) -> Path:
    """Return the Python of an environment with the peers in it, made at first use and when their list changes."""
    python = directory / "bin" / "python"
    wanted, installed = (_HERE / "requirements.txt").read_text(), directory / "peers.txt"
    if not installed.exists() or installed.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "-r", str(_HERE / "requirements.txt")], check=True
        )
        installed.write_text(wanted)
    return python


def measured(python: Path, script: str, directory: Path, *arguments: int) -> dict[str, float]:
    """Run one peer and return its figures."""
    command = [str(python), str(_HERE / script), str(directory), *map(str, arguments)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    figures: dict[str, float] = json.loads(ran.stdout.strip().splitlines()[-1])
    return figures
