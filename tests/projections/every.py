"""Every projection that the program has: loom's own, and those of installed extensions; and entries for all of them."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from loom.extension import installed
from loom.journal import Recorded
from loom.journal.sqlite import Reader
from loom.projections import Projection
from loom.workspace import own_projections
from tests.golden.reading import GOLDEN, copied

__all__ = ["every_projection", "golden_workspaces"]


def every_projection() -> list[Projection]:
    """Return all projections, loom's own first."""
    return [*own_projections(), *(each for brought in installed().values() for each in brought.projections)]


async def golden_workspaces() -> list[list[Recorded]]:
    """Return the entries of each golden journal, by position: together every wing has written some."""
    found: list[list[Recorded]] = []
    for path in _unpacked():
        reader = Reader(path)
        found.append([each async for each in reader.read_all()])
        await reader.close()
    return found


@cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="loom-golden-", ignore_cleanup_errors=True)  # goes with the process


@cache
def _unpacked() -> tuple[Path, ...]:
    return tuple(copied(golden, Path(_directory().name, golden.name)) for golden in GOLDEN)
