"""Operations on single bodies: old data that is found in clear, and what there is of a subject, go into an archive."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from loom.actors import ActorSystem
from loom.actors.scanning import scan
from loom.archive import BodiesPruned, BodyPruning, bodies_of_subject
from loom.errors import AdmissionError
from loom.extension import Named
from loom.journal.store import JournalStore
from loom.operations.arguments import Arguments, Nothing
from loom.sealing import Subjects, check_subject

__all__ = ["PruneClear", "PruneSubject", "prune_clear", "prune_subject", "scan_clear"]


class PruneClear(Arguments):
    """In which directory the archive is made, in whose name and why; `override` is why retention is not to count."""

    directory: Path
    by: Named
    reason: str
    override: str | None = None


class PruneSubject(PruneClear):
    """Whose bodies are taken away."""

    subject: str


async def scan_clear(store: JournalStore, actors: ActorSystem, _: Nothing) -> JsonValue:
    """Return which entries hold a declared field in clear."""
    return [each._asdict() async for each in scan(store, actors.classes, until=store.acknowledged)]


async def prune_clear(store: JournalStore, actors: ActorSystem, pruning: BodyPruning, given: PruneClear) -> JsonValue:
    """Move the bodies that hold a declared field in clear into an encrypted archive, each for its subjects.

    A journal is left if the subject of one of these fields is unknown.
    """
    chosen: dict[str, dict[int, set[str]]] = {}
    unknown: dict[str, str] = {}
    async for each in scan(store, actors.classes, until=store.acknowledged):
        bodies = chosen.setdefault(each.journal, {}).setdefault(each.sequence, set())
        if each.subject is not None:
            bodies.add(each.subject)
        elif not bodies:
            unknown[each.journal] = f"the subject of [{each.path}] of sequence [{each.sequence}] is not named"
    unknown = {name: why for name, why in unknown.items() if not all(chosen[name].values())}
    for name in unknown:
        chosen.pop(name)
    done = await pruning.carry_out(
        chosen, _file(store, given.directory), by=given.by, reason=given.reason, override=given.override
    )
    return _said(done._replace(left={**done.left, **unknown}))


async def prune_subject(
    store: JournalStore, subjects: Subjects, pruning: BodyPruning, given: PruneSubject
) -> JsonValue:
    """Move the bodies of actors' journals that concern a subject into an encrypted archive."""
    check_subject(given.subject)
    chosen = await bodies_of_subject(store, given.subject, subjects=subjects)
    done = await pruning.carry_out(
        chosen, _file(store, given.directory), by=given.by, reason=given.reason, override=given.override
    )
    return _said(done)


def _file(store: JournalStore, directory: Path) -> Path:
    if not directory.is_absolute():
        raise AdmissionError(f"directory [{directory}] is relative; expected an absolute path: write it in full")
    return directory / f"{store.workspace}-bodies-{store.now():%Y-%m-%d}-{store.acknowledged}.loom.zip"


def _said(done: BodiesPruned) -> JsonValue:
    return {
        "file": None if done.file is None else str(done.file),
        "digest": done.digest,
        "journals": dict(done.journals),
        "left": dict(done.left),
    }
