"""Approval chains: every request with its answers and escalations in order, and what still waits for somebody."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.clock import datetime_from_us, us_from_datetime
from loom.errors import ApprovalNotFoundError
from loom.policies.evaluation import Evaluation
from loom.projections import Queries
from loom.projections.sql import prefix_range

__all__ = ["Approval", "ApprovalChains", "ApprovalEvent"]


class ApprovalEvent(BaseModel):
    """One thing that happened to a request. An answer that came too late does not count."""

    model_config = ConfigDict(frozen=True)

    event: Literal["requested", "escalated", "granted", "denied", "moot"]
    position: int
    at: datetime
    approver: str | None = None
    by: str | None = None
    role: str | None = None
    comment: str | None = None
    deadline: datetime | None = None
    counts: bool = True


class Approval(BaseModel):
    """A request for somebody's consent, as it stands now, with all that happened to it in order.

    `moot` means that its turn ended before anybody answered.
    """

    model_config = ConfigDict(frozen=True)

    approval_id: str
    position: int
    journal: str
    command_id: str | None
    actor_type: str
    actor_key: str
    approver: str
    reason: str
    shown: str
    facts: dict[str, JsonValue] | None
    evaluation: Evaluation | None
    requested_by: str | None
    requested_at: datetime
    deadline: datetime | None
    on_deadline: Literal["deny", "escalate"]
    escalate_to: tuple[str, ...]
    status: Literal["pending", "granted", "denied", "moot"]
    answered_by: str | None
    role: str | None
    comment: str | None
    answered_at: datetime | None
    events: tuple[ApprovalEvent, ...] = ()

    @property
    def pending(self) -> bool:
        """Whether it still waits for an answer."""
        return self.status == "pending"

    def waiting_s(self, now_us: int) -> float:
        """Return for how long it has waited, or did wait until it was answered, in seconds."""
        until = now_us if self.answered_at is None else us_from_datetime(self.answered_at)
        return max(0.0, (until - us_from_datetime(self.requested_at)) / 1e6)

    def left_s(self, now_us: int) -> float | None:
        """Return how long is left until its deadline, in seconds, negative when it has passed; None without one."""
        return None if self.deadline is None else (us_from_datetime(self.deadline) - now_us) / 1e6


_COLUMNS = """
approval_id, position, journal, command_id, actor_type, actor_key, approver, reason, shown, facts, evaluation,
requested_by, requested_at_us, deadline_us, on_deadline, escalate_to, status, answered_by, role, comment, answered_at_us
"""
_PENDING = f"""
SELECT {_COLUMNS} FROM approvals
WHERE status = 'pending' AND position > :after AND (:approver IS NULL OR approver = :approver)
ORDER BY position LIMIT :limit
"""  # noqa: S608 - constants only
_LIST = f"""
SELECT {_COLUMNS} FROM approvals
WHERE position < :before AND (:status IS NULL OR status = :status) ORDER BY position DESC LIMIT :limit
"""  # noqa: S608
_BY_PREFIX = f"SELECT {_COLUMNS} FROM approvals WHERE approval_id >= ? AND approval_id < ? LIMIT 3"  # noqa: S608
_OF_TURN = f"SELECT {_COLUMNS} FROM approvals WHERE journal = ? AND command_id = ? ORDER BY position"  # noqa: S608
_DUE = f"""
SELECT {_COLUMNS} FROM approvals
WHERE status = 'pending' AND deadline_us <= ? ORDER BY deadline_us, position LIMIT ?
"""  # noqa: S608
_NEXT = "SELECT min(deadline_us) FROM approvals WHERE status = 'pending' AND deadline_us IS NOT NULL"
_EVENTS = """
SELECT request, position, at_us, event, approver, by, role, comment, deadline_us, counts
FROM approval_events WHERE request IN (SELECT value FROM json_each(?)) ORDER BY request, position
"""
_NAMES = ("approvals",)


class ApprovalChains:
    """Answers who is asked for what, who answered, and what is due."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def pending(self, approver: str | None = None, *, limit: int = 100, after: int = 0) -> tuple[Approval, ...]:
        """Return what waits for an answer, oldest first; `after` is the position of the last one already seen."""
        rows = await self._queries.fetch(_PENDING, {"approver": approver, "limit": limit, "after": after}, names=_NAMES)
        return await self._with_events(rows)

    async def list(
        self, *, status: str | None = None, limit: int = 50, before: int | None = None
    ) -> tuple[Approval, ...]:
        """Return requests of any status, newest first; `before` is the position of the last one already seen."""
        parameters = {"status": status, "limit": limit, "before": 2**63 - 1 if before is None else before}
        return await self._with_events(await self._queries.fetch(_LIST, parameters, names=_NAMES))

    async def get(self, approval_id: str) -> Approval:
        """Return the request with this id, or the one whose id begins so; raise `ApprovalNotFoundError`."""
        rows = await self._queries.fetch(_BY_PREFIX, prefix_range(approval_id), names=_NAMES)
        found = [row for row in rows if row["approval_id"] == approval_id] or rows
        if len(found) == 1:
            return (await self._with_events(found))[0]
        several = ", ".join(row["approval_id"] for row in found)
        raise ApprovalNotFoundError(
            f"approval [{approval_id!r:.80}] is {f'ambiguous [{several}, …]' if found else 'not known'}; "
            "expected [the id of one request, or how only one begins]: see `loom approvals`"
        )

    async def of_turn(self, journal: str, command_id: str) -> tuple[Approval, ...]:
        """Return all requests of one turn, in order."""
        return await self._with_events(await self._queries.fetch(_OF_TURN, (journal, command_id), names=_NAMES))

    async def due(self, now_us: int, *, limit: int = 100) -> tuple[Approval, ...]:
        """Return pending requests whose deadline has come, the earliest deadline first."""
        return await self._with_events(await self._queries.fetch(_DUE, (now_us, limit), names=_NAMES))

    async def next_deadline(self) -> datetime | None:
        """Return the earliest deadline of what is pending, None if there is none."""
        rows = await self._queries.fetch(_NEXT, names=_NAMES)
        return _moment(rows[0][0])

    async def _with_events(self, rows: Sequence[sqlite3.Row]) -> tuple[Approval, ...]:
        events: dict[int, list[ApprovalEvent]] = {row["position"]: [] for row in rows}
        if events:
            for row in await self._queries.fetch(_EVENTS, (json.dumps(list(events)),), names=_NAMES, consistent=False):
                events[row["request"]].append(_event(row))
        return tuple(_approval(row, events[row["position"]]) for row in rows)


def _approval(row: sqlite3.Row, events: Sequence[ApprovalEvent]) -> Approval:
    plain: dict[str, Any] = dict(row)
    for name in ("facts", "evaluation", "escalate_to"):
        plain[name] = None if plain[name] is None else json.loads(plain[name])
    for name in ("requested_at", "deadline", "answered_at"):
        plain[name] = _moment(plain.pop(f"{name}_us"))
    return Approval(**plain, events=tuple(events))


def _event(row: sqlite3.Row) -> ApprovalEvent:
    plain: dict[str, Any] = dict(row)
    del plain["request"]
    for name in ("at", "deadline"):
        plain[name] = _moment(plain.pop(f"{name}_us"))
    return ApprovalEvent(**plain)


def _moment(us: int | None) -> datetime | None:
    return None if us is None else datetime_from_us(us)
