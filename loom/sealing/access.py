"""Who was given what there is of a subject, and who opened what is sealed: a journal of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from pydantic import JsonValue

from loom.journal.entry import Entry, PersonEntry
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalStore, draft

__all__ = ["ACCESS_JOURNAL", "AccessJournal", "SealedOpenedEntry", "SubjectHandedOutEntry"]

ACCESS_JOURNAL = "loom/access"


class SubjectHandedOutEntry(PersonEntry):
    """What there is of a subject was opened and handed out to a person; written before that is done."""

    kind: ClassVar[str] = "subject_handed_out"
    sources_since: ClassVar[int] = 1

    subject: str
    entries: int
    """How many entries that were."""
    until: int
    """The last position that was looked at."""
    by: str
    reason: str


class SealedOpenedEntry(PersonEntry):
    """What is sealed for subjects was opened in memory, for a purpose, in a person's name; written before it is done.

    There is one for each run that opens something, or as many as the names of the subjects need.
    """

    kind: ClassVar[str] = "sealed_opened"
    sources_since: ClassVar[int] = 1

    subjects: tuple[str, ...]
    purpose: str
    """What it was opened for: `judge`, `audit`, or `approval` where it was shown to whom was asked."""
    what: dict[str, JsonValue]
    """Which records were meant, as they were asked for."""
    until: int
    """The last position that was looked at."""
    by: str
    reason: str


class AccessJournal:
    """Journals who opens what, before it is opened."""

    def __init__(self, store: JournalStore, *, make_draft: Callable[[Entry], Draft] = draft) -> None:
        self._journal = SingletonJournal(store, ACCESS_JOURNAL, lambda _: None, make_draft=make_draft)

    async def write(self, entry: SealedOpenedEntry | SubjectHandedOutEntry) -> None:
        """Append an entry, and wait until it is durable."""
        await self._journal.append_if_missing(lambda: entry)
