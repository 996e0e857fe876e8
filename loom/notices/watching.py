"""Looks for what no entry says: requests that are about to expire, turns that are stuck, a chain that is broken."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from loom.errors import LoomError
from loom.extension import Host
from loom.identity import derived_id
from loom.journal.verifying import verify_journal
from loom.notices.config import NoticesConfig
from loom.notices.entries import NoticeRaisedEntry
from loom.notices.register import NoticesRegister
from loom.telemetry import get_logger

__all__ = ["Watch"]

_MOST = 10_000
_FIRST_VERIFY_S = 60.0
_SHARE_OF_ITS_TIME = 4
"""A request with little time is about to expire in the last quarter of it, however long `warn_before_s` is."""

_log = get_logger("loom.notices")


class Watch:
    """Journals what it finds, each once; the deliveries read it there as they read everything else."""

    def __init__(self, host: Host, config: NoticesConfig, register: NoticesRegister) -> None:
        self._host = host
        self._config = config
        self._register = register
        self._known: set[str] = set()

    async def run(self) -> None:
        """Look at deadlines and turns every few seconds, until it is cancelled."""
        while True:
            await asyncio.sleep(self._config.watch_every_s)
            try:
                await self.look()
            except LoomError as error:
                _log.warning("notices_not_looked_for", error=str(error))

    async def run_verify(self) -> None:
        """Verify the whole journal every so often, until it is cancelled."""
        await asyncio.sleep(min(_FIRST_VERIFY_S, self._config.verify_every_s))
        while True:
            await self.verify()
            await asyncio.sleep(self._config.verify_every_s)

    async def look(self) -> None:
        """Raise what is to be raised now."""
        if self._config.warn_before_s:
            await self._look_at_deadlines()
        for cell in self._host.actors.cells():
            for command_id in list(cell.stuck):
                await self._raise(f"stuck:{command_id}", "loom.turn.stuck", command_id, {"turn": command_id})

    async def verify(self) -> bool:
        """Verify the journal in a thread, and raise where it is not what was written; return whether it is."""
        found = await verify_journal(self._host.files, workspace=self._host.store.workspace)
        if not found.ok:
            _log.error("chain_broken", counts=found.counts)
            digest = derived_id("chain-broken", *(f"{code} {count}" for code, count in sorted(found.counts.items())))
            await self._raise(f"chain:{digest}", "loom.chain.broken", "journal", {"findings": digest[:32]})
        return found.ok

    async def _look_at_deadlines(self) -> None:
        now = self._host.now()
        for each in await self._host.approvals.pending(limit=_MOST):
            if each.deadline is None:
                continue
            whole = each.deadline - each.requested_at
            before = min(timedelta(seconds=self._config.warn_before_s), whole / _SHARE_OF_ITS_TIME)
            if now >= each.deadline - before:
                key = f"expiring:{each.approval_id}:{each.deadline.isoformat()}"
                await self._raise(key, "loom.approval.expiring", each.approval_id, {"approval_id": each.approval_id})

    async def _raise(self, key: str, notice_type: str, subject: str, ids: dict[str, str]) -> None:
        if key not in self._known:
            entry = NoticeRaisedEntry(key=key, notice_type=notice_type, subject=subject, ids=ids)
            await self._register.raise_once(entry)
            self._known.add(key)
