"""Which archives were made of a workspace, and what was pruned for them: a journal of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar, NamedTuple, Protocol

from loom.archive.reading import Archive
from loom.errors import JournalCorruptError
from loom.identity import check_person
from loom.journal.entry import Entry, Recorded
from loom.journal.folded import FoldedJournal
from loom.journal.kinds import PrunedEntry
from loom.journal.store import Draft, JournalStore, draft

__all__ = ["ARCHIVES_JOURNAL", "ArchivedEntry", "Archives", "PrunableStore", "Pruned"]

ARCHIVES_JOURNAL = "loom/archives"


class ArchivedEntry(Entry):
    """Journals were sealed into an archive. Its digest names it, and all that is in it."""

    kind: ClassVar[str] = "archived"

    digest: str
    file: str
    journals: int
    entries: int
    by: str


class PrunableStore(JournalStore, Protocol):
    """A store that can take bodies away where a journaled entry says so."""

    async def prune(self, journal: str, *, until: int) -> None:
        """Take the bodies of a journal away, up to and with a sequence."""
        ...


class Pruned(NamedTuple):
    """What was pruned, and which journals were left, with why."""

    journals: tuple[str, ...]
    left: dict[str, str]


class Archives:
    """The archives of one workspace."""

    def __init__(self, store: PrunableStore, *, make_draft: Callable[[Entry], Draft] = draft) -> None:
        self._store = store
        self._journal = FoldedJournal(store, ARCHIVES_JOURNAL, self._fold, make_draft=make_draft)
        self._known: dict[str, ArchivedEntry] = {}
        self._pruned: dict[str, int] = {}

    async def load(self) -> None:
        """Read them."""
        await self._journal.load()

    def get(self, digest: str) -> ArchivedEntry | None:
        """Return what was journaled of an archive when it was made; None for one that nobody knows."""
        return self._known.get(digest)

    async def add(self, entry: ArchivedEntry) -> None:
        """Write down that an archive was made: from then on the journal vouches for it."""
        check_person(entry.by)
        await self._journal.append_if_missing(lambda: None if entry.digest in self._known else entry)

    async def prune(self, archive: Archive, *, by: str, reason: str) -> Pruned:
        """Take the bodies of sealed journals out of the journal, in a person's name; hashes and chains stay.

        The archive is verified first, from its first byte to its last, and held against the journal: raises
        `JournalCorruptError` where anything is amiss, and then nothing is taken. A journal that went on since, or that
        the archive holds as context, is left. Killed in between, it is gone on with when it is asked for again.
        """
        check_person(by)
        await self.load()
        await self._check(archive)
        left: dict[str, str] = {}
        done: list[str] = []
        for listed in archive.manifest.journals:
            name, last = listed.journal, listed.entries
            if listed.context:
                left[name] = "context"
            elif (await self._store.head(name)).sequence != last:
                left[name] = "it went on since"
            else:
                entry = PrunedEntry(journal=name, first_sequence=1, last_sequence=last, by=by, reason=reason)
                await self._declare(entry)
                await self._store.prune(name, until=last)
                done.append(name)
        return Pruned(tuple(done), left)

    async def _declare(self, entry: PrunedEntry) -> None:
        """Write down that bodies are gone, before they are; once is enough."""
        already = self._pruned.get(entry.journal, 0) >= entry.last_sequence
        await self._journal.append_if_missing(lambda: None if already else entry)

    async def _check(self, archive: Archive) -> None:
        found = await asyncio.to_thread(archive.verify)
        wrong = [*found.findings, *await archive.compare(self._store)]
        if archive.workspace != self._store.workspace:
            problem = f"it is of workspace {archive.workspace}"
        elif self.get(archive.digest) is None:
            problem = "this journal knows of no such archive"
        elif wrong:
            problem = f"{wrong[0].code}: {wrong[0].message}"
        else:
            return
        raise JournalCorruptError(
            f"archive [{archive.path}] is not one to prune for [{problem}]; expected one that `loom archive` made of "
            "this workspace and that verifies: nothing was taken"
        )

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        if isinstance(entry, ArchivedEntry):
            self._known[entry.digest] = entry
        elif isinstance(entry, PrunedEntry):
            self._pruned[entry.journal] = max(self._pruned.get(entry.journal, 0), entry.last_sequence)
