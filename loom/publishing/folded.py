"""The file of the process that publishes: views that it folds by itself, and what has changed in them since.

What has changed is forgotten once it is published. The file may be lost at any time: it is folded again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from loom.errors import ProjectionFailedError
from loom.journal.entry import Recorded
from loom.projections.joining import OpenTurns
from loom.projections.projection import Checkpoint, Projection
from loom.projections.source import EntrySource, next_page, strangers
from loom.projections.views import Views
from loom.projections.writer import Checkpoints
from loom.publishing.capture import (
    PublishedTable,
    Rows,
    base_of,
    changes_of,
    forget_changes,
    is_captured,
    key_of,
    start_capture,
    tables_of,
    whole,
)
from loom.publishing.state import MovedError, Page, Part, PublishedState

__all__ = ["FoldedViews"]

T = TypeVar("T")


class FoldedViews:
    """Folds projections into a file without any key. `open` it before anything else; it can be opened again."""

    def __init__(self, store: EntrySource, path: Path, projections: Sequence[Projection]) -> None:
        self._store = store
        self._path = path
        self._projections = tuple(projections)
        self._views: Views | None = None
        self._checkpoints: Checkpoints = {}
        self._turns: tuple[int, OpenTurns] | None = None

    async def open(self, tail: int) -> None:
        """Open the file where it is not open, and empty what is in it of another journal, which ends at `tail`."""
        self._turns = None
        if self._views is None:
            self._views = Views(self._path)
            self._checkpoints = await self._views.start(self._projections)
        if found := await strangers(self._store, self._checkpoints.values(), until=tail):
            self._checkpoints = await self._views.reset(found)

    async def captured(self, projection: Projection) -> tuple[PublishedTable, ...]:
        """Return the tables of a projection that are published, whose changes are written down from here on."""
        tables = await self._write(lambda view: tables_of(projection, view))
        if not await self._write(lambda view: is_captured(tables, view)):
            if self.at(projection.name).position:
                self._checkpoints = await self._opened().reset([projection.name])
            await self._write(lambda view: start_capture(projection.name, tables, view))
        return tables

    def at(self, name: str) -> Checkpoint:
        """Return how far a projection is folded here."""
        return self._checkpoints[name]

    async def fold(self, names: Iterable[str], after: int, until: int) -> None:
        """Fold the next page after a position, of which projections are at least; raise `MovedError` if one is lost."""
        self._checkpoints = await self._opened().apply(await self._page(after, until))
        if any(here.position <= after and here.failed is None for here in map(self.at, names)):
            raise MovedError  # the file was found damaged, and made again

    async def pages(self, parts: Sequence[Part]) -> list[Page]:
        """Return what has changed of those parts that are further here than they are published."""
        return await self._write(lambda view: [self._page_of(part, view) for part in parts if self._is_ahead(part)])

    async def forget(self, parts: Sequence[Part]) -> None:
        """Forget what has changed of parts: it is published."""
        await self._write(lambda view: self._forget(parts, view))

    async def knows_changes_after(self, state: PublishedState) -> bool:
        """Tell whether all that has changed since a state is written down here."""
        return await self._write(lambda view: base_of(state.name, view)) <= state.position

    async def every_row(self, tables: Sequence[PublishedTable]) -> AsyncIterator[tuple[PublishedTable, Rows]]:
        """Yield all rows of tables, some at a time."""
        for table in tables:
            last = None
            while some := await self._write(lambda view, table=table, last=last: whole(table, view, after=last)):  # type: ignore[misc]
                yield table, some
                last = key_of(table, some[-1])

    async def close(self) -> None:
        """Close the file. Closing twice is harmless."""
        views, self._views = self._views, None
        if views is not None:
            await views.close()

    # --- inside ---------------------------------------------------------------------------------

    async def _page(self, after: int, until: int) -> list[Recorded]:
        page = await next_page(self._store, after, until)
        at, turns = self._turns or (-1, None)
        if turns is None or at != after:
            turns = OpenTurns(self._store)
        await turns.take(page)
        self._turns = (page[-1].position, turns)
        return page

    def _is_ahead(self, part: Part) -> bool:
        return self.at(part.target.name).position > part.state.position

    def _page_of(self, part: Part, view: sqlite3.Connection) -> Page:
        here = self.at(part.target.name)
        changes = {table.name: changes_of(table, view) for table in part.target.tables}
        return Page(part.target, part.state, here.position, here.entry_hash, changes)

    def _forget(self, parts: Sequence[Part], view: sqlite3.Connection) -> None:
        for part in parts:
            name = part.target.name
            forget_changes(name, part.target.tables, self.at(name).position, view)

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._opened().write(work)

    def _opened(self) -> Views:
        if self._views is None:
            raise ProjectionFailedError("the publisher is closed; expected an open one: open the loom again")
        return self._views
