"""The publisher: the one process that keeps the published views in PostgreSQL like those that it folds itself.

It folds the journal into a file of its own, without any key: what is sealed is published sealed. What a page changes
there goes to the server in one transaction with the position of the page. Whichever of the two files was behind after a
kill, or as another process was elected meanwhile, catches up before anything else is published.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio

from loom.background import Background, Child, stopped
from loom.errors import LoomError, ProjectionLagError, WriterFencedError
from loom.journal.election import Election
from loom.projections.projection import Projection
from loom.projections.published import published_shape
from loom.projections.source import EntrySource, strangers
from loom.publishing.folded import FoldedViews
from loom.publishing.state import MovedError, Part, PublishedState, Target
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


class PublishedStatus(NamedTuple):
    """How far the published tables of a projection are; `lag` is the number of entries that are not in them yet."""

    name: str
    version: int
    position: int
    lag: int
    building: bool
    problem: str | None


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
        self._projections = {each.name: each for each in projections}
        self._folded = FoldedViews(store, path, projections)
        self._schema = schema
        self._election = election
        self._every_s = every_s
        self._batch = batch
        self._background = background or Background()
        self._leading: Child[None] | None = None
        self._parts: dict[str, Part] | None = None
        self._problems: dict[str, str] = {}
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
        await stopped(self._leading)
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
            if self._folded.at(name).position > part.state.position:
                parts[name] = await self._caught_up_there(part)
        going = [name for name in parts if self._folded.at(name).failed is None and name not in self._problems]
        head = self._store.acknowledged
        behind = [name for name in going if self._folded.at(name).position < head]
        if behind:
            await self._advance(parts, behind, head)
        await self._put_in_place(parts)
        self._tell()
        return any(self._folded.at(name).position < self._store.acknowledged for name in behind)

    async def _advance(self, parts: dict[str, Part], names: Sequence[str], head: int) -> None:
        """Fold a page, and publish what it changes of those that are at the same place there."""
        low = min(self._folded.at(name).position for name in names)
        ahead = [parts[name].state.position for name in names if parts[name].state.position > low]
        await self._folded.fold(names, low, min([head, low + self._batch, *ahead]))
        chosen = [parts[name] for name in names]
        pages = await self._folded.pages(chosen)
        states = await self._schema.publish(pages) if pages else []
        for state in states:
            parts[state.name] = parts[state.name]._replace(state=state)
        await self._folded.forget(chosen)
        for name in names:
            failed = self._folded.at(name).failed
            if failed is not None:
                self._problems[name] = failed
                await self._schema.note_problem(name, failed)

    async def _caught_up_there(self, part: Part) -> Part:
        """Publish what this process has folded and the server does not have: after a kill, or with empty tables."""
        target, state = part
        if await self._folded.knows_changes_after(state):
            (state,) = await self._schema.publish(await self._folded.pages([part]))
        else:
            if state.position or not state.building:  # what is there is of an earlier time than what is known here
                state = await self._schema.begin(target)
            here = self._folded.at(target.name)
            rows = self._folded.every_row(target.tables)
            state = await self._schema.copy(state, rows, position=here.position, entry_hash=here.entry_hash)
        part = part._replace(state=state)
        await self._folded.forget([part])
        return part

    async def _put_in_place(self, parts: dict[str, Part]) -> None:
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

    async def _loaded(self) -> dict[str, Part]:
        """Find out how far both are, and make ready what is missing of either."""
        self._problems = {}
        tail = await self._store.refresh()
        await self._folded.open(tail)
        states = await self._schema.states()
        return {
            name: part
            for name, projection in self._projections.items()
            if (part := await self._part(projection, states.get(name, {}), tail)) is not None
        }

    async def _part(self, projection: Projection, found: dict[bool, PublishedState], tail: int) -> Part | None:
        tables = await self._folded.captured(projection)
        target = Target(projection.name, projection.version, published_shape(projection), tables)
        current, building = found.get(False), found.get(True)
        if current is not None and current.version > target.version:
            _log.warning("published_by_newer_loom", view=target.name, version=current.version, own=target.version)
            return None
        state = next((each for each in (building, current) if each is not None and each.shape == target.shape), None)
        if state is None or await strangers(self._store, [state], until=tail):
            state = await self._schema.begin(target)
        return Part(target, state)

    async def _let_go(self) -> None:
        self._parts = None
        await self._schema.close()
        await self._folded.close()

    def _tell(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
