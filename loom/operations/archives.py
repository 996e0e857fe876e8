"""Operations on archives: the journal is told of each, and gives up bodies for one where a person asks."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from loom.archive import Archive, ArchivedEntry, Archives
from loom.operations.arguments import Arguments

__all__ = ["AddArchive", "PruneArchive", "add_archive", "prune_archive"]


class AddArchive(Arguments):
    """What was sealed, and by whom."""

    digest: str
    file: str
    journals: int
    entries: int
    by: str


class PruneArchive(Arguments):
    """For which archive bodies are taken away, in whose name and why."""

    file: Path
    by: str
    reason: str


async def add_archive(archives: Archives, given: AddArchive) -> JsonValue:
    """Write down that an archive was made."""
    await archives.load()
    await archives.add(ArchivedEntry(**given.model_dump()))
    return {"digest": given.digest}


async def prune_archive(archives: Archives, given: PruneArchive) -> JsonValue:
    """Verify an archive, and take the bodies of its journals away."""
    archive = Archive(given.file)
    try:
        pruned = await archives.prune(archive, by=given.by, reason=given.reason)
    finally:
        archive.close()
    return {"journals": list(pruned.journals), "left": dict(pruned.left)}
