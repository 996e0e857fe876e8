"""The journal of archives: which archives were made of a workspace, and what was pruned into them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import ClassVar, Literal, NamedTuple, Protocol

from loom.archive.durable import sync_file
from loom.archive.reading import Archive
from loom.archive.retention import Retention, RetentionOverriddenEntry, check_override
from loom.errors import (
    ActorPrunedError,
    JournalCorruptError,
    LoomError,
    RetentionError,
    SequenceConflictError,
)
from loom.identity import By, Identity, parse_journal_name
from loom.journal.entry import Entry, PersonEntry, Recorded
from loom.journal.kinds import PrunedEntry
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalReader, JournalStore, draft
from loom.sealing import Erasures, Subjects
from loom.sealing.concerning import sealed_in

__all__ = ["ARCHIVES_JOURNAL", "ActorBlocker", "ArchivedEntry", "Archives", "Pruned"]

ARCHIVES_JOURNAL = "loom/archives"


class ArchivedEntry(PersonEntry):
    """Journals were sealed into an archive. The digest identifies the archive and all its contents."""

    kind: ClassVar[str] = "archived"
    schema_version: ClassVar[int] = 2

    digest: str
    file: str
    journals: int
    entries: int
    by: str


class ActorBlocker(Protocol):
    """Keeps actors from taking commands: the actors of a running loom."""

    def block(self, journal: str, why: LoomError) -> bool:
        """Block commands for an idle actor; False if the actor is busy."""
        ...

    def unblock(self, journal: str) -> None:
        """Let the actor take commands again."""
        ...


class Pruned(NamedTuple):
    """The journals that were pruned, and those that were left, with the reason."""

    journals: tuple[str, ...]
    left: dict[str, str]


class ArchivesKnown:
    """Reads the archives of one workspace from their journal."""

    def __init__(self, store: JournalReader, *, make_draft: Callable[[Entry], Draft] = draft) -> None:
        self._journal = SingletonJournal(store, ARCHIVES_JOURNAL, self._fold, make_draft=make_draft)
        self._known: dict[str, ArchivedEntry] = {}
        self._pruned: dict[str, list[tuple[int, int]]] = {}

    async def load(self) -> None:
        """Read the archives and the pruned ranges from their journal."""
        await self._journal.load()

    def get(self, digest: str) -> ArchivedEntry | None:
        """Return the entry of an archive by its digest; None for an unknown one."""
        return self._known.get(digest)

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        if isinstance(entry, ArchivedEntry):
            self._known[entry.digest] = entry
        elif isinstance(entry, PrunedEntry):
            self._pruned.setdefault(entry.journal, []).append((entry.first_sequence, entry.last_sequence))


class Archives(ArchivesKnown):
    """The archives of one workspace. `retention` says what must be kept; by default the retention of loom's own config.

    `subjects` are those of an open loom: data of subjects on hold is never pruned, no matter who asks for it.
    """

    def __init__(
        self,
        store: JournalStore,
        *,
        retention: Retention | None = None,
        make_draft: Callable[[Entry], Draft] = draft,
        subjects: Subjects | None = None,
    ) -> None:
        super().__init__(store, make_draft=make_draft)
        self._store = store
        self._subjects = Subjects(Erasures(store)) if subjects is None else subjects
        self._retention = Retention.of() if retention is None else retention

    async def add(self, archive: Archive, *, by: By, override: str | None = None) -> ArchivedEntry:
        """Journal that an archive was made: from then on the journal vouches for it.

        The archive is first verified and compared with the journal: `JournalCorruptError` if anything is wrong. If it
        holds journals that retention keeps, `RetentionError`, unless `override` gives a reason, which is journaled
        first, in the person's name.
        """
        who = Identity.of(by)
        await self.load()
        await self.check(archive)
        kept = self._kept(archive)
        if kept:
            if override is None:
                raise _too_young(kept)
            await self._override("archive", archive, kept, by=who, reason=override)
        return await self._vouch_for(archive, by=who)

    async def add_bodies(
        self, archive: Archive, *, by: Identity, overridden: dict[str, datetime], override: str | None
    ) -> ArchivedEntry:
        """Journal that an archive of single bodies was made, after verifying and syncing it.

        `overridden` are the journals that retention keeps, and until when; `override` is the reason, and is journaled.
        """
        await self.check(archive)
        await self._make_durable(archive)
        if overridden and override is not None:
            await self._override("prune", archive, overridden, by=by, reason=override)
        return await self._vouch_for(archive, by=by)

    async def _vouch_for(self, archive: Archive, *, by: Identity) -> ArchivedEntry:
        chosen = [each for each in archive.manifest.journals if not each.context]
        entry = ArchivedEntry(
            **by.written(),
            digest=archive.digest,
            file=archive.path.name,
            journals=len(chosen),
            entries=archive.manifest.entries,
        )
        await self._journal.append_if_missing(lambda: None if entry.digest in self._known else entry)
        return self._known[entry.digest]

    async def prune(
        self, archive: Archive, *, by: By, reason: str, override: str | None = None, blocker: ActorBlocker | None = None
    ) -> Pruned:
        """Remove the bodies of archived journals from the journal, in a person's name; hashes and chains stay.

        The archive is first verified, from its first byte to its last, and compared with the journal: raises
        `JournalCorruptError` if anything is wrong, and nothing is removed. A journal is left if it has grown since,
        if the archive holds it as context, if its actor is busy, or if retention keeps it; `override` gives a reason to
        prune it in spite of retention, and is journaled first. A journal of a subject on hold is always left. If the
        process is killed in between, call it again to continue. `blocker` keeps the actors of a running loom from
        taking commands meanwhile, and from then on.
        """
        who = Identity.of(by)
        await self.load()
        await self.check(archive)
        if self.get(archive.digest) is None:
            raise _unfit(archive, "it is not in the journal of archives")
        await self._make_durable(archive)
        kept = self._kept(archive)
        if kept and override is not None:
            await self._override("prune", archive, kept, by=who, reason=override)
            kept = {}
        left: dict[str, str] = {}
        done: list[str] = []
        for listed in archive.manifest.journals:
            name, last = listed.journal, listed.entries
            if listed.context:
                left[name] = "context"
            elif listed.partial:
                left[name] = "only some of its bodies are in the archive"
            elif name in kept:
                left[name] = f"retention keeps it until {kept[name]:%Y-%m-%d %H:%M} UTC"
            elif (
                why := await self._unless_held(
                    name, last, by=who, reason=reason, archive=archive.digest, blocker=blocker
                )
            ) is not None:
                left[name] = why
            else:
                done.append(name)
        return Pruned(tuple(done), left)

    async def _unless_held(
        self, name: str, last: int, *, by: Identity, reason: str, archive: str, blocker: ActorBlocker | None
    ) -> str | None:
        """Remove the bodies of one journal, unless a subject of it is on hold; no hold can be placed meanwhile."""
        subjects = {parse_journal_name(name).key}
        async for recorded in self._store.read(name, until=last):
            subjects.update(each.subject for each in sealed_in(recorded))
        async with self._subjects.unheld(subjects) as held:
            if held is not None:
                return f"subject [{held:.80}] is held"
            return await self._pruned_one(name, last, by=by, reason=reason, archive=archive, blocker=blocker)

    async def _pruned_one(
        self, name: str, last: int, *, by: Identity, reason: str, archive: str, blocker: ActorBlocker | None
    ) -> str | None:
        """Remove the bodies of one journal; return the reason if it is left."""
        pruned = ActorPrunedError(f"journal [{name}] is pruned; expected all of it: read it in the archive")
        if blocker is not None and not blocker.block(name, pruned):
            return "its actor is busy, or stopped"
        try:
            if (await self._store.head(name)).sequence == last:
                await self.declare(name, 1, last, by=by, reason=reason, archive=archive)
                await self._store.prune(name, until=last)
                return None
        except SequenceConflictError:
            pass
        except BaseException:
            if blocker is not None:
                blocker.unblock(name)
            raise
        if blocker is not None:
            blocker.unblock(name)
        return "it has grown since"

    def _kept(self, archive: Archive) -> dict[str, datetime]:
        """Return the journals of an archive that retention keeps, and until when, without those that are pruned."""
        ended_at = {
            each.journal: each.last_at
            for each in archive.manifest.journals
            if not each.context and not self.is_declared(each.journal, 1, each.entries)
        }
        return self._retention.within(ended_at, self._store.now())

    async def _override(
        self,
        what: Literal["archive", "prune"],
        archive: Archive,
        kept: dict[str, datetime],
        *,
        by: Identity,
        reason: str,
    ) -> None:
        entry = RetentionOverriddenEntry(
            **by.written(), what=what, digest=archive.digest, kept_until=kept, reason=check_override(reason)
        )
        await self._journal.append_if_missing(lambda: entry)

    async def _make_durable(self, archive: Archive) -> None:
        """Sync the archive to the disk before it is the only place of the bodies: the file may be a copy."""
        try:
            await asyncio.to_thread(sync_file, archive.path)
        except OSError as error:
            raise _unfit(archive, f"it cannot be made durable: {error.strerror}") from error

    async def declare(self, journal: str, first: int, last: int, *, by: Identity, reason: str, archive: str) -> None:
        """Journal that bodies are pruned, before they are removed, unless that is journaled. `archive` is a digest."""
        entry = PrunedEntry(
            journal=journal, first_sequence=first, last_sequence=last, **by.written(), reason=reason, archive=archive
        )
        await self._journal.append_if_missing(lambda: None if self.is_declared(journal, first, last) else entry)

    def is_declared(self, journal: str, first: int, last: int) -> bool:
        """Tell whether an entry declares these bodies of a journal pruned."""
        return any(one <= first and last <= other for one, other in self._pruned.get(journal, ()))

    async def check(self, archive: Archive) -> None:
        """Raise `JournalCorruptError` for an archive that must not replace bodies in the journal."""
        found = await asyncio.to_thread(archive.verify)
        wrong = [*found.findings, *await archive.compare(self._store)]
        if found.closed and not wrong:  # a body that does not open would be lost
            wrong = await archive.verify_closed(self._subjects.opened_vault())
        if archive.workspace != self._store.workspace:
            problem = f"it is of workspace {archive.workspace}"
        elif wrong:
            problem = f"{wrong[0].code}: {wrong[0].message}"
        else:
            return
        raise _unfit(archive, problem)


def _too_young(kept: Mapping[str, datetime]) -> RetentionError:
    name = min(kept, key=lambda each: kept[each])
    return RetentionError(
        f"journal [{name}] is kept until [{kept[name]:%Y-%m-%d %H:%M} UTC] by retention, as are [{len(kept) - 1}] "
        "others of this archive; expected older ones: wait, or override retention in your name, with a reason"
    )


def _unfit(archive: Archive, problem: str) -> JournalCorruptError:
    return JournalCorruptError(
        f"archive [{archive.path}] cannot be used [{problem}]; expected one that `loom archive` made of this "
        "workspace and that verifies: nothing was changed"
    )
