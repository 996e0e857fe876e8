"""What the children of the row on notices do: ask for approvals and send notices until they are killed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from loom import Actor, Command, Loom
from loom.notices.delivery import Delivery
from loom.notices.extension import NoticeSender
from loom.notices.notice import Notice
from tests.reliability.jobs import say

__all__ = ["Ask", "Asks", "send_until_killed"]


class Ask(Command[bool]):
    """Ask a person."""


class Asks(Actor):
    async def execute(self, command: Ask) -> bool:
        return (await self.request_approval(approver="editor", reason="so")).granted


def send_until_killed(config: str, keys: int, *, careless: bool) -> None:
    """Ask, and answer what waits, for ever; `careless` counts a notice as delivered before it is sent."""
    if careless:
        Delivery._deliver = _settled_first  # type: ignore[method-assign]
    asyncio.run(_send_until_killed(Path(config), keys))


async def _send_until_killed(config: Path, keys: int) -> None:
    async with Loom.open(config, actors=[Asks], by="robin") as loom:
        loom.part(NoticeSender)
        say("open")
        number = 0
        while True:
            for _ in range(keys):
                number += 1
                await loom.actor(Asks, f"a{number % keys}").tell(Ask(), by="carla")
            for each in await loom.approvals.pending(limit=keys):
                await loom.approvals.grant(each.approval_id, by="dana")
            say("round", number)


_deliver: Any = Delivery._deliver


async def _settled_first(self: Delivery, notice: Notice) -> None:
    """The usual shape: the place is moved on, then it is sent."""
    from loom.notices.entries import NoticeDeliveredEntry

    entry = NoticeDeliveredEntry(
        endpoint=self.name,
        notice_id=notice.notice_id,
        notice_type=notice.notice_type,
        subject=notice.subject,
        position=notice.position,
        attempts=1,
        status=204,
    )
    await self._register.settle(entry)
    await asyncio.sleep(0.002)
    await _deliver(self, notice)
