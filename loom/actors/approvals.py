"""Answering requests for approval: by named people, or by a deadline that can only deny or pass on."""

from __future__ import annotations

import asyncio
import unicodedata
from datetime import datetime, timedelta

from loom.actors import people
from loom.actors.gate import Gate
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
_AGAIN_S = 1.0

_log = get_logger("loom.actors")


class Approvals:
    """What people are asked for, and the only way to answer."""

    def __init__(self, system: ActorSystem, chains: ApprovalChains) -> None:
        self._system = system
        self._services: Services = system.services
        self._chains = chains
        self._gate = Gate()

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

    async def grant(
        self, approval_id: str, *, by: str, comment: str | None = None, role: str | None = None
    ) -> Approval:
        """Grant a request in the name of a person, who may not be the one who asked; return it as answered."""
        return await self._answer(approval_id, granted=True, by=by, comment=comment, role=role)

    async def deny(self, approval_id: str, *, by: str, comment: str, role: str | None = None) -> Approval:
        """Deny a request in the name of a person, and say why; return it as answered."""
        if not comment.strip():
            raise AdmissionError("a denial has no comment; expected the reason in a person's words: say why")
        return await self._answer(approval_id, granted=False, by=by, comment=comment, role=role)

    async def expire_due(self) -> int:
        """Deny or pass on every request whose deadline has come; return how many could be seen to."""
        done = 0
        while due := await self._chains.due(us_from_datetime(self._services.now())):
            seen_to = [await self._expire_quietly(approval) for approval in due]
            done += sum(seen_to)
            if not all(seen_to):
                break
        return done

    async def next_deadline(self) -> datetime | None:
        """Return the earliest deadline of what is pending."""
        return await self._chains.next_deadline()

    async def _answer(
        self, approval_id: str, *, granted: bool, by: str, comment: str | None, role: str | None
    ) -> Approval:
        check_person(by)
        approval_id = (await self._chains.get(approval_id)).approval_id
        async with self._gate.at(approval_id):
            approval = await self._chains.get(approval_id)
            _check_pending(approval)
            if approval.requested_by is not None and _same_person(by, approval.requested_by):
                raise SelfApprovalError(
                    f"approval [{short(approval_id)}] was requested by [{by}]; expected somebody else to answer it: "
                    "ask another person"
                )
            if approval.deadline is not None and approval.deadline <= self._services.now():
                await self._append(approval, self._at_deadline(approval))
                raise ApprovalExpiredError(
                    f"approval [{short(approval_id)}] expired at [{approval.deadline:%Y-%m-%d %H:%M:%S} UTC]; expected "
                    f"an answer before that: it was {'denied' if approval.on_deadline == 'deny' else 'passed on'}"
                )
            answered = ApprovalAnsweredEntry(
                approval_id=approval_id, granted=granted, by=by, role=role or approval.approver, comment=comment,
                shown=approval.shown,
            )  # fmt: skip
            await self._append(approval, answered)
            return await self._chains.get(approval_id)

    async def _expire_quietly(self, approval: Approval) -> bool:
        """Do what a request says for its deadline; one that cannot be seen to now does not hold the others up."""
        try:
            async with self._gate.at(approval.approval_id):
                approval = await self._chains.get(approval.approval_id)
                if approval.pending and approval.deadline is not None and approval.deadline <= self._services.now():
                    await self._append(approval, self._at_deadline(approval))
        except LoomError as error:
            _log.warning("deadline_not_seen_to", approval=approval.approval_id, error=str(error))
            return False
        return True

    def _at_deadline(self, approval: Approval) -> ApprovalAnsweredEntry | ApprovalEscalatedEntry:
        """Return what the request says for its deadline; the clock never grants (law 6)."""
        assert approval.deadline is not None  # noqa: S101 - it has come
        following = next(iter(approval.escalate_to), None)
        if approval.on_deadline == "escalate" and following is not None:
            asked_at = [event.at for event in approval.events if event.event in ("requested", "escalated")][-1]
            patience = max(approval.deadline - asked_at, timedelta(0))  # each has as long as the one before
            return ApprovalEscalatedEntry(
                approval_id=approval.approval_id, approver=following, passed_over=approval.approver,
                deadline=self._services.now() + patience,
            )  # fmt: skip
        return ApprovalAnsweredEntry(
            approval_id=approval.approval_id, granted=False, by=None, role=None,
            shown=approval.shown,
            comment=f"nobody answered before the deadline {approval.deadline:%Y-%m-%d %H:%M:%S} UTC",
        )  # fmt: skip

    async def _append(self, approval: Approval, entry: ApprovalAnsweredEntry | ApprovalEscalatedEntry) -> None:
        assert approval.command_id is not None  # noqa: S101 - only turns ask
        await people.answer(self._system, approval.journal, approval.command_id, entry)


def _check_pending(approval: Approval) -> None:
    if not approval.pending:
        raise ApprovalAnsweredError(
            f"approval [{short(approval.approval_id)}] is [{approval.status}] by [{approval.answered_by or 'nobody'}]; "
            "expected one that is pending: see `loom approvals`"
        )


def _same_person(one: str, other: str) -> bool:
    """Tell whether two names are one person's, however they are written."""
    return unicodedata.normalize("NFKC", one).casefold() == unicodedata.normalize("NFKC", other).casefold()


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
            sleep_s = await self._look()
            try:
                async with asyncio.timeout(sleep_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _look(self) -> float | None:
        """See to what is due; return after how many seconds to look again, None if only when a deadline is set."""
        try:
            await self._approvals.expire_due()
            following = await self._approvals.next_deadline()
        except LoomError as error:
            _log.warning("deadlines_not_seen_to", error=str(error))
            return _MAX_SLEEP_S
        if following is None:
            return None
        left_s = (following - self._services.now()).total_seconds()
        # What is due and still there could not be seen to just now.
        return min(left_s, _MAX_SLEEP_S) if left_s > 0 else _AGAIN_S
