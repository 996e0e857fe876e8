"""Approval chains: every request with its answers and escalations in order, and the requests that are pending."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from itertools import islice
from operator import attrgetter
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from loom.clock import datetime_from_us, us_from_datetime
from loom.decisions.adjustable import AdjustableField
from loom.decisions.approvals_view import ApprovalsProjection
from loom.decisions.quorum import Asked, Cast
from loom.errors import ApprovalNotFoundError, ErasedError
from loom.identity import Identity, check_limit, short
from loom.journal.entry import Recorded
from loom.journal.store import JournalReader
from loom.policies.evaluation import Evaluation
from loom.projections import Queries
from loom.projections.confirming import folded_in_memory
from loom.projections.sql import prefix_range

__all__ = ["Approval", "ApprovalChains", "ApprovalEvent", "approvals_of", "waiting_in"]


def _is_one(value: object) -> bool:
    return value == 1


def _is_true(value: object) -> bool:
    return value is True


def _is_none(value: object) -> bool:
    return value is None


def _is_empty(value: object) -> bool:
    return not value


class ApprovalEvent(BaseModel):
    """One event of a request. An answer that came too late does not count."""

    model_config = ConfigDict(frozen=True)

    event: Literal["requested", "escalated", "granted", "denied", "sent_back", "informed", "moot"]
    position: int
    at: datetime
    approver: str | None = None
    by: str | None = None
    identity_source: str | None = None
    via: str | None = None
    role: str | None = None
    comment: str | None = None
    deadline: datetime | None = None
    counts: bool = True
    changes: dict[str, JsonValue] = Field(default_factory=dict, exclude_if=_is_empty)
    """The values with which it was granted, where they differ from those that were asked for."""
    rendering: str | None = Field(default=None, exclude_if=_is_none)
    """The page, with its version, on which the person saw the request; None where it is not known."""
    rendered: str | None = Field(default=None, exclude_if=_is_none)
    """The digest of the fields on that page."""
    distinguished: str | None = Field(default=None, exclude_if=_is_none)
    """Why the case differs from earlier ones that were answered otherwise."""
    against: tuple[str, ...] = Field(default=(), exclude_if=_is_empty)
    """Earlier decisions in the same situation that were answered otherwise."""
    decides: bool = Field(default=True, exclude_if=_is_true)
    """Whether it was the answer that decided the request; where a quorum is needed, those before it did not."""
    member: str | None = Field(default=None, exclude_if=_is_none)
    """Which person of the directory answered; None where no directory confirmed it."""
    in_place_of: str | None = Field(default=None, exclude_if=_is_none)
    """The absent holder of the role whose delegate answered."""
    directory: str | None = Field(default=None, exclude_if=_is_none)
    """By which version of the directory."""

    @property
    def capacity(self) -> str:
        """In which role a person answered, and what confirmed it, in words; empty where nothing is known of it."""
        place = f" in place of {self.in_place_of}" if self.in_place_of else ""
        by = f", by {self.directory}" if self.directory else ""
        return f"{self.role}{place}{by}" if self.role else ""

    @property
    def identity(self) -> Identity | None:
        """Who asked or answered, and the source of the name; None for a deadline."""
        return None if self.by is None else Identity(self.by, self.identity_source, self.via)


class Approval(BaseModel):
    """A request for a person's approval in its present state, with all its events in order.

    `moot` means that its turn ended before anyone answered, `sent_back` that its turn got a question as the answer. A
    pending request with a `question` waits for information.
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
    requested_identity_source: str | None = None
    requested_via: str | None = None
    requested_at: datetime
    deadline: datetime | None
    on_deadline: Literal["deny", "escalate"]
    escalate_to: tuple[str, ...]
    status: Literal["pending", "granted", "denied", "sent_back", "moot"]
    answered_by: str | None
    answered_identity_source: str | None = None
    answered_via: str | None = None
    role: str | None
    comment: str | None
    answered_at: datetime | None
    action: str | None = Field(default=None, exclude_if=_is_none)
    """The effect that is to be approved; None where the request names none."""
    arguments: dict[str, JsonValue] | None = Field(default=None, exclude_if=_is_none)
    adjustable: tuple[AdjustableField, ...] = Field(default=(), exclude_if=_is_empty)
    """What the approver may change."""
    on_question: Literal["park", "return"] = "park"
    """What a question of the approver does: the request waits for information, or its turn gets the question."""
    situation: str | None = Field(default=None, exclude_if=_is_none)
    """The class of the case before its outcome, by the actor's equivalence rule."""
    after: str | None = Field(default=None, exclude_if=_is_none)
    """The request that was granted with the changes that this one is about."""
    question: str | None = Field(default=None, exclude_if=_is_none)
    """What the approver asked; None where nothing is to be answered."""
    information: str | None = Field(default=None, exclude_if=_is_none)
    """The last answer to a question of the approver."""
    changes: dict[str, JsonValue] = Field(default_factory=dict, exclude_if=_is_empty)
    rendering: str | None = Field(default=None, exclude_if=_is_none)
    rendered: str | None = Field(default=None, exclude_if=_is_none)
    distinguished: str | None = Field(default=None, exclude_if=_is_none)
    against: tuple[str, ...] = Field(default=(), exclude_if=_is_empty)
    quorum: int = Field(default=1, exclude_if=_is_one)
    """How many persons have to grant it."""
    deny_quorum: int = Field(default=1, exclude_if=_is_one)
    """How many persons have to deny it."""
    directory: str | None = Field(default=None, exclude_if=_is_none)
    """The version of the directory when it was requested; None where there was none."""
    events: tuple[ApprovalEvent, ...] = ()

    @property
    def pending(self) -> bool:
        """Whether it still waits for an answer."""
        return self.status == "pending"

    @property
    def asked(self) -> Asked:
        """What is asked of whom, and who has answered: for `loom.decisions.quorum`."""
        return Asked(self.approver, self.escalate_to, self.on_deadline, self.quorum, self.deny_quorum, cast=self.cast)

    @property
    def cast(self) -> tuple[Cast, ...]:
        """The answers of `counted` as `loom.decisions.quorum` takes them."""
        return tuple(
            Cast(each.member or str(each.by), each.event == "granted", each.in_place_of) for each in self.counted
        )

    @property
    def missing(self) -> str:
        """What a pending request waits for, in words: an answer, or so many persons more."""
        granted = [each.member or str(each.by) for each in self.counted if each.event == "granted"]
        if self.quorum == 1:
            return "an answer"
        more = f"{self.quorum - len(granted)} more of {self.quorum} persons"
        return f"{more}; granted by {', '.join(granted)}" if granted else f"{self.quorum} persons to grant it"

    @property
    def counted(self) -> tuple[ApprovalEvent, ...]:
        """The answers of persons up to now that count, in order; those from before an information do not."""
        since = max((at for at, each in enumerate(self.events) if each.event == "informed"), default=0)
        answers = (each for each in self.events[since:] if each.event in ("granted", "denied"))
        return tuple(each for each in answers if each.counts and each.by is not None)

    @property
    def requester(self) -> Identity | None:
        """Who asked, and the source of the name; None where no person was named."""
        by, source, via = self.requested_by, self.requested_identity_source, self.requested_via
        return None if by is None else Identity(by, source, via)

    @property
    def answerer(self) -> Identity | None:
        """Who answered, and the source of the name; None where there is no answer, or the deadline answered."""
        by, source, via = self.answered_by, self.answered_identity_source, self.answered_via
        return None if by is None else Identity(by, source, via)

    def waiting_s(self, now_us: int) -> float:
        """Return how long it has waited until now, or waited until its answer, in seconds."""
        until = now_us if self.answered_at is None else us_from_datetime(self.answered_at)
        return max(0.0, (until - us_from_datetime(self.requested_at)) / 1e6)

    def left_s(self, now_us: int) -> float | None:
        """Return the time until its deadline in seconds, negative after it; None without a deadline."""
        return None if self.deadline is None else (us_from_datetime(self.deadline) - now_us) / 1e6


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
