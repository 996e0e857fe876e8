"""A pending request is delivered again, so often and so many times, whatever the time of day does."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from loom.actors import Approver, Command
from loom.decisions.entries import ApprovalRequestedEntry
from loom.testing import FixedClock, fixed_sources
from tests.actors.agents import Folding
from tests.actors.support import entries, opened, until

YEAR = timedelta(days=365)


class Ask(Command[bool]):
    pass


class Asker(Folding):
    async def execute(self, command: Ask) -> bool:
        return (await self.request_approval(approver="vp", reason="please")).granted


class Delivered(Approver):
    def __init__(self) -> None:
        self.to: list[str] = []

    async def deliver(self, request: ApprovalRequestedEntry, *, journal: str) -> None:
        self.to.append(request.approver)


@pytest.mark.parametrize("by", [timedelta(0), YEAR, -YEAR], ids=["right", "ahead", "behind"])
async def test_a_pending_request_is_delivered_again_until_it_was_often_enough_or_is_answered(
    tmp_path: Path, by: timedelta
) -> None:
    clock, delivered = FixedClock(), Delivered()
    async with opened(
        tmp_path, agents=[Asker], sources=fixed_sources(clock), approver=delivered, remind_every_s=60.0, reminders=2
    ) as loom:
        asking = asyncio.create_task(loom.actor(Asker, "one").ask(Ask(), by="bob"))
        await until(lambda: delivered.to == ["vp"])
        reminders = loom.approvals.reminders
        assert await reminders.remind_due() == 60.0
        clock.set_by(by)
        assert await reminders.remind_due() == 60.0
        for number in (1, 2):
            clock.advance(60)
            await reminders.remind_due()
            assert len(delivered.to) == 1 + number
        clock.advance(3_600)
        assert await reminders.remind_due() is None
        noted = [each.entry for each in await entries(loom, "asker/one") if each.kind == "approval_reminded"]
        assert [each.number for each in noted] == [1, 2]  # type: ignore[attr-defined]
        [request] = await loom.approvals.pending()
        await loom.approvals.grant(request.approval_id, by="alice")
        assert await asking is True


async def test_nothing_is_delivered_again_for_an_answered_request_nor_for_the_time_without_a_loom(
    tmp_path: Path,
) -> None:
    clock, delivered = FixedClock(), Delivered()
    settings: dict[str, Any] = {"remind_every_s": 60.0, "reminders": 5}
    async with opened(tmp_path, agents=[Asker], sources=fixed_sources(clock), approver=delivered, **settings) as loom:
        await loom.actor(Asker, "one").tell(Ask(), by="bob")
        await until(lambda: delivered.to == ["vp"])
    clock.advance(200)
    async with opened(
        tmp_path, agents=[Asker], sources=fixed_sources(clock, seed="two"), approver=delivered, **settings
    ) as loom:
        await until(lambda: delivered.to == ["vp"] * 2)  # a start delivers it again in any case
        assert await loom.approvals.reminders.remind_due() == pytest.approx(40.0, abs=1)
        [request] = await loom.approvals.pending()
        await loom.approvals.deny(request.approval_id, by="alice", comment="no")
        clock.advance(60)
        assert await loom.approvals.reminders.remind_due() is None
        assert len(delivered.to) == 2
