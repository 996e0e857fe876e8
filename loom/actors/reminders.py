"""Reminders of requests for approval: the messenger delivers a request again while it is pending, and that is an entry.

They come every `actors.remind_every_s`, by elapsed time, and `actors.reminders` times at most. Those that would have
come while no loom ran are left out. A reminder can grant or deny nothing.
"""

from __future__ import annotations

import asyncio

from loom.actors import interventions
from loom.actors.services import Services
from loom.actors.system import ActorSystem
from loom.actors.wait_entries import ApprovalRemindedEntry
from loom.clock import elapsed_us, us_from_datetime
from loom.decisions.approvals import Approval
from loom.decisions.entries import ApprovalRequestedEntry
from loom.errors import LoomError
from loom.telemetry import get_logger

__all__ = ["Reminders"]

_log = get_logger("loom.actors")


class Reminders:
    """When each pending request is due for its next reminder."""

    def __init__(self, system: ActorSystem) -> None:
        self._system = system
        self._services: Services = system.services
        self._reminding = asyncio.Lock()
        self._since: dict[str, tuple[int, int]] = {}
        """By approval id: the elapsed time at which it was requested, and the number of reminders up to now."""

    async def remind_due(self) -> float | None:
        """Send the reminders that are due; return the seconds until the next one, None if there is none."""
        every_s, most = self._services.options.remind_every_s, self._services.options.reminders
        if every_s is None or self._services.approver is None or not most:
            return None
        async with self._reminding:
            return await self._remind_due(every_s, most)

    async def _remind_due(self, every_s: float, most: int) -> float | None:
        pending = await self._services.requests.pending()
        self._since = {each.approval_id: self._known(each, every_s) for each in pending}
        now_us, waits_us = elapsed_us(self._services.sources.clock), list[int]()
        for approval in pending:
            since_us, times = self._since[approval.approval_id]
            due_us = since_us + round((times + 1) * every_s * 1e6)
            if times < most and due_us <= now_us:
                times, due_us = times + 1, due_us + round(every_s * 1e6)
                self._since[approval.approval_id] = (since_us, times)
                await self._remind(approval, times)
            if times < most:
                waits_us.append(due_us - now_us)
        return max(min(waits_us) / 1e6, 0.0) if waits_us else None

    def _known(self, approval: Approval, every_s: float) -> tuple[int, int]:
        known = self._since.get(approval.approval_id)
        if known is not None:
            return known
        clock = self._services.sources.clock
        age_us = max(0, clock.now_us() - us_from_datetime(approval.requested_at))
        return elapsed_us(clock) - age_us, int(age_us // round(every_s * 1e6))

    async def _remind(self, approval: Approval, times: int) -> None:
        assert approval.command_id is not None  # noqa: S101 - only turns ask
        marks = await self._services.store.marks([(approval.journal, approval.command_id)])
        request = next((each.entry for each in marks if _is_of(each.entry, approval)), None)
        if not isinstance(request, ApprovalRequestedEntry):
            return
        asked = request.model_copy(
            update={
                "approver": approval.approver,
                "deadline": approval.deadline,
                "information": approval.information,
                "shown": approval.shown,
            }
        )
        await self._services.deliver(asked, journal=approval.journal)
        entry = ApprovalRemindedEntry(approval_id=approval.approval_id, approver=approval.approver, number=times)
        try:
            await interventions.note(self._system, approval.journal, approval.command_id, entry)
        except LoomError as error:  # its turn has just ended
            _log.warning("reminder_not_journaled", approval=approval.approval_id, error=str(error))


def _is_of(entry: object, approval: Approval) -> bool:
    return isinstance(entry, ApprovalRequestedEntry) and entry.approval_id == approval.approval_id
