"""The enricher of one process among several: the elected one asks the critic, so that no decision is paid for twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from loom.background import Child, stopped
from loom.enrichment.enricher import Enricher, ImportEnriched
from loom.errors import ControlError
from loom.identity import By
from loom.journal.election import Election

__all__ = ["ENRICHER", "ElectedEnricher"]

ENRICHER = "enricher"
"""The role of the one process that asks critics."""


class ElectedEnricher(Enricher):
    """Follows the decisions of all processes once this one was elected; until then it waits for what another one does.

    What an earlier process had reserved is settled by the one that takes its place, when that was fenced.
    """

    def __init__(self, *given: Any, election: Election, **more: Any) -> None:
        super().__init__(*given, **more)
        self._election = election
        self._leading: Child[None] | None = None
        self._committed = asyncio.Event()

    async def start(self) -> None:
        """Stand for election, and begin to follow once this process is the one."""
        self._store.on_commit(self._note_commit)
        self._leading = self._background.keep_running(self._lead, name="loom-enricher-election")

    async def close(self) -> None:
        """Stop asking, and let another process be elected at once."""
        await stopped(self._leading)
        await super().close()
        await self._election.resign()

    async def idle(self) -> None:
        """Wait until every recorded decision that is to be enriched is done, by this process or by another one."""
        await (super().idle() if self._election.won else self._done_elsewhere(None))

    async def hold(self, decision_ids: Sequence[str]) -> None:
        """Wait until decisions that are to be enriched have an enrichment, for a limited time; see `Enricher.hold`."""
        if self._election.won:
            await super().hold(decision_ids)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.patience_s):
                await self._done_elsewhere(decision_ids)

    async def enrich_import(self, run_id: str, *, by: By, limit: int | None = None) -> ImportEnriched:
        """Ask about imported decisions; raise `ControlError` where another process is the one that asks."""
        if not await self._election.look():
            leader = self._election.leader
            raise ControlError(
                f"critics are asked by process [{'unknown' if leader is None else leader.name}]; expected this one, as "
                "one asks for all: enrich there",
                kind="busy",
            )
        return await super().enrich_import(run_id, by=by, limit=limit)

    async def _lead(self) -> None:
        await self._election.until_won()
        await super().start()
        await asyncio.Event().wait()  # else it would be started again

    async def _done_elsewhere(self, among: Sequence[str] | None) -> None:
        await self._settings.load()
        while True:
            committed = self._committed  # before the look: what is committed meanwhile is not missed
            if not await self._waiting(among):
                return
            await committed.wait()

    def _note_commit(self, _: int) -> None:
        self._wake.set()
        committed, self._committed = self._committed, asyncio.Event()
        committed.set()
