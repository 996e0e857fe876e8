"""Builds wheel and sdist from copies of what is under version control, so that the same commit gives the same bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["EPOCH", "ROOT", "build", "copied", "digests"]

ROOT = Path(__file__).resolve().parent.parent
EPOCH = 1_577_836_800
"""The time of every file in the archives: no time of a machine is in them."""

_BUILD = """
import sys
from hatchling.build import build_sdist, build_wheel
for made in (build_wheel, build_sdist):
    made(sys.argv[1])
"""


def copied(to: Path) -> Path:
    """Copy the files of the repository, committed or not, and nothing that is ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - the git of the machine
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = ROOT / name, to / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return to


def build(source: Path, into: Path) -> list[Path]:
    """Build wheel and sdist of a copy; return them by name."""
    into.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
    subprocess.run([sys.executable, "-c", _BUILD, str(into)], cwd=source, env=env, check=True)  # noqa: S603 - this Python
    return sorted(into.iterdir())


def digests(files: list[Path]) -> dict[str, str]:
    """Return the SHA-256 of each file by its name."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
