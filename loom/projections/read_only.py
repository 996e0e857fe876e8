"""Read views without writing next to them: while another loom runs, or in a directory that is read-only."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from loom.journal.control import runs_workspace
from loom.journal.places import PlaceReader, reader_of
from loom.journal.private import create_private
from loom.journal.read_only import StoreUpTo
from loom.journal.sqlite import JournalFiles, WriterLock
from loom.journal.sqlite.connection import reader_uri
from loom.projections.projection import Projection, shape_of
from loom.projections.projector import Progress, Projector
from loom.projections.queries import Queries
from loom.projections.views import Views, ViewsLostError

__all__ = ["open_views_for_reading"]


@contextlib.asynccontextmanager
async def open_views_for_reading(
    files: JournalFiles, projections: Sequence[Projection], *, progress: Progress | None = None
) -> AsyncIterator[Queries]:
    """Yield queries over the views of a journal. Take no lock, and write nothing in its directory.

    Views that a running loom updates are read as they are: they may lag, and `status` says by how much. Other views
    are read as they are if they hold the whole journal. If not, a copy in a temporary directory is brought up to date.
    """
    reader = reader_of(files)
    views = Views(files.views)
    lock = WriterLock(files.lock)
    try:
        live = lock.held() and runs_workspace(lock.holder())
        if await _usable(views, reader, projections, live=live):
            yield Queries(views, tail=reader.tail, entries=reader)
        else:
            await views.close()
            async with _copy(files.views, reader, projections, progress) as queries:
                yield queries
    finally:
        await views.close()
        await reader.close()


async def _usable(views: Views, reader: PlaceReader, projections: Sequence[Projection], *, live: bool) -> bool:
    """Tell whether views are of these projections and this journal, and are up to date or updated by a running loom."""
    try:
        held = await views.checkpoints()
    except (ViewsLostError, sqlite3.Error):
        return False
    tail = await reader.tail()
    hashes: dict[int, bytes] = {0: b""}
    for projection in projections:
        if projection.name not in held:
            return False
        checkpoint, shape = held[projection.name]
        if (checkpoint.version, shape) != (projection.version, shape_of(projection)):
            return False
        if checkpoint.failed is not None or not (live or checkpoint.position == tail):
            return False
        if checkpoint.position not in hashes:
            page = await reader.page(after=checkpoint.position - 1, until=checkpoint.position)
            hashes[checkpoint.position] = page[0].entry_hash if page else b"?"
        if hashes[checkpoint.position] != checkpoint.entry_hash:
            return False
    return True


@contextlib.asynccontextmanager
async def _copy(
    original: Path, reader: PlaceReader, projections: Sequence[Projection], progress: Progress | None
) -> AsyncIterator[Queries]:
    with tempfile.TemporaryDirectory(prefix="loom-views-") as directory:
        path = Path(directory) / "views.db"
        await asyncio.to_thread(_back_up, original, path)
        views = Views(path)
        projector = Projector(await StoreUpTo.over(reader), views, projections)
        try:
            await projector.start()
            await projector.caught_up(progress=progress)
            yield Queries(views, projector)
        finally:
            await projector.close()
            await views.close()


def _back_up(original: Path, path: Path) -> None:
    """Copy views so that only new entries have to be folded. What cannot be copied is folded from the start."""
    if not original.exists():
        return
    create_private(path)
    try:
        with (
            contextlib.closing(sqlite3.connect(reader_uri(original), uri=True)) as source,
            contextlib.closing(sqlite3.connect(path)) as target,
        ):
            source.backup(target)
    except sqlite3.Error:
        path.unlink(missing_ok=True)
