"""Operations on archives: each is recorded in the journal, which drops bodies for one on a person's request."""

from __future__ import annotations

from pathlib import Path

from pydantic import AwareDatetime, JsonValue

from loom.archive import ActorBlocker, Archive, Archives, Retention, check_override, seal
from loom.extension import Named
from loom.identity import Identity
from loom.journal.store import JournalStore
from loom.operations.arguments import Arguments
from loom.sealing import Subjects

__all__ = ["AddArchive", "EncryptArchive", "PruneArchive", "add_archive", "encrypt_archive", "prune_archive"]


class AddArchive(Arguments):
    """Which file the journal is to vouch for, and who made it; `override` is why retention is not to count."""

    file: Path
    by: Named
    override: str | None = None


class EncryptArchive(Arguments):
    """Into which new file journals are sealed that end before a moment, with their bodies sealed for their subjects."""

    file: Path
    before: AwareDatetime
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
    with Archive(given.file) as archive:
        return (await archives.add(archive, by=given.by, override=given.override)).model_dump(mode="json")


async def encrypt_archive(
    store: JournalStore, archives: Archives, subjects: Subjects, retention: Retention, given: EncryptArchive
) -> JsonValue:
    """Seal journals into an encrypted archive, and write down that it was made; null where there are none."""
    if given.override is not None:
        check_override(given.override)
    sealed = await seal(
        store,
        given.file,
        workspace=store.workspace,
        until=store.acknowledged,
        before=given.before,
        by=Identity.of(given.by).name,
        now=store.now(),
        retention=retention if given.override is None else None,
        held=subjects.erasures.held(),
        vault=subjects.opened_vault(),
        erasures=subjects.erasures,
    )
    if sealed is None:
        return None
    with Archive(given.file) as archive:
        added = await archives.add(archive, by=given.by, override=given.override)
    return {**added.model_dump(mode="json"), "left": dict(sealed.left)}


async def prune_archive(archives: Archives, blocker: ActorBlocker, given: PruneArchive) -> JsonValue:
    """Verify an archive, and take the bodies of its journals away."""
    with Archive(given.file) as archive:
        pruned = await archives.prune(
            archive, by=given.by, reason=given.reason, override=given.override, blocker=blocker
        )
    return {"journals": list(pruned.journals), "left": dict(pruned.left)}
