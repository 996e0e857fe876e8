"""Read who answered which request when, and what came of it; each from its entries, once.

The views say where to look. A request that is settled does not change, so that it is read once and kept.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from loom.decisions.approvals import Approval, approvals_of
from loom.decisions.confirming import confirmed_decisions
from loom.decisions.traces import CONFIRM_OUTCOMES
from loom.identity import Identity
from loom.projections import Queries

__all__ = ["Answer", "Expired", "Readings", "Settled"]

_SETTLED = """
SELECT position, approval_id, journal, command_id, actor_key FROM approvals
WHERE status IN ('granted', 'denied') ORDER BY position DESC LIMIT :limit
"""
_CLASSES_AFTER = """
SELECT asked.key AS place, d.position, d.decision_id, d.journal, d.command_id, d.situation
FROM json_each(:asked) AS asked
JOIN trace_decisions AS d ON d.position = (
  SELECT one.position FROM trace_decisions AS one
  WHERE one.actor_key = asked.value ->> 0 AND one.position > asked.value ->> 3
    AND one.position <= (asked.value ->> 3) + :reach
    AND one.journal = asked.value ->> 1 AND one.command_id = asked.value ->> 2
  ORDER BY one.position LIMIT 1)
"""
_WRONG = """
SELECT o.* FROM trace_outcomes AS o
WHERE o.correct = 0 AND o.position > :after
  AND o.position = (SELECT max(position) FROM trace_outcomes WHERE decision_id = o.decision_id)
ORDER BY o.position DESC LIMIT :limit
"""
_TURNS = """
SELECT position, decision_id, journal, command_id FROM trace_decisions
WHERE decision_id IN (SELECT value FROM json_each(:ids))
"""
_APPROVALS, _TRACES = ("approvals",), ("traces",)
_AT_ONCE = 50
_MOST_KEPT = 10_000
_REACH = 10_000
"""The decision that an answer led to is looked for in this many positions after it."""
_ANSWERS = frozenset({"granted", "denied"})


class Answer(NamedTuple):
    """One person's answer that counted. `position` is that of its entry; `asked_at` when it was put to the role."""

    approval_id: str
    position: int
    journal: str
    command_id: str
    person: Identity
    role: str
    asked_at: datetime
    answered_at: datetime
    granted: bool
    changed: bool
    requester: str | None
    situation: str | None = None


class Expired(NamedTuple):
    """A request that its deadline denied, or passed on, and the role that had not answered it by then."""

    approval_id: str
    role: str
    at: datetime


class Settled(NamedTuple):
    """What is known of answered requests: all in order of their positions; `wrong` are turns with a wrong decision."""

    answers: tuple[Answer, ...]
    expired: tuple[Expired, ...]
    wrong: frozenset[tuple[str, str]]
    requests: int
    position: int


class Readings:
    """Reads the last settled requests. Those that were read before are not read again."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._known: dict[int, tuple[tuple[Answer, ...], tuple[Expired, ...]]] = {}

    async def settled(self, *, limit: int) -> Settled:
        """Return the answers to the last `limit` settled requests, as of a position."""
        position = await self._queries.position((*_APPROVALS, *_TRACES))
        rows = await self._queries.fetch(_SETTLED, {"limit": limit}, names=_APPROVALS)
        new = [row for row in rows if row["position"] not in self._known]
        for begin in range(0, len(new), _AT_ONCE):
            await self._read(new[begin : begin + _AT_ONCE])
        listed = {row["position"] for row in rows}
        if len(self._known) > _MOST_KEPT:
            self._known = {at: known for at, known in self._known.items() if at in listed}
        known = [self._known[at] for at in sorted(listed & self._known.keys())]
        answers = sorted((each for one, _ in known for each in one), key=lambda each: each.position)
        first = min(listed, default=0)
        wrong = await self._wrong(after=first, limit=limit)
        return Settled(tuple(answers), tuple(each for _, late in known for each in late), wrong, len(rows), position)

    async def _read(self, rows: Sequence[sqlite3.Row]) -> None:
        turns = {(row["journal"], row["command_id"]) for row in rows}
        marks = await self._queries.entries.marks(turns)
        found = {(each.position, each.approval_id): each for each in approvals_of(marks)}
        pruned = {(each.journal, each.command_id) for each in marks if each.body is None}
        read: dict[int, tuple[list[Answer], tuple[Expired, ...]]] = {}
        for row in rows:
            approval = found.get((row["position"], row["approval_id"]))
            if approval is not None and not approval.pending:
                read[row["position"]] = list(_answers_to(approval)), tuple(_expired(approval))
            elif (row["journal"], row["command_id"]) not in pruned:
                self._queries.differences.add("approvals", row["position"], "no entry answers it")
        classes = await self._classes({row["position"]: row for row in rows}, read)
        for at, (answers, late) in read.items():
            self._known[at] = tuple(each._replace(situation=classes.get(at)) for each in answers), late

    async def _classes(
        self, rows: dict[int, sqlite3.Row], read: dict[int, tuple[list[Answer], tuple[Expired, ...]]]
    ) -> dict[int, str | None]:
        """Return request → the class of the decision that its turn made after the last answer."""
        places = [at for at, (answers, _) in read.items() if answers]
        asked = [
            [*(rows[at][name] for name in ("actor_key", "journal", "command_id")), read[at][0][-1].position]
            for at in places
        ]
        given = {"asked": json.dumps(asked), "reach": _REACH}
        found = await self._queries.fetch(_CLASSES_AFTER, given, names=_TRACES, consistent=False)
        confirmed = await confirmed_decisions(self._queries, found)
        return {places[int(each.row["place"])]: each.row["situation"] for each in confirmed}

    async def _wrong(self, *, after: int, limit: int) -> frozenset[tuple[str, str]]:
        """Return the turns that made a decision whose last outcome is that it was wrong."""
        rows = await self._queries.fetch(_WRONG, {"after": after, "limit": limit}, names=_TRACES)
        kept = await self._queries.confirmed(rows, CONFIRM_OUTCOMES)
        if not kept:
            return frozenset()
        ids = json.dumps(sorted({row["decision_id"] for row in kept}))
        turns = await self._queries.fetch(_TURNS, {"ids": ids}, names=_TRACES)
        confirmed = await confirmed_decisions(self._queries, turns)
        return frozenset((each.row["journal"], each.row["command_id"]) for each in confirmed if each.row["command_id"])


def _answers_to(approval: Approval) -> Iterable[Answer]:
    """Yield the answers of persons that counted."""
    role, asked_at = approval.approver, approval.requested_at
    for event in approval.events:
        if not event.counts:
            continue
        if event.event not in _ANSWERS:
            role, asked_at = event.approver or role, event.at
        elif event.identity is not None:
            yield Answer(
                approval_id=approval.approval_id,
                position=event.position,
                journal=approval.journal,
                command_id=str(approval.command_id),
                person=event.identity,
                role=event.role or role,
                asked_at=asked_at,
                answered_at=event.at,
                granted=event.event == "granted",
                changed=bool(event.changes),
                requester=approval.requested_by,
            )


def _expired(approval: Approval) -> Iterable[Expired]:
    """Yield the roles whose time ran out: that of an escalation, and that of a denial by no person."""
    role = approval.approver
    for event in approval.events:
        if event.counts and event.event == "escalated":
            yield Expired(approval.approval_id, event.by or role, event.at)
        elif event.counts and event.event == "denied" and event.by is None and approval.deadline is not None:
            yield Expired(approval.approval_id, role, event.at)
        role = event.approver or role
