"""The projector: it follows the journal and keeps every projection at the last acknowledged entry.

One task reads pages by position and passes them to the thread of the views. The projections that are furthest go first,
so a rebuild does not delay the others. While no reader waits for a view, the projector pauses: entries gather, and half
of the time is left to the actors. A waiting reader ends the pause.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import anyio

from loom.background import Background, Child
from loom.errors import LoomError, ProjectionFailedError, ProjectionLagError
from loom.journal.entry import Recorded
from loom.journal.store import JournalReader
from loom.projections.joining import OpenTurns
from loom.projections.opening import Opener
from loom.projections.projection import Checkpoint, Projection, ProjectionStatus
from loom.projections.source import EntrySource, next_page, strangers
from loom.projections.views import Views
from loom.projections.writer import Checkpoints, Identity
from loom.telemetry import get_logger

__all__ = ["EntrySource", "Progress", "Projector"]

Progress = Callable[[int, int], None]
"""Called with the number of entries that are done, and the number of all."""

_MIN_PAUSE_S = 0.02
_MAX_PAUSE_S = 0.25
_MAX_LAG = 50_000
_CLOSE_S = 2.0
_MOST_PLACES = 4

_log = get_logger("loom.projections")

T = TypeVar("T")


class Projector:
    """Keeps projections up to date with a journal. `start` it, await `reached` before reading, `close` it.

    `batch` limits the number of entries in memory and in one transaction.
    """

    def __init__(
        self,
        store: EntrySource,
        views: Views,
        projections: Sequence[Projection],
        *,
        batch: int = 4_000,
        opener: Opener | None = None,
        background: Background | None = None,
    ) -> None:
        names = [projection.name for projection in projections]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ProjectionFailedError(
                f"projections [{', '.join(sorted(twice))}] are registered twice; expected [each name once]: rename one"
            )
        self._store = store
        self._views = views
        self._projections = tuple(projections)
        self._batch = batch
        self.opener = opener
        """Opens what is sealed for the projections; None where this process has no keys."""
        self._applying = asyncio.Lock()
        self._checkpoints: Checkpoints = {}
        self._turns: dict[int, OpenTurns] = {}
        """The turns that were open after each position of a projection."""
        self._problem: str | None = None
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        self._pause_ends = asyncio.Event()
        self._waiting = 0
        self._closing = False
        self._background = background or Background()
        self._task: Child[None] | None = None

    async def start(self) -> None:
        """Open the views, reset projections that do not belong to this journal, and begin to catch up."""
        self._checkpoints = await self._views.start(self._projections)
        await self._reset_strangers()
        self._store.on_commit(lambda _: self._wake.set())
        self._wake.set()
        self._task = self._background.keep_running(self._run, name="loom-projector")

    async def head(self) -> int:
        """Return the position for which a consistent read has to wait: also for what other processes have appended."""
        return await self._store.refresh() if self._store.shared else self._store.acknowledged

    @property
    def entries(self) -> JournalReader:
        """The journal that it follows."""
        return self._store

    def status(self) -> tuple[ProjectionStatus, ...]:
        """Return the position of each projection, by name."""
        head = self._store.acknowledged
        return tuple(
            ProjectionStatus(each.name, each.version, each.position, max(0, head - each.position), each.failed)
            for _, each in sorted(self._checkpoints.items())
        )

    async def reached(self, position: int, names: Iterable[str] | None = None, *, timeout_s: float = 10.0) -> None:
        """Wait until projections (all by default) hold all entries up to a position.

        Raises `ProjectionFailedError` where one has stopped, `ProjectionLagError` where one is not there in time.
        """
        chosen = self._chosen(names)
        if self._problem is not None:
            self._problem = None
            self._wake.set()
        try:
            with anyio.fail_after(timeout_s):
                await self._wait(position, chosen)
        except TimeoutError:
            name, at = min(((name, self._checkpoints[name].position) for name in chosen), key=lambda each: each[1])
            raise ProjectionLagError(
                f"projection [{name}] is at position [{at}] after [{timeout_s:g}] seconds; expected [{position}]: "
                "try again later, or read what is there with consistent=False"
            ) from None

    async def rebuild(self, names: Iterable[str] | None = None, *, progress: Progress | None = None) -> None:
        """Empty projections (all by default), fold the whole journal into them again, and wait for the end of that."""
        chosen = self._chosen(names)
        await self.reset(chosen)
        await self.caught_up(chosen, progress=progress)

    async def caught_up(self, names: Iterable[str] | None = None, *, progress: Progress | None = None) -> None:
        """Wait without a time limit until projections hold the entries that are acknowledged now."""
        await self._wait(self._store.acknowledged, self._chosen(names), progress)

    async def repair(self, damaged: Identity | None = None) -> None:
        """Create the views file again if it was deleted, replaced or found to be damaged, and catch up."""
        self._take(await self._views.repair(damaged))
        self._wake.set()

    async def close(self) -> None:
        """Catch up for two seconds at most, so that the file is complete for people who read it by hand, and stop.

        The next start folds the entries that are left.
        """
        alive = [name for name, checkpoint in self._checkpoints.items() if checkpoint.failed is None]
        if self._task is not None and not self._closing:
            with contextlib.suppress(LoomError):
                await self.reached(self._store.acknowledged, alive, timeout_s=_CLOSE_S)
        self._closing = True
        self._wake.set()
        self._pause_ends.set()
        if self._task is not None:
            await asyncio.shield(self._task)
        self._tell()

    # --- following ------------------------------------------------------------------------------

    async def _run(self) -> None:
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            await self._pause(_MIN_PAUSE_S)
            try:
                await self._catch_up()
            except Exception as error:  # any error: the next entry or query tries again
                self._problem = f"{type(error).__name__}: {error}"
                _log.exception("projector_stalled")
                self._tell()

    async def _catch_up(self) -> None:
        """Fold pages until every projection that has not failed is at the acknowledged position."""
        while not self._closing:
            target = self._store.acknowledged
            going = (each.position for each in self._checkpoints.values() if each.failed is None)
            behind = {position for position in going if position < target}
            if not behind:
                self._problem = None
                self._tell()
                return
            for position in sorted(behind, reverse=True):
                page = await next_page(self._store, position, min(target, position + self._batch))
                await self._join(position, page)
                began = time.perf_counter()
                await self._apply(page)
                if target - page[-1].position < _MAX_LAG:
                    await self._pause(min(max(time.perf_counter() - began, _MIN_PAUSE_S), _MAX_PAUSE_S))

    async def _apply(self, page: Sequence[Recorded]) -> None:
        """Open and fold a page. What a `write` finds was opened before it, or is opened after it."""
        async with self._applying:
            if self.opener is not None:
                await self.opener.open_page(page)
            self._take(await self._views.apply(page))

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run other work on the tables in its own transaction, between two pages."""
        async with self._applying:
            return await self._views.write(work)

    async def reset(self, names: Iterable[str]) -> None:
        """Empty projections and begin to fold the journal into them again, without waiting for the end."""
        self._take(await self._views.reset(self._chosen(names)))
        self._wake.set()

    async def _join(self, after: int, page: Sequence[Recorded]) -> None:
        """Join a page with the steps of the turns that were open after a position, and with its own steps."""
        turns = self._turns.pop(after, None) or OpenTurns(self._store)
        await turns.take(page)
        self._turns[page[-1].position] = turns
        while len(self._turns) > _MOST_PLACES:
            del self._turns[min(self._turns)]

    async def _pause(self, seconds: float) -> None:
        """Pause, so that entries gather and actors can work, unless a reader waits for a view."""
        if self._waiting or self._closing:
            return
        self._pause_ends.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._pause_ends.wait()

    async def _reset_strangers(self) -> None:
        """Reset projections whose last entry is not in the journal at that position: it was restored from a backup."""
        found = await strangers(self._store, self._checkpoints.values(), until=self._store.acknowledged)
        if found:
            _log.warning("projections_of_another_journal", projections=sorted(found))
            self._take(await self._views.reset(found))

    # --- waiting --------------------------------------------------------------------------------

    async def _wait(self, position: int, names: Sequence[str], progress: Progress | None = None) -> None:
        while True:
            moved = self._moved
            chosen = [self._checkpoints[name] for name in names]
            lowest = min((checkpoint.position for checkpoint in chosen), default=position)
            if progress is not None:
                progress(min(lowest, position), position)
            _raise_failure(chosen)
            if lowest >= position:
                return
            self._raise_problem()
            self._waiting += 1
            self._pause_ends.set()
            try:
                await moved.wait()
            finally:
                self._waiting -= 1

    def _raise_problem(self) -> None:
        if self._problem is not None:
            raise ProjectionFailedError(
                f"views [{self._views.path}] cannot follow the journal [{self._problem}]; expected a journal that "
                "can be read and a disk that can be written: correct that and ask again"
            )
        if self._closing:
            raise ProjectionFailedError("projector is closed; expected an open one: open the loom again")

    def _take(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._tell()

    def _tell(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def _chosen(self, names: Iterable[str] | None) -> list[str]:
        chosen = sorted(self._checkpoints if names is None else set(names))
        for name in chosen:
            if name not in self._checkpoints:
                raise ProjectionFailedError(
                    f"projection [{name}] is not known; expected one of [{', '.join(sorted(self._checkpoints))}]: "
                    "register it with an extension"
                )
        return chosen


def _raise_failure(chosen: Sequence[Checkpoint]) -> None:
    for checkpoint in chosen:
        if checkpoint.failed is not None:
            raise ProjectionFailedError(
                f"projection [{checkpoint.name}] stopped after position [{checkpoint.position}] "
                f"[{checkpoint.failed}]; expected it to go on: correct it and start again, or rebuild it"
            )
