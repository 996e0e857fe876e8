"""The publisher: the one process that keeps the published views in PostgreSQL like those that it folds itself.

It folds the journal into a file of its own, without any key: what is sealed is published sealed. What a page changes
there goes to the server in one transaction with the position of the page. Whichever of the two files was behind after a
kill, or as another process was elected meanwhile, catches up before anything else is published.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import anyio

from loom.background import Background, Child
from loom.errors import LoomError, ProjectionFailedError, ProjectionLagError, WriterFencedError
from loom.journal.election import Election
from loom.journal.entry import Recorded
from loom.projections.joining import OpenTurns
from loom.projections.projection import Checkpoint, Projection
from loom.projections.published import published_shape
from loom.projections.source import EntrySource, next_page, strangers
from loom.projections.views import Views
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
from loom.publishing.state import MovedError, Page, PublishedState, Target
from loom.telemetry import get_logger

if TYPE_CHECKING:  # needs an extra
    from loom.publishing.server import PublishedSchema

__all__ = ["PUBLISHER", "PublishedStatus", "Publisher"]

PUBLISHER = "publisher"
"""The role of the one process that publishes views."""

_BATCH = 2_000
_AGAIN_S = 1.0
_SWAP_AGAIN_S = 10.0

_log = get_logger("loom.publishing")

T = TypeVar("T")


class PublishedStatus(NamedTuple):
    """How far the published tables of a projection are; `lag` is the number of entries that are not in them yet."""

    name: str
    version: int
    position: int
    lag: int
    building: bool
    problem: str | None


class _Part(NamedTuple):
    target: Target
    state: PublishedState


class Publisher:
    """Publishes projections once this process is elected. `start` it, `close` it before the store."""

    def __init__(
        self,
        store: EntrySource,
        path: Path,
        projections: Sequence[Projection],
        schema: PublishedSchema,
        election: Election,
        *,
        every_s: float = 0.5,
        batch: int = _BATCH,
        background: Background | None = None,
    ) -> None:
        self._store = store
        self._path = path
        self._projections = {each.name: each for each in projections}
        self._schema = schema
        self._election = election
        self._every_s = every_s
        self._batch = batch
        self._background = background or Background()
        self._leading: Child[None] | None = None
        self._views: Views | None = None
        self._parts: dict[str, _Part] | None = None
        self._checkpoints: dict[str, Checkpoint] = {}
        self._problems: dict[str, str] = {}
        self._turns: tuple[int, OpenTurns] | None = None
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        self._swap_at = 0.0
        self.problem: str | None = None
        """Why nothing is published at present."""

    async def start(self) -> None:
        """Stand for election, and begin to publish once this process is the one."""
        self._store.on_commit(lambda _: self._wake.set())
        self._leading = self._background.keep_running(self._lead, name="loom-publisher")

    async def close(self) -> None:
        """Stop publishing, and let another process be elected at once."""
        if self._leading is not None:
            self._leading.cancel()
            await asyncio.gather(self._leading, return_exceptions=True)
        await self._let_go()
        await self._election.resign()

    @property
    def leads(self) -> bool:
        """Whether this process is the one that publishes."""
        return self._parts is not None

    def status(self) -> tuple[PublishedStatus, ...]:
        """Return how far each projection is, by name, as far as this process knows: where it is the one."""
        head, parts = self._store.acknowledged, self._parts or {}
        return tuple(
            PublishedStatus(
                name,
                part.target.version,
                part.state.position,
                max(0, head - part.state.position),
                part.state.building,
                self._problems.get(name, self.problem),
            )
            for name, part in sorted(parts.items())
        )

    async def reached(self, position: int, *, timeout_s: float = 10.0) -> None:
        """Wait until all that this process publishes is there up to a position, and can be read."""
        try:
            with anyio.fail_after(timeout_s):
                while not self._is_there(position):
                    moved = self._moved
                    await moved.wait()
        except TimeoutError:
            raise ProjectionLagError(
                f"views are not published up to position [{position}] after [{timeout_s:g}] seconds "
                f"[{self.problem or self._problems or 'they are behind'}]; expected that: try again later"
            ) from None

    def _is_there(self, position: int) -> bool:
        parts = self._parts
        return parts is not None and all(
            part.state.position >= position and not part.state.building for part in parts.values()
        )

    # --- following ------------------------------------------------------------------------------

    async def _lead(self) -> None:
        while True:
            await self._election.until_won()
            try:
                await self._publish()
            except MovedError:  # another process was elected meanwhile, or has published
                pass
            except WriterFencedError as error:  # this process will never be the one again
                self._stall(error)
                return
            except LoomError as error:
                self._stall(error)
            except Exception as error:  # the file of this process is damaged or gone: it is made again
                self._stall(error)
                await self._let_go()
            self._parts = None
            await asyncio.sleep(_AGAIN_S)

    def _stall(self, error: Exception) -> None:
        if self.problem is None:
            _log.warning("publishing_stalled", error=repr(error))
        self.problem = str(error) if isinstance(error, LoomError) else repr(error)
        self._tell()

    async def _publish(self) -> None:
        """Publish page after page for as long as that goes well."""
        while True:
            self._wake.clear()
            while await self._round():
                pass
            await self._wake.wait()
            await asyncio.sleep(self._every_s)

    async def _round(self) -> bool:
        """Publish the next page of those that are furthest behind; return whether there is more."""
        if not self._election.won:
            raise MovedError
        parts = self._parts
        if parts is None:
            parts = self._parts = await self._loaded()
            self.problem = None
        for name, part in parts.items():
            if self._checkpoints[name].position > part.state.position:
                parts[name] = await self._caught_up_there(part)
        going = [name for name in parts if self._checkpoints[name].failed is None and name not in self._problems]
        head = self._store.acknowledged
        behind = [name for name in going if self._checkpoints[name].position < head]
        if behind:
            await self._advance(parts, behind, head)
        await self._put_in_place(parts)
        self._tell()
        return any(self._checkpoints[name].position < self._store.acknowledged for name in behind)

    async def _advance(self, parts: dict[str, _Part], names: Sequence[str], head: int) -> None:
        """Fold a page, and publish what it changes of those that are at the same place there."""
        low = min(self._checkpoints[name].position for name in names)
        ahead = [parts[name].state.position for name in names if parts[name].state.position > low]
        page = await self._page(low, min([head, low + self._batch, *ahead]))
        self._checkpoints = await self._opened_views().apply(page)
        if any(here.position <= low and here.failed is None for here in map(self._checkpoints.__getitem__, names)):
            raise MovedError  # the file of this process was found damaged, and made again
        pages = await self._write(lambda view: self._pages(parts, names, view))
        states = await self._schema.publish(pages) if pages else []
        for state in states:
            parts[state.name] = parts[state.name]._replace(state=state)
        await self._write(lambda view: self._forget(parts, names, view))
        for name in names:
            failed = self._checkpoints[name].failed
            if failed is not None:
                self._problems[name] = failed
                await self._schema.note_problem(name, failed)

    def _pages(self, parts: dict[str, _Part], names: Sequence[str], view: sqlite3.Connection) -> list[Page]:
        return [
            Page(
                part.target,
                part.state,
                here.position,
                here.entry_hash,
                {table.name: changes_of(table, view) for table in part.target.tables},
            )
            for name in names
            if (here := self._checkpoints[name]).position > (part := parts[name]).state.position
        ]

    def _forget(self, parts: dict[str, _Part], names: Iterable[str], view: sqlite3.Connection) -> None:
        for name in names:
            forget_changes(name, parts[name].target.tables, self._checkpoints[name].position, view)

    async def _caught_up_there(self, part: _Part) -> _Part:
        """Publish what this process has folded and the server does not have: after a kill, or with empty tables."""
        name, target, state = part.target.name, part.target, part.state
        here = self._checkpoints[name]
        base = await self._write(lambda view: base_of(name, view))
        if base <= state.position:
            (page,) = await self._write(lambda view: self._pages({name: part}, [name], view))
            (state,) = await self._schema.publish([page])
        else:
            if state.position or not state.building:  # what is there is of an earlier time than what is known here
                state = await self._schema.begin(target)
            rows = self._every_row(target.tables)
            state = await self._schema.copy(state, rows, position=here.position, entry_hash=here.entry_hash)
        part = part._replace(state=state)
        await self._write(lambda view: self._forget({name: part}, [name], view))
        return part

    async def _every_row(self, tables: Sequence[PublishedTable]) -> AsyncIterator[tuple[PublishedTable, Rows]]:
        for table in tables:
            last = None
            while some := await self._write(lambda view, table=table, last=last: whole(table, view, after=last)):  # type: ignore[misc]
                yield table, some
                last = key_of(table, some[-1])

    async def _put_in_place(self, parts: dict[str, _Part]) -> None:
        """Have tables that are filled take the place of those that are read."""
        if time.monotonic() < self._swap_at:
            return
        head = self._store.acknowledged
        for name, part in parts.items():
            if not part.state.building or part.state.position < head:
                continue
            in_the_way = await self._schema.swap(part.target)
            if in_the_way is None:
                here = part.state._replace(building=False, tables=tuple(each.name for each in part.target.tables))
                parts[name] = part._replace(state=here)
                continue
            _log.warning("published_view_not_replaced", view=name, problem=in_the_way)
            await self._schema.note_problem(name, f"the tables of a new version cannot take their place: {in_the_way}")
            self._swap_at = time.monotonic() + _SWAP_AGAIN_S
            self._background.start(self._wake_up(), name="loom-publisher-swap")

    async def _wake_up(self) -> None:
        await asyncio.sleep(_SWAP_AGAIN_S)
        self._wake.set()

    # --- beginning ------------------------------------------------------------------------------

    async def _loaded(self) -> dict[str, _Part]:
        """Find out how far both are, and make ready what is missing of either."""
        self._problems = {}
        self._turns = None
        if self._views is None:
            self._views = Views(self._path)
            self._checkpoints = await self._views.start(list(self._projections.values()))
        tail = await self._store.refresh()
        if found := await strangers(self._store, self._checkpoints.values(), until=tail):
            self._checkpoints = await self._views.reset(found)
        states = await self._schema.states()
        return {
            name: part
            for name, projection in self._projections.items()
            if (part := await self._part(projection, states.get(name, {}), tail)) is not None
        }

    async def _part(self, projection: Projection, found: dict[bool, PublishedState], tail: int) -> _Part | None:
        name = projection.name
        tables = await self._write(lambda view: tables_of(projection, view))
        if not await self._write(lambda view: is_captured(tables, view)):
            if self._checkpoints[name].position:
                self._checkpoints = await self._opened_views().reset([name])
            await self._write(lambda view: start_capture(name, tables, view))
        target = Target(name, projection.version, published_shape(projection), tables)
        current, building = found.get(False), found.get(True)
        if current is not None and current.version > target.version:
            _log.warning("published_by_newer_loom", view=name, version=current.version, own=target.version)
            return None
        state = next((each for each in (building, current) if each is not None and each.shape == target.shape), None)
        if state is None or await strangers(self._store, [state], until=tail):
            state = await self._schema.begin(target)
        return _Part(target, state)

    # --- inside ---------------------------------------------------------------------------------

    async def _page(self, after: int, until: int) -> list[Recorded]:
        page = await next_page(self._store, after, until)
        at, turns = self._turns or (-1, None)
        if turns is None or at != after:
            turns = OpenTurns(self._store)
        await turns.take(page)
        self._turns = (page[-1].position, turns)
        return page

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._opened_views().write(work)

    def _opened_views(self) -> Views:
        if self._views is None:
            raise ProjectionFailedError("the publisher is closed; expected an open one: open the loom again")
        return self._views

    async def _let_go(self) -> None:
        views, self._views, self._parts = self._views, None, None
        await self._schema.close()
        if views is not None:
            await views.close()

    def _tell(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
