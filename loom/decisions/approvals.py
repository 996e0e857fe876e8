"""Approval chains: every request with its answers and escalations in order, and the requests that are pending."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from itertools import islice
from operator import attrgetter
from typing import Any

from loom.clock import datetime_from_us
from loom.decisions.approval import Approval, ApprovalEvent
from loom.decisions.approvals_view import ApprovalsProjection
from loom.errors import ApprovalNotFoundError, ErasedError
from loom.identity import check_limit, short
from loom.journal.entry import Recorded
from loom.journal.store import JournalReader
from loom.projections import Queries
from loom.projections.confirming import folded_in_memory
from loom.projections.sql import prefix_range

__all__ = ["Approval", "ApprovalChains", "ApprovalEvent", "approvals_of", "waiting_in"]


_COLUMNS = """
approval_id, position, journal, command_id, actor_type, actor_key, approver, reason, shown, facts, evaluation,
requested_by, requested_identity_source, requested_via, requested_at_us, deadline_us, on_deadline, escalate_to, status,
answered_by, answered_identity_source, answered_via, role, comment, answered_at_us, action, arguments,
request, question, information, answer
"""
_LIST = """
SELECT position, approval_id, journal, command_id FROM approvals
WHERE position < :before AND (:status IS NULL OR status = :status) AND (:approver IS NULL OR approver = :approver)
ORDER BY position DESC LIMIT :limit
"""
_BY_PREFIX = "SELECT approval_id, journal, command_id FROM approvals WHERE approval_id >= ? AND approval_id < ? LIMIT 3"
_FOLDED = f"SELECT {_COLUMNS} FROM approvals ORDER BY position"  # noqa: S608
_EVENTS = """
SELECT request, position, at_us, event, approver, by, identity_source, via, role, comment, deadline_us, counts, answer
FROM approval_events ORDER BY request, position
"""
_NAMES = ("approvals",)
_NOT_THERE = "no entry gives it"


_TURNS_AT_ONCE = 200


class ApprovalChains:
    """Answers who is asked for what, and who answered. The views say where to look; the content is read from entries.

    `waiting` returns the pending requests from the journal. Without it, the index of turns is searched each time.
    """

    def __init__(self, queries: Queries, *, waiting: Callable[[], Awaitable[Sequence[Approval]]] | None = None) -> None:
        self._queries = queries
        self._waiting = waiting or self._look_for_waiting

    async def pending(self, approver: str | None = None, *, limit: int = 100, after: int = 0) -> tuple[Approval, ...]:
        """Return the pending requests, oldest first; `after` is the position of the last one already seen."""
        check_limit(limit)
        found = (each for each in await self._waiting() if each.position > after and approver in (None, each.approver))
        return tuple(islice(found, limit))

    async def list(
        self, *, status: str | None = None, approver: str | None = None, limit: int = 50, before: int | None = None
    ) -> tuple[Approval, ...]:
        """Return requests of any status, newest first; `before` is the position of the last one already seen."""
        bound = 2**63 - 1 if before is None else before
        wanted = {"status": status, "approver": approver, "limit": limit, "before": bound}
        rows = await self._queries.fetch(_LIST, wanted, names=_NAMES)
        found = {each.position: each for each in await self._confirmed(rows)}
        oldest = rows[-1]["position"] if len(rows) == limit else 0
        for each in await self._waiting():  # what the views may hide
            if oldest < each.position < bound:
                found[each.position] = each
        newest = sorted(found.values(), key=attrgetter("position"), reverse=True)
        return tuple(each for each in newest if status in (None, each.status) and approver in (None, each.approver))[
            :limit
        ]

    async def get(self, approval_id: str) -> Approval:
        """Return the request with this id, or the only one whose id begins with it.

        Raises `ApprovalNotFoundError`; `ViewsDifferError` where the views name one that is not in the journal.
        """
        waiting = [each for each in await self._waiting() if approval_id and each.approval_id.startswith(approval_id)]
        known = {each.approval_id: (each.journal, str(each.command_id)) for each in waiting}
        if approval_id not in known:
            for row in await self._queries.fetch(_BY_PREFIX, prefix_range(approval_id), names=_NAMES):
                known.setdefault(row["approval_id"], (row["journal"], row["command_id"]))
        found = [approval_id] if approval_id in known else sorted(known)
        if len(found) == 1:
            return await self._one(found[0], known[found[0]])
        several = ", ".join(found[:3])
        raise ApprovalNotFoundError(
            f"approval [{approval_id!r:.80}] is {f'ambiguous [{several}, …]' if found else 'not known'}; "
            "expected [the id of one request, or an unambiguous beginning of it]: see `loom approvals`"
        )

    async def of_turn(self, journal: str, command_id: str) -> tuple[Approval, ...]:
        """Return all requests of one turn, in order."""
        return approvals_of(await self._queries.entries.marks([(journal, command_id)]))

    async def again(self, approval: Approval) -> Approval:
        """Return a request in its present state."""
        assert approval.command_id is not None  # noqa: S101 - it was read from its turn
        return await self._one(approval.approval_id, (approval.journal, approval.command_id))

    async def _one(self, approval_id: str, turn: tuple[str, str]) -> Approval:
        marks = await self._queries.entries.marks([turn])
        for each in approvals_of(marks):
            if each.approval_id == approval_id:
                return each
        if any(each.body is None for each in marks):
            raise ErasedError(
                f"approval [{short(approval_id)}] has no body any more; expected one that was not pruned: read it in "
                "the archive that was made before"
            )
        raise self._queries.differences.add("approvals", approval_id, _NOT_THERE)

    async def _confirmed(self, rows: Sequence[sqlite3.Row]) -> Sequence[Approval]:
        """Return the requests of rows, as their entries give them. A row without entries is left out."""
        turns = {(row["journal"], row["command_id"]) for row in rows if row["command_id"] is not None}
        marks = await self._queries.entries.marks(turns) if turns else ()
        known = {(each.approval_id, each.position): each for each in approvals_of(marks)}
        pruned = {(each.journal, each.command_id) for each in marks if each.body is None}
        found = []
        for row in rows:
            approval = known.get((row["approval_id"], row["position"]))
            if approval is not None:
                found.append(approval)
            elif (row["journal"], row["command_id"]) not in pruned:
                self._queries.differences.add("approvals", row["position"], _NOT_THERE)
        return found

    async def _look_for_waiting(self) -> Sequence[Approval]:
        found: list[Approval] = []
        async for page in waiting_in(self._queries.entries):
            found += [each for each in approvals_of(page) if each.pending]
        return sorted(found, key=attrgetter("position"))


async def waiting_in(entries: JournalReader) -> AsyncIterator[Sequence[Recorded]]:
    """Yield the marks of all open turns that have asked for approval, some turns at a time."""
    turns: list[tuple[str, str]] = []
    async for received in entries.unfinished(asked=True):
        turns.append((received.journal, str(received.command_id)))
        if len(turns) == _TURNS_AT_ONCE:
            yield await entries.marks(turns)
            turns = []
    if turns:
        yield await entries.marks(turns)


def approvals_of(marks: Iterable[Recorded]) -> tuple[Approval, ...]:
    """Return the requests of turns, as their entries give them, in order.

    The expected row has no code of its own: the projection folds the entries again, in memory.
    """
    with folded_in_memory(ApprovalsProjection(), marks) as view:
        rows = view.execute(_FOLDED).fetchall()
        events: dict[int, list[ApprovalEvent]] = {row["position"]: [] for row in rows}
        for row in view.execute(_EVENTS):
            events[row["request"]].append(_event(row))
    return tuple(_approval(row, events[row["position"]]) for row in rows)


def _approval(row: sqlite3.Row, events: Sequence[ApprovalEvent]) -> Approval:
    plain: dict[str, Any] = dict(row)
    for name in ("facts", "evaluation", "escalate_to", "arguments"):
        plain[name] = None if plain[name] is None else json.loads(plain[name])
    for name in ("requested_at", "deadline", "answered_at"):
        plain[name] = _moment(plain.pop(f"{name}_us"))
    more = _part(plain.pop("request")) | _part(plain.pop("answer"))
    return Approval(**plain, **more, events=tuple(events))


def _event(row: sqlite3.Row) -> ApprovalEvent:
    plain: dict[str, Any] = dict(row)
    del plain["request"]
    for name in ("at", "deadline"):
        plain[name] = _moment(plain.pop(f"{name}_us"))
    more = _part(plain.pop("answer"))
    return ApprovalEvent(**plain, **more)


def _part(written: str | None) -> dict[str, Any]:
    return {} if written is None else dict(json.loads(written))


def _moment(us: int | None) -> datetime | None:
    return None if us is None else datetime_from_us(us)
