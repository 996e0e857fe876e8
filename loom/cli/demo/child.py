"""The process that the demo kills: it runs the case up to the request for approval, and waits there."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from loom.cli.demo.agent import DiscountAgent, RequestDiscount
from loom.cli.demo.waiting import asked
from loom.runtime import Loom

__all__: list[str] = []


async def wait_for_consent(config: Path, *, key: str, customer_id: str, percent: int, command_id: str, by: str) -> None:
    """Send the command, say on stdout that its approval is pending, and wait to be killed."""
    async with Loom.open(config, by=by) as loom:
        request = RequestDiscount(customer_id=customer_id, percent=percent)
        await loom.actor(DiscountAgent, key).tell(request, id=command_id, by=by)
        approval = await asked(loom, command_id)
        print(approval.approval_id, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    _, config, key, customer_id, percent, command_id, by = sys.argv
    asyncio.run(
        wait_for_consent(
            Path(config), key=key, customer_id=customer_id, percent=int(percent), command_id=command_id, by=by
        )
    )
