"""Who was erased: a journal of it, which anybody may read without a key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pydantic import JsonValue

from loom.errors import ErasedError
from loom.identity import By, Identity
from loom.journal.entry import Entry, PersonEntry, Recorded
from loom.journal.folded import FoldedJournal
from loom.journal.store import Draft, JournalStore, draft

__all__ = ["ERASURES_JOURNAL", "Erasures", "SubjectErasedEntry", "is_sealed"]

ERASURES_JOURNAL = "loom/erasures"


class SubjectErasedEntry(PersonEntry):
    """The key of a subject was destroyed, in a person's name: what was sealed for it can be read by nobody."""

    kind: ClassVar[str] = "subject_erased"
    schema_version: ClassVar[int] = 2

    subject: str
    by: str
    reason: str


def is_sealed(value: object) -> bool:
    """Tell whether a value is one that was sealed."""
    return isinstance(value, Mapping) and value.get("$sealed") == 1 and isinstance(value.get("subject"), str)


class Erasures:
    """Who was erased in a workspace."""

    def __init__(self, store: JournalStore, *, make_draft: Callable[[Entry], Draft] = draft) -> None:
        self._journal = FoldedJournal(store, ERASURES_JOURNAL, self._fold, make_draft=make_draft)
        self._erased: dict[str, SubjectErasedEntry] = {}

    async def load(self) -> None:
        """Read them."""
        await self._journal.load()

    async def add(self, subject: str, *, by: By, reason: str) -> None:
        """Journal in a person's name that a subject is erased; once it is, nothing happens."""
        entry = SubjectErasedEntry(**Identity.of(by).written(), subject=subject, reason=reason)
        await self._journal.append_if_missing(lambda: None if subject in self._erased else entry)

    def get(self, subject: str) -> SubjectErasedEntry | None:
        """Return who erased a subject and why; None where nobody did."""
        return self._erased.get(subject)

    def check(self, subject: str) -> None:
        """Raise `ErasedError` for a subject that was erased."""
        erased = self._erased.get(subject)
        if erased is not None:
            raise ErasedError(f"subject [{subject:.80}] was erased by [{erased.identity}]: {erased.reason}")

    def shown(self, value: JsonValue) -> JsonValue:
        """Return a value as it may be shown to anybody: what is sealed says so, or says that it is erased."""
        if is_sealed(value):
            sealed: Any = value
            return "erased" if sealed["subject"] in self._erased else "sealed"
        if isinstance(value, Mapping):
            return {name: self.shown(each) for name, each in value.items()}
        return [self.shown(each) for each in value] if isinstance(value, list) else value

    def _fold(self, recorded: Recorded) -> None:
        if isinstance(recorded.entry, SubjectErasedEntry):
            self._erased[recorded.entry.subject] = recorded.entry
