"""Prune single bodies of journals whose actors go on: into an encrypted archive, after a checkpoint of the state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

from loom.archive.manifest import CONTEXT, Manifest
from loom.archive.part import ArchivePart
from loom.archive.reading import Archive
from loom.archive.register import Archives
from loom.archive.retention import Retention
from loom.archive.sealing import Lines, Seen, listed, look
from loom.archive.whose import Whose
from loom.clock import datetime_from_us
from loom.errors import AdmissionError
from loom.identity import By, Identity, parse_journal_name
from loom.journal.export import Readable
from loom.journal.kinds import CommandReceivedEntry
from loom.journal.ranges import BodyRange, ranges_of, within
from loom.journal.store import JournalStore
from loom.sealing import Subjects

__all__ = ["BodiesPruned", "BodyPruning", "Checkpointer", "Chosen", "bodies_of_kinds", "bodies_of_subject"]

_CHECKPOINT = "state_checkpoint"

Chosen: TypeAlias = Mapping[str, Mapping[int, Collection[str]]]
"""By journal, the sequences whose bodies are to be pruned, each with the subjects that are known from elsewhere."""


class Checkpointer(Protocol):
    """Journals the state of an actor, so that it can go on without its bodies: the actors of a running loom."""

    async def make(
        self, journal: str, *, pruned: Sequence[BodyRange], subjects: Collection[str], keeps: bool = False
    ) -> str | None:
        """Journal the state, sealed for subjects; return the reason if that is not possible, None if it is done.

        With `keeps` the checkpoint keeps the bodies, sealed for their subjects, if the actor needs them to go on once
        one of the subjects is erased.
        """
        ...


class BodiesPruned(NamedTuple):
    """The archive that holds the bodies, the number pruned of each journal, and the journals left, with the reason."""

    file: Path | None
    digest: str | None
    journals: dict[str, int]
    left: dict[str, str]


class BodyPruning:
    """Prunes single bodies of a workspace, except those that retention keeps, that are on hold, or of open turns."""

    def __init__(
        self,
        store: JournalStore,
        archives: Archives,
        subjects: Subjects,
        checkpoints: Checkpointer,
        *,
        retention: Retention,
    ) -> None:
        self._store = store
        self._archives = archives
        self._subjects = subjects
        self._checkpoints = checkpoints
        self._retention = retention

    async def carry_out(
        self, chosen: Chosen, out: Path, *, by: By, reason: str, override: str | None = None, is_due: bool = False
    ) -> BodiesPruned:
        """Move bodies out of their journals into a new encrypted archive, in a person's name.

        Each body is sealed for all subjects whom it concerns; bodies of subjects who were erased are kept nowhere. A
        journal is left, with the reason, if it has a turn without an end; if retention keeps it (unless `override` says
        why, or the bodies are due by themselves); if one of the bodies concerns a subject on hold; or if its actor
        cannot go on without them. If the process is killed in between, call it again: what was pruned is archived.
        """
        if not reason.strip():
            raise AdmissionError("the reason is empty; expected why bodies are pruned: say why")
        who, vault = Identity.of(by), self._subjects.opened_vault()
        await self._archives.load()
        until = self._store.acknowledged
        whose = Whose(vault, self._subjects.erasures)
        lines = Lines(self._store.workspace, vault=vault, whose=whose)
        seen, ended = await look(self._store, until=until, whose=whose)
        left: dict[str, str] = {}
        going: dict[str, dict[int, dict[str, int]]] = {}
        kept = {} if is_due else self._kept(seen, chosen)
        for name in sorted(chosen):
            why = _why_left(name, seen.get(name), ended)
            if why is None and name in kept and override is None:
                why = f"retention keeps it until {kept[name]:%Y-%m-%d %H:%M} UTC"
            if why is None:
                going[name] = await self._whose(name, chosen[name], whose)
                held = self._subjects.erasures.held()
                on_hold = next((each for each in _named(name, going[name]) if each in held), None)
                why = None if on_hold is None else f"subject [{on_hold:.80}] is held"
            if why is None and not going[name]:
                why = "it has no such body left"
            if why is not None:
                going.pop(name, None)
                left[name] = why
        if not going:
            return BodiesPruned(None, None, {}, left)
        await self._seal(out, going, seen, lines, until=until, by=who)
        archive = await asyncio.to_thread(Archive, out)
        try:
            overridden = {name: kept[name] for name in going if name in kept}
            await self._archives.add_bodies(archive, by=who, overridden=overridden, override=override)
            done: dict[str, int] = {}
            for name, bodies in going.items():
                why = await self._prune(
                    name, bodies, seen[name], by=who, reason=reason, archive=archive.digest, keeps=not is_due
                )
                if why is None:
                    done[name] = len(bodies)
                else:
                    left[name] = why
            return BodiesPruned(out, archive.digest, done, left)
        finally:
            archive.close()

    async def _whose(
        self, journal: str, sequences: Mapping[int, Collection[str]], whose: Whose
    ) -> dict[int, dict[str, int]]:
        """Return the sequences that have bodies, with all subjects of each and the generations of their keys."""
        found: dict[int, dict[str, int]] = {}
        async for recorded in self._store.read(journal):
            if recorded.sequence in sequences and recorded.body is not None:
                subjects = await whose.of(recorded)
                for name in sequences[recorded.sequence]:
                    if name not in subjects:
                        subjects[name] = await whose.generation(name)
                found[recorded.sequence] = subjects
        return found

    async def _seal(
        self,
        out: Path,
        going: Mapping[str, Mapping[int, dict[str, int]]],
        seen: Mapping[str, Seen],
        lines: Lines,
        *,
        until: int,
        by: Identity,
    ) -> None:
        last = max(datetime_from_us(seen[name].last_at_us) for name in going)
        now = max(self._store.now(), last)  # the clock may have been ahead when the last entry was written
        with ArchivePart(out, is_encrypted=True) as part:
            async for recorded in self._store.read_all(until=until):
                bodies = going.get(recorded.journal)
                if bodies is None:
                    continue
                subjects = bodies.get(recorded.sequence)
                text = lines.without_body(recorded) if subjects is None else await lines.of(recorded, subjects)
                part.line(text)
            journals = (listed(name, seen[name], lines).model_copy(update={"partial": True}) for name in sorted(going))
            manifest = Manifest(
                format="loom.archive/2",
                workspace=self._store.workspace,
                before=now + timedelta(microseconds=1),
                sealed_at=now,
                by=by.name,
                loom=version("loom-journal"),
                entries=part.lines,
                last_position=until,
                entries_sha256=part.sha256.hexdigest(),
                readme_sha256=part.readme_sha256,
                journals=tuple(journals),
            )
            part.finish(manifest.raw())

    async def _prune(
        self,
        journal: str,
        bodies: Mapping[int, dict[str, int]],
        seen: Seen,
        *,
        by: Identity,
        reason: str,
        archive: str,
        keeps: bool,
    ) -> str | None:
        """Prune the bodies of one journal; return the reason if it is left. No hold can be placed meanwhile."""
        async with self._subjects.unheld(_named(journal, bodies)) as held:
            if held is not None:
                return f"subject [{held:.80}] is held"
            if seen.has_commands:
                whose = seen.sealed_for | _all(bodies)
                why = await self._checkpoints.make(journal, pruned=ranges_of(bodies), subjects=whose, keeps=keeps)
                if why is not None:
                    return why
            ranges = within([*bodies, *await self._superseded(journal, bodies)])
            for first, last in ranges:
                await self._archives.declare(journal, first, last, by=by, reason=reason, archive=archive)
            await self._store.prune_bodies(journal, ranges)
        return None

    async def _superseded(self, journal: str, bodies: Mapping[int, Mapping[str, int]]) -> list[int]:
        """Return the checkpoints before the last one, if a subject of the bodies was erased: they may hold its data."""
        ended = self._subjects.erasures.is_ended
        if not any(ended(*each) for subjects in bodies.values() for each in subjects.items()):
            return []
        found = [
            recorded.sequence
            async for recorded in self._store.read(journal)
            if recorded.kind == _CHECKPOINT and recorded.body is not None
        ]
        return found[:-1]

    def _kept(self, seen: Mapping[str, Seen], chosen: Chosen) -> dict[str, datetime]:
        ended_at = {name: datetime_from_us(seen[name].last_at_us) for name in chosen if name in seen}
        return self._retention.within(ended_at, self._store.now())


def _why_left(name: str, seen: Seen | None, ended: Collection[str]) -> str | None:
    if seen is None or name.startswith(CONTEXT):
        return "it is not the journal of an actor"
    if not seen.imports.issubset(ended):
        return "with an import that has not ended"
    return "with a turn that has no end" if seen.unfinished else None


def _all(bodies: Mapping[int, Mapping[str, int]]) -> set[str]:
    return {name for subjects in bodies.values() for name in subjects}


def _named(journal: str, bodies: Mapping[int, Mapping[str, int]]) -> set[str]:
    """Return the names whose hold keeps these bodies: their subjects, and the key of the journal."""
    return _all(bodies) | {parse_journal_name(journal).key}


async def bodies_of_subject(store: JournalStore, subject: str, *, subjects: Subjects) -> Chosen:
    """Return the bodies of actors' journals that concern a subject."""
    whose = Whose(subjects.opened_vault(), subjects.erasures)
    async for recorded in store.read_all():
        whose.take(recorded)
    chosen: dict[str, dict[int, tuple[str, ...]]] = {}
    async for recorded in store.read_all():
        if recorded.journal.startswith(CONTEXT) or recorded.command_id is None or recorded.body is None:
            continue
        if subject in await whose.of(recorded):
            chosen.setdefault(recorded.journal, {})[recorded.sequence] = ()
    return chosen


async def bodies_of_kinds(store: Readable, days: Mapping[str, float], *, now: Callable[[], datetime]) -> Chosen:
    """Return the bodies of entries of some kinds that are older than their days; `type:kind` is for one actor type.

    The bodies of received commands are never among them: they record what was asked.
    """
    chosen: dict[str, dict[int, tuple[str, ...]]] = {}
    at = now()
    async for recorded in store.read_all():
        actor_type = parse_journal_name(recorded.journal).actor_type
        limit = days.get(f"{actor_type}:{recorded.kind}", days.get(recorded.kind))
        if limit is None or recorded.body is None or recorded.kind == CommandReceivedEntry.kind:
            continue
        if recorded.journal.startswith(CONTEXT) or recorded.command_id is None:
            continue
        if recorded.recorded_at + timedelta(days=limit) <= at:
            chosen.setdefault(recorded.journal, {})[recorded.sequence] = ()
    return chosen
