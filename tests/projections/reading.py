"""A store with all views of the spine, for tests that ask questions."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from loom.actors.turns_view import TurnsView
from loom.decisions import (
    ApprovalChains,
    RunsView,
    Traces,
)
from loom.journal import Entry, Receipt
from loom.journal.sqlite import SqliteStore
from loom.precedents import Precedents
from loom.projections import Projector, Queries, Views
from tests.projections.every import every_projection
from tests.projections.journals import open_store, write


@dataclass
class Asked:
    """A store that can be written, and what can be asked about it."""

    store: SqliteStore
    queries: Queries
    traces: Traces
    approvals: ApprovalChains
    precedents: Precedents
    turns: TurnsView
    runs: RunsView

    async def write(self, journal: str, *entries: Entry, turn: str | None = None) -> Receipt:
        return await write(self.store, journal, *entries, command_id=turn)


@contextlib.asynccontextmanager
async def asked(directory: Path) -> AsyncIterator[Asked]:
    store = await open_store(directory)
    views = Views(store.files.views)
    projector = Projector(store, views, every_projection())
    await projector.start()
    queries = Queries(views, projector)
    try:
        yield Asked(
            store,
            queries,
            Traces(queries),
            ApprovalChains(queries),
            Precedents(queries),
            TurnsView(queries),
            RunsView(queries),
        )
    finally:
        await projector.close()
        await views.close()
        await store.close()
