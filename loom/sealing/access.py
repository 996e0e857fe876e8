"""Who was given what there is of a subject: a journal of it."""

from __future__ import annotations

from typing import ClassVar

from loom.journal.entry import PersonEntry

__all__ = ["ACCESS_JOURNAL", "SubjectHandedOutEntry"]

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
