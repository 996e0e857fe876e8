"""Operations on archives: the journal is told of each, and gives up bodies for one where a person asks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import JsonValue

from loom.archive import ActorBlocker, Archive, Archives
from loom.extension import Named
from loom.operations.arguments import Arguments

__all__ = ["AddArchive", "PruneArchive", "add_archive", "prune_archive"]


class AddArchive(Arguments):
    """Which file the journal is to vouch for, and who made it; `override` is why retention is not to count."""

    file: Path
    by: Named
    override: str | None = None


class PruneArchive(Arguments):
    """For which archive bodies are taken away, in whose name and why; `override` is why retention is not to count."""

    file: Path
    by: Named
    reason: str
    override: str | None = None


async def add_archive(archives: Archives, given: AddArchive) -> JsonValue:
    """Verify an archive, and write down that it was made."""
    with _opened(given.file) as archive:
        return (await archives.add(archive, by=given.by, override=given.override)).model_dump(mode="json")


async def prune_archive(archives: Archives, blocker: ActorBlocker, given: PruneArchive) -> JsonValue:
    """Verify an archive, and take the bodies of its journals away."""
    with _opened(given.file) as archive:
        pruned = await archives.prune(
            archive, by=given.by, reason=given.reason, override=given.override, blocker=blocker
        )
    return {"journals": list(pruned.journals), "left": dict(pruned.left)}


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Archive]:
    archive = Archive(file)
    try:
        yield archive
    finally:
        archive.close()
