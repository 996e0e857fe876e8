"""The projection behind approval chains: the state of each request, and all its events.

The first answer that decides counts. A request that is still pending when its turn ends is moot.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime

from loom.clock import us_from_datetime
from loom.decisions.entries import ApprovalAnsweredEntry, ApprovalEscalatedEntry, ApprovalRequestedEntry
from loom.journal.entry import Recorded
from loom.journal.kinds import ENDINGS
from loom.projections.published import Published
from loom.projections.sql import script

__all__ = ["ApprovalsProjection"]

_REQUEST = """
INSERT INTO approvals (
  position, approval_id, journal, command_id, actor_type, actor_key, approver, reason, shown, facts, evaluation,
  requested_by, requested_identity_source, requested_via, requested_at_us, deadline_us, on_deadline, escalate_to,
  action, arguments, request)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING
"""
_KNOWN = "SELECT position, status, escalate_to FROM approvals WHERE approval_id = ?"
_ANSWER = """
UPDATE approvals SET status = ?, answered_by = ?, answered_identity_source = ?, answered_via = ?, role = ?, comment = ?,
  answered_at_us = ?, question = NULL, answer = ?
WHERE position = ?
"""
_ESCALATE = "UPDATE approvals SET approver = ?, deadline_us = ?, escalate_to = ? WHERE position = ?"
_SEND_BACK = "UPDATE approvals SET question = ? WHERE position = ?"
_INFORM = "UPDATE approvals SET question = NULL, information = ?, shown = ? WHERE position = ?"
_PENDING_OF_TURN = "SELECT position FROM approvals WHERE journal = ? AND command_id = ? AND status = 'pending'"
_MOOT = "UPDATE approvals SET status = 'moot' WHERE position = ?"
_EVENT = """
INSERT INTO approval_events (
  request, position, at_us, event, approver, by, identity_source, via, role, comment, deadline_us, counts,
  answer)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_OF_REQUEST = frozenset({"adjustable", "on_question", "situation", "after", "quorum", "deny_quorum", "directory"})
_OF_ANSWER = frozenset({"changes", "rendering", "rendered", "distinguished", "against"})
_OF_EVENT = _OF_ANSWER | {"decides", "member", "in_place_of", "directory"}


class ApprovalsProjection:
    """Keeps the state and the history of every request for approval."""

    name = "approvals"
    version = 5
    kinds = frozenset({"approval_requested", "approval_answered", "approval_escalated", *ENDINGS})
    schema = script("loom.decisions", "approvals.sql")
    tables = ("approvals", "approval_events")
    publish = (
        Published("approvals", text=("reason", "comment"), indexes=(("requested_at_us",),)),
        Published("approval_events"),
    )

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the tables."""
        if recorded.kind in ENDINGS:
            _close_turn(recorded, view)
            return
        entry = recorded.entry
        if isinstance(entry, ApprovalRequestedEntry):
            (_request if entry.information is None else _inform)(recorded, entry, view)
        elif isinstance(entry, ApprovalAnsweredEntry):
            _answer(recorded, entry, view)
        elif isinstance(entry, ApprovalEscalatedEntry):
            _escalate(recorded, entry, view)


def _request(recorded: Recorded, entry: ApprovalRequestedEntry, view: sqlite3.Connection) -> None:
    actor_type, _, actor_key = recorded.journal.partition("/")
    at, deadline = recorded.recorded_at_us, _us(entry.deadline)
    inserted = view.execute(
        _REQUEST,
        (
            recorded.position,
            entry.approval_id,
            recorded.journal,
            recorded.command_id,
            actor_type,
            actor_key,
            entry.approver,
            entry.reason,
            entry.shown,
            None if entry.facts is None else json.dumps(entry.facts, ensure_ascii=False),
            None if entry.evaluation is None else entry.evaluation.model_dump_json(),
            *_person(entry),
            at,
            deadline,
            entry.on_deadline,
            json.dumps(entry.escalate_to, ensure_ascii=False),
            entry.action,
            None if entry.arguments is None else json.dumps(entry.arguments, ensure_ascii=False),
            _part(entry, _OF_REQUEST),
        ),
    ).rowcount
    if inserted:
        asked = (recorded.position, recorded.position, at, "requested", entry.approver, *_person(entry))
        view.execute(_EVENT, (*asked, None, None, deadline, 1, None))


def _inform(recorded: Recorded, entry: ApprovalRequestedEntry, view: sqlite3.Connection) -> None:
    known = view.execute(_KNOWN, (entry.approval_id,)).fetchone()
    if known is None:
        return
    request, status, _ = known
    counts = status == "pending"
    if counts:
        view.execute(_INFORM, (entry.information, entry.shown, request))
    informed = (request, recorded.position, recorded.recorded_at_us, "informed", entry.approver, *_person(entry))
    view.execute(_EVENT, (*informed, None, entry.information, None, int(counts), None))


def _answer(recorded: Recorded, entry: ApprovalAnsweredEntry, view: sqlite3.Connection) -> None:
    known = view.execute(_KNOWN, (entry.approval_id,)).fetchone()
    if known is None:
        return
    request, status, _ = known
    answer, at = "granted" if entry.granted else "denied", recorded.recorded_at_us
    counts, comment, more = status == "pending", entry.comment, _part(entry, _OF_ANSWER)
    if entry.question is not None:
        answer, comment = "sent_back", entry.question
    if counts and entry.decides:
        view.execute(_ANSWER, (answer, *_person(entry), entry.role, comment, at, more, request))
    elif counts and entry.question is not None:
        view.execute(_SEND_BACK, (entry.question, request))
    given = (request, recorded.position, at, answer, None, *_person(entry), entry.role, comment)
    view.execute(_EVENT, (*given, None, int(counts), _part(entry, _OF_EVENT)))


def _escalate(recorded: Recorded, entry: ApprovalEscalatedEntry, view: sqlite3.Connection) -> None:
    known = view.execute(_KNOWN, (entry.approval_id,)).fetchone()
    if known is None:
        return
    request, status, escalate_to = known
    counts, deadline = status == "pending", _us(entry.deadline)
    if counts:
        waiting: list[str] = json.loads(escalate_to)
        left = waiting[waiting.index(entry.approver) + 1 :] if entry.approver in waiting else waiting
        view.execute(_ESCALATE, (entry.approver, deadline, json.dumps(left, ensure_ascii=False), request))
    passed = (request, recorded.position, recorded.recorded_at_us, "escalated", entry.approver, entry.passed_over)
    view.execute(_EVENT, (*passed, None, None, None, None, deadline, int(counts), None))


def _close_turn(recorded: Recorded, view: sqlite3.Connection) -> None:
    if recorded.command_id is None:
        return
    for (request,) in view.execute(_PENDING_OF_TURN, (recorded.journal, recorded.command_id)).fetchall():
        view.execute(_MOOT, (request,))
        moot = (request, recorded.position, recorded.recorded_at_us, "moot")
        view.execute(_EVENT, (*moot, None, None, None, None, None, None, None, 1, None))


def _person(entry: ApprovalRequestedEntry | ApprovalAnsweredEntry) -> tuple[str | None, str | None, str | None]:
    name = entry.requested_by if isinstance(entry, ApprovalRequestedEntry) else entry.by
    return name, entry.identity_source, entry.via


def _part(entry: ApprovalRequestedEntry | ApprovalAnsweredEntry, names: frozenset[str]) -> str | None:
    """Return some fields of an entry as JSON; None where all have their defaults."""
    said = entry.model_dump_json(include=set(names), exclude_defaults=True)
    return None if said == "{}" else said


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else us_from_datetime(moment)
