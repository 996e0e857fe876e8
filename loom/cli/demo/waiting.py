"""Wait for a request for approval: the journal announces it, so there is no polling."""

from __future__ import annotations

import asyncio

from loom.decisions import Approval
from loom.runtime import Loom

__all__ = ["asked"]


async def asked(loom: Loom, command_id: str) -> Approval:
    """Return the request for approval of a turn, as soon as it is in the journal."""
    committed = asyncio.Event()
    loom.store.on_commit(lambda _: committed.set())
    while True:
        committed.clear()
        for approval in await loom.approvals.pending():
            if approval.command_id == command_id:
                return approval
        await committed.wait()
