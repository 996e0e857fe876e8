"""Answering requests for approval: by named people, or by a deadline that can only deny or pass on."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from loom.actors.people import append_for
from loom.actors.services import Services
from loom.actors.system import ActorSystem
from loom.clock import us_from_datetime
from loom.decisions.approvals import Approval, ApprovalChains
from loom.decisions.entries import ApprovalAnsweredEntry, ApprovalEscalatedEntry
from loom.errors import (
    AdmissionError,
    ApprovalAnsweredError,
    ApprovalExpiredError,
    LoomError,
    SelfApprovalError,
)
from loom.identity import check_person, short
from loom.telemetry import get_logger

__all__ = ["Approvals", "DeadlineClock"]

_MAX_SLEEP_S = 60.0  # a clock may be set; looking again now and then costs nothing

_log = get_logger("loom.actors")


class Approvals:
    """What people are asked for, and the only way to answer."""

    def __init__(self, system: ActorSystem, chains: ApprovalChains) -> None:
        self._system = system
        self._services: Services = system.services
        self._chains = chains
        self._answering: set[str] = set()

    async def pending(self, approver: str | None = None, *, limit: int = 100, after: int = 0) -> tuple[Approval, ...]:
        """Return what waits for an answer, oldest first; `after` is the position of the last one already seen."""
        return await self._chains.pending(approver, limit=limit, after=after)

    async def list(
        self, *, status: str | None = None, limit: int = 50, before: int | None = None
    ) -> tuple[Approval, ...]:
        """Return requests of any status, newest first; `before` is the position of the last one already seen."""
        return await self._chains.list(status=status, limit=limit, before=before)

    async def get(self, approval_id: str) -> Approval:
        """Return a request by its id or an unambiguous beginning of it."""
        return await self._chains.get(approval_id)

    async def grant(self, approval_id: str, *, by: str, comment: str | None = None, role: str | None = None) -> Approval:
        """Grant a request in the name of a person, who may not be the one who asked; return it as answered."""
        return await self._answer(approval_id, granted=True, by=by, comment=comment, role=role)

    async def deny(self, approval_id: str, *, by: str, comment: str, role: str | None = None) -> Approval:
        """Deny a request in the name of a person, and say why; return it as answered."""
        if not comment.strip():
            raise AdmissionError("a denial has no comment; expected the reason in a person's words: say why")
        return await self._answer(approval_id, granted=False, by=by, comment=comment, role=role)

    async def expire_due(self) -> int:
        """Deny or pass on every request whose deadline has come; return how many."""
        due = await self._chains.due(us_from_datetime(self._services.now()))
        for approval in due:
            await self._expire(approval)
        return len(due)

    async def next_deadline(self) -> datetime | None:
        """Return the earliest deadline of what is pending."""
        return await self._chains.next_deadline()

    async def _answer(
        self, approval_id: str, *, granted: bool, by: str, comment: str | None, role: str | None
    ) -> Approval:
        check_person(by)
        approval = await self._chains.get(approval_id)
        if by == approval.requested_by:
            raise SelfApprovalError(
                f"approval [{short(approval.approval_id)}] was requested by [{by}]; expected somebody else to answer it: "
                "ask another person"
            )
        if approval.pending and approval.deadline is not None and approval.deadline <= self._services.now():
            await self._expire(approval)
            raise ApprovalExpiredError(
                f"approval [{short(approval.approval_id)}] expired at [{approval.deadline:%Y-%m-%d %H:%M:%S} UTC]; expected an "
                f"answer before that: it was {'denied' if approval.on_deadline == 'deny' else 'passed on'}"
            )
        await self._append(
            approval,
            ApprovalAnsweredEntry(
                approval_id=approval.approval_id, granted=granted, by=by, role=role or approval.approver,
                comment=comment, shown=approval.shown,
            ),
        )  # fmt: skip
        return await self._chains.get(approval.approval_id)

    async def _expire(self, approval: Approval) -> None:
        """Do what the request says for its deadline; the clock never grants (law 6)."""
        following = next(iter(approval.escalate_to), None)
        if approval.on_deadline == "escalate" and following is not None and approval.deadline is not None:
            patience = max(approval.deadline - approval.requested_at, timedelta(0))
            deadline = self._services.now() + patience
            escalated = ApprovalEscalatedEntry(
                approval_id=approval.approval_id, approver=following, passed_over=approval.approver, deadline=deadline
            )
            await self._append(approval, escalated)
            return
        denied = ApprovalAnsweredEntry(
            approval_id=approval.approval_id, granted=False, by=None, role=None,
            comment=f"nobody answered before the deadline {approval.deadline:%Y-%m-%d %H:%M:%S} UTC", shown=approval.shown,
        )  # fmt: skip
        await self._append(approval, denied)

    async def _append(self, approval: Approval, entry: ApprovalAnsweredEntry | ApprovalEscalatedEntry) -> None:
        """Journal an answer if there is none yet; this process is the only one that could have added one."""
        approval_id = approval.approval_id
        if not approval.pending or approval_id in self._answering or approval.command_id is None:
            who = f"[{approval.status}] by [{approval.answered_by or 'nobody'}]" if not approval.pending else "just now"
            raise ApprovalAnsweredError(
                f"approval [{short(approval_id)}] was answered before, {who}; expected one that is pending: see `loom approvals`"
            )
        self._answering.add(approval_id)
        try:
            await append_for(self._system, approval.journal, entry, command_id=approval.command_id)
        except BaseException:
            self._answering.discard(approval_id)
            raise
        if isinstance(entry, ApprovalEscalatedEntry):
            self._answering.discard(approval_id)


class DeadlineClock:
    """Fires deadlines of approvals: those of this run, and those that were set before the last restart."""

    def __init__(self, approvals: Approvals, services: Services) -> None:
        self._approvals = approvals
        self._services = services
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def look_again(self, _: datetime) -> None:
        """Note that a deadline was set that may be the next one."""
        self._changed.set()

    async def close(self) -> None:
        """Stop watching; what comes due is seen at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self._approvals.expire_due()
                following = await self._approvals.next_deadline()
            except LoomError as error:
                _log.warning("deadlines_not_seen_to", error=str(error))
                following = self._services.now() + timedelta(seconds=_MAX_SLEEP_S)
            sleep_s = None if following is None else (following - self._services.now()).total_seconds()
            try:
                async with asyncio.timeout(None if sleep_s is None else min(max(sleep_s, 0.001), _MAX_SLEEP_S)):
                    await self._changed.wait()
            except TimeoutError:
                continue
