"""A small file system, for disks that are really full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["mounted"]


@contextmanager
def mounted(place: Path, options: str) -> Iterator[Path]:
    """Mount a file system in memory at a directory, with options of tmpfs; a test is skipped where that is refused."""
    if os.getuid() != 0:
        pytest.skip("a small file system is mounted by root, and this process is not")
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip():.200}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
