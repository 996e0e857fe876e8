"""What is notified of: one notice of an entry, with ids and links and no facts, as a CloudEvent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from loom.decisions.entries import (
    ApprovalAnsweredEntry,
    ApprovalEscalatedEntry,
    ApprovalRequestedEntry,
    is_unanswerable,
)
from loom.identity import derived_id
from loom.journal.entry import Entry, Recorded
from loom.journal.kinds import OWN_IDS
from loom.notices.entries import NoticeRaisedEntry
from loom.standings import StandingChangedEntry

__all__ = ["Notice", "Notices"]


class Notice(NamedTuple):
    """One thing that happened. `subject` is what the order is kept for; `ids` name what to look up."""

    notice_id: str
    notice_type: str
    subject: str
    position: int
    at: str
    ids: Mapping[str, str]

    def body(self, *, workspace: str, base_url: str | None) -> bytes:
        """Return it as a CloudEvent 1.0 in JSON, the same bytes at each try."""
        data: dict[str, object] = {"workspace": workspace, "position": self.position, **self.ids}
        if base_url is not None and (approval_id := self.ids.get("approval_id")) is not None:
            data["link"] = f"{base_url}/inbox/{approval_id}"
        elif base_url is not None:
            data["link"] = f"{base_url}/"
        event = {
            "specversion": "1.0",
            "id": self.notice_id,
            "source": f"/loom/{workspace}",
            "type": self.notice_type,
            "subject": self.subject,
            "time": self.at,
            "datacontenttype": "application/json",
            "data": data,
        }
        return json.dumps(event, ensure_ascii=True, separators=(",", ":")).encode()


_Said = tuple[str, str, Mapping[str, str]]
"""Type, subject, ids."""


class Notices:
    """Makes notices of entries. `more` are kinds of wings, with the type of the notice of each."""

    def __init__(self, workspace: str, *, more: Mapping[str, str]) -> None:
        self._workspace = workspace
        self._more = dict(more)

    def of(self, recorded: Recorded) -> Notice | None:
        """Return the notice of an entry; None for one that has none, and for history."""
        if recorded.kind in OWN_IDS or recorded.body is None:
            return None
        if recorded.kind in self._more:
            # The key of a journal may name a customer: what is outside gets a digest of it.
            said: _Said | None = (self._more[recorded.kind], derived_id("notice-subject", recorded.journal)[:32], {})
        else:
            say = _SAYINGS.get(recorded.kind)
            said = None if say is None else say(recorded.entry)
        if said is None:
            return None
        notice_type, subject, ids = said
        notice_id = "msg_" + derived_id("notice", self._workspace, str(recorded.position), notice_type)[:32]
        return Notice(notice_id, notice_type, subject, recorded.position, recorded.recorded_at.isoformat(), ids)


def _asked(entry: Entry) -> _Said | None:
    if not isinstance(entry, ApprovalRequestedEntry):
        return None
    return "loom.approval.asked", entry.approval_id, {"approval_id": entry.approval_id}


def _answered(entry: Entry) -> _Said | None:
    if not isinstance(entry, ApprovalAnsweredEntry):
        return None
    what = "answered"
    if entry.by is None and not is_unanswerable(entry.comment):
        what = "expired"
    elif entry.question is not None:
        what = "sent_back"
    elif not entry.decides:  # one voice of several: the request still waits
        return None
    return f"loom.approval.{what}", entry.approval_id, {"approval_id": entry.approval_id}


def _escalated(entry: Entry) -> _Said | None:
    if not isinstance(entry, ApprovalEscalatedEntry):
        return None
    return "loom.approval.escalated", entry.approval_id, {"approval_id": entry.approval_id}


def _suspended(entry: Entry) -> _Said | None:
    if not isinstance(entry, StandingChangedEntry) or entry.standing != "SUSPENDED":
        return None
    return "loom.standing.suspended", entry.subject, {"subject": entry.subject}


def _raised(entry: Entry) -> _Said | None:
    if not isinstance(entry, NoticeRaisedEntry):
        return None
    return entry.notice_type, entry.subject, entry.ids


_SAYINGS: Mapping[str, Callable[[Entry], _Said | None]] = {
    ApprovalRequestedEntry.kind: _asked,
    ApprovalAnsweredEntry.kind: _answered,
    ApprovalEscalatedEntry.kind: _escalated,
    StandingChangedEntry.kind: _suspended,
    NoticeRaisedEntry.kind: _raised,
}
