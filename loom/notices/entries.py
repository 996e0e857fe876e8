"""The entries of the journal `loom/notices`: what was raised, delivered and given up, and how far each endpoint is."""

from __future__ import annotations

from typing import ClassVar

from loom.journal.entry import Entry, PersonEntry

__all__ = [
    "NOTICES_JOURNAL",
    "NoticeDeadEntry",
    "NoticeDeliveredEntry",
    "NoticeRaisedEntry",
    "NoticeRetriedEntry",
    "NoticesReachedEntry",
]

NOTICES_JOURNAL = "loom/notices"
"""The journal of notices."""


class NoticeRaisedEntry(Entry):
    """Something is to be notified that no other entry says: time has passed, or a look found it. Once for each key."""

    kind: ClassVar[str] = "notice_raised"

    key: str
    notice_type: str
    subject: str
    ids: dict[str, str]


class _SentEntry(Entry):
    endpoint: str
    notice_id: str
    notice_type: str
    subject: str
    position: int
    """Of the entry that the notice is about."""
    attempts: int


class NoticeDeliveredEntry(_SentEntry):
    """An endpoint answered a notice with a 2xx status."""

    kind: ClassVar[str] = "notice_delivered"

    status: int


class NoticeDeadEntry(_SentEntry):
    """A notice was given up after its last try: a dead letter, which a person may have sent again."""

    kind: ClassVar[str] = "notice_dead"

    problem: str


class NoticeRetriedEntry(PersonEntry):
    """A person has a dead letter sent again."""

    kind: ClassVar[str] = "notice_retried"
    sources_since: ClassVar[int] = 1

    endpoint: str
    notice_id: str
    by: str


class NoticesReachedEntry(Entry):
    """Everything up to a position is settled for an endpoint: delivered, given up, or nothing to be notified of."""

    kind: ClassVar[str] = "notices_reached"

    endpoint: str
    position: int
