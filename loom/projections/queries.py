"""Read views: first wait until they hold all acknowledged entries, then read."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from loom.errors import ProjectionFailedError
from loom.identity import check_limit
from loom.journal.store import JournalReader
from loom.projections.confirming import Confirmation, Differences, Row, confirmed
from loom.projections.opening import Opener
from loom.projections.projection import Checkpoint, ProjectionStatus
from loom.projections.projector import Projector
from loom.projections.views import Parameters, Views, ViewsLostError

__all__ = ["Queries"]

T = TypeVar("T")


class Queries:
    """Reads the views that the projector of this process updates, or, without a projector, the views file as it is.

    With a projector every read waits, `timeout_s` at most, until the views hold all entries that were acknowledged when
    it began. Without one it reads at once; `status` then needs `tail`, which returns the last position of the journal.
    `entries` is the journal that rows are compared with, by default the one that the projector follows.
    """

    def __init__(
        self,
        views: Views,
        projector: Projector | None = None,
        *,
        timeout_s: float = 10.0,
        tail: Callable[[], Awaitable[int]] | None = None,
        entries: JournalReader | None = None,
    ) -> None:
        self._views = views
        self._projector = projector
        self._timeout_s = timeout_s
        self._tail = tail
        self._entries = entries if entries is not None or projector is None else projector.entries
        self._kept: dict[Callable[[], Any], Any] = {}
        self.differences = Differences()
        """The rows of the views that differ from the journal."""

    @property
    def opener(self) -> Opener | None:
        """What opens sealed parts of entries that rows are compared with; None without keys."""
        return None if self._projector is None else self._projector.opener

    @property
    def entries(self) -> JournalReader:
        """The journal that rows are compared with."""
        if self._entries is None:
            raise ProjectionFailedError(
                f"views [{self._views.path}] are read without their journal; expected both: open a loom"
            )
        return self._entries

    def kept(self, make: Callable[[], T]) -> T:
        """Return the shared reader of a class. The first call makes it; each use folds the journal further."""
        if make not in self._kept:
            self._kept[make] = make()
        found: T = self._kept[make]
        return found

    async def confirmed(self, rows: Sequence[Row], how: Confirmation) -> list[Row]:
        """Return the rows that match their entries in the journal. The others are left out, and logged."""
        return await confirmed(self.entries, rows, how, self.differences)

    async def position(self, names: Iterable[str]) -> int:
        """Return the position up to which the tables of projections hold the journal, at least."""
        wanted = frozenset(names)
        if self._projector is not None:
            await self._projector.reached(await self._projector.head(), wanted, timeout_s=self._timeout_s)
        return min((each.position for each in await self.status() if each.name in wanted), default=0)

    async def fetch(
        self, statement: str, parameters: Parameters = (), *, names: Iterable[str], consistent: bool = True
    ) -> list[sqlite3.Row]:
        """Return rows from the tables of the projections that are named.

        A parameter named `limit` is the maximum number of rows. Raises `OutOfRangeError` where it is below 1,
        `ProjectionFailedError` where a projection has stopped, `ProjectionLagError` where waiting took too long.
        """
        if isinstance(parameters, Mapping) and isinstance(limit := parameters.get("limit"), int):
            check_limit(limit)
        wanted = tuple(names)
        if self._projector is None:
            await self._check_usable(wanted)
            return await self._views.fetch(statement, parameters)
        position = await self._projector.head() if consistent else 0
        await self._projector.reached(position, wanted, timeout_s=self._timeout_s)
        try:
            return await self._views.fetch(statement, parameters)
        except ViewsLostError as lost:  # deleted or damaged while it was open: it is rebuilt from the journal
            await self._projector.repair(lost.damaged)
        await self._projector.reached(position, wanted, timeout_s=self._timeout_s)
        return await self._views.fetch(statement, parameters)

    async def status(self) -> tuple[ProjectionStatus, ...]:
        """Return the position of each projection, by name."""
        if self._projector is not None:
            return self._projector.status()
        head = await self._tail() if self._tail is not None else 0
        return tuple(
            ProjectionStatus(name, at.version, at.position, max(0, head - at.position), at.failed)
            for name, (at, _) in sorted((await self._views.checkpoints()).items())
        )

    async def _check_usable(self, names: tuple[str, ...]) -> None:
        held = await self._views.checkpoints()
        for name in names:
            checkpoint: Checkpoint | None = held[name][0] if name in held else None
            if checkpoint is None or checkpoint.failed is not None:
                problem = "is not in it" if checkpoint is None else f"stopped with: {checkpoint.failed}"
                raise ProjectionFailedError(
                    f"views file [{self._views.path}] has no usable projection [{name}], which {problem}; "
                    "expected one that follows the journal: see the loom that writes it, or rebuild"
                )
