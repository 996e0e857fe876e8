"""Replay with the code that the config of the shell names, on what a shell reads."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from loom.archive import Archive
from loom.cli.reading import Readings
from loom.cli.shell import Shell
from loom.extension import installed
from loom.journal.read_only import ReadOnlyStore
from loom.journal.sqlite import JournalFiles
from loom.projections import Queries, Views
from loom.replay import Replay
from loom.replay.read_only import replaying as replaying_store
from loom.workspace import actors_of

__all__ = ["replaying", "replaying_archive"]


@contextlib.asynccontextmanager
async def replaying(readings: Readings, shell: Shell) -> AsyncIterator[Replay]:
    """Yield a replay of the journals of a workspace, with the code of the config's modules and extensions."""
    async with _replaying(await ReadOnlyStore.over(readings.reader), readings.queries, readings.files, shell) as replay:
        yield replay


@contextlib.asynccontextmanager
async def replaying_archive(archive: Archive, shell: Shell) -> AsyncIterator[Replay]:
    """Yield a replay of the journals of an archive: states and turns. It has no views to judge decisions."""
    store = ReadOnlyStore(archive, workspace=archive.workspace, last=None)
    files = JournalFiles(archive.path)
    queries = Queries(Views(files.views))  # opened when it is asked, which it is not
    async with _replaying(store, queries, files, shell) as replay:
        yield replay


def _replaying(
    store: ReadOnlyStore, queries: Queries, files: JournalFiles, shell: Shell
) -> contextlib.AbstractAsyncContextManager[Replay]:
    return replaying_store(
        store,
        queries=queries,
        files=files,
        config=shell.settings,
        actors=actors_of(shell.settings.modules),
        # whether the config asks for them or not: they only provide code
        extensions=[each.replays for each in installed().values() if each.replays is not None],
    )
