"""Revisions of this repository that can be measured: a checkout each, and an environment of its own, made once."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Revision", "here", "made"]

_ROOT = Path(__file__).resolve().parent.parent
_KEPT = _ROOT / ".bench-revisions"
_LOCKS = ("requirements/build.txt", "requirements/runtime.txt")


@dataclass(frozen=True, slots=True)
class Revision:
    """A checkout and the Python that runs it. `note` says what is not as it should be, for the table."""

    name: str
    source: Path
    python: Path
    note: str | None = None

    def environment(self) -> dict[str, str]:
        """Return the variables under which its Python imports its own loom, whatever else is installed."""
        return {**os.environ, "PYTHONPATH": str(self.source), "PYTHONSAFEPATH": "1"}


def here() -> Revision:
    """Return what is being worked on, with the Python that runs this."""
    return Revision("here", _ROOT, Path(sys.executable))


def made(named: str) -> Revision:
    """Check a revision out and install what its own lock files ask for; both are kept under `.bench-revisions`.

    Where that cannot be installed, it runs with the packages of this environment, and its note says so.
    """
    commit = _git("rev-parse", "--verify", f"{named}^{{commit}}").decode().strip()
    kept = _KEPT / commit
    source, environment = kept / "source", kept / "environment"
    if not source.exists():
        _check_out(commit, source)
    ready = kept / "installed"
    if not ready.exists():
        try:
            _install(source, environment)
        except subprocess.CalledProcessError as error:
            said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
            note = (
                f"the packages of {commit[:7]} cannot be installed [{said[-1] if said else error}]; "
                "it ran with those of this environment"
            )
            return Revision(commit[:7], source, Path(sys.executable), note)
        ready.touch()
    return Revision(commit[:7], source, environment / "bin" / "python")


def _check_out(commit: str, source: Path) -> None:
    """Unpack a commit; a folder is there only when all of it is, so that one cut short is made again."""
    pending = source.with_name("unpacking")
    with tarfile.open(fileobj=io.BytesIO(_git("archive", commit))) as archive:
        archive.extractall(pending, filter="data")
    pending.rename(source)


def _install(source: Path, environment: Path) -> None:
    python = str(environment / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    locks = [option for lock in _LOCKS if (source / lock).exists() for option in ("-r", str(source / lock))]
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True, capture_output=True)
    if locks:
        subprocess.run([*pip, "--require-hashes", *locks], check=True, capture_output=True)
        pip += ["--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--editable", str(source)], check=True, capture_output=True)


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(_ROOT), *arguments], check=True, stdout=subprocess.PIPE).stdout  # noqa: S607
