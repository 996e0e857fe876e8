"""Read a workspace back, while a loom runs or without one: nothing here takes the lock or writes to the workspace.

If no loom keeps the views up to date and they lag behind the journal, a copy is brought up to date and then deleted:
a shell that reads must never keep a loom from starting.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from loom.actors import TurnsView
from loom.cli.shell import Shell
from loom.decisions import (
    ApprovalChains,
    RunsView,
    Traces,
)
from loom.extension import Extension, extensions_of
from loom.journal.places import PlaceReader, reader_of
from loom.journal.sqlite import JournalFiles, WriterLock
from loom.precedents import Precedents
from loom.precedents.similarity import Similarity
from loom.projections import Queries, open_views_for_reading
from loom.workspace import own_projections, similarity_of

__all__ = ["Readings", "loaded", "open_journal", "open_readings", "similarity_in"]


@dataclass(frozen=True)
class Readings:
    """Everything that can be read of a workspace."""

    files: JournalFiles
    reader: PlaceReader
    queries: Queries
    traces: Traces
    approvals: ApprovalChains
    precedents: Precedents
    turns: TurnsView
    runs: RunsView

    @property
    def live(self) -> bool:
        """Whether a loom runs on it right now."""
        return WriterLock(self.files.lock).held()


def similarity_in(readings: Readings, shell: Shell) -> Similarity | None:
    """Return what suggests decisions by their words, with the function that the config names; None without one."""
    shell.allow_imports()
    return similarity_of(shell.settings, readings.queries)


class _Loads(Protocol):
    async def load(self) -> None: ...


L = TypeVar("L", bound=_Loads)


async def loaded(register: L) -> L:
    """Return what is folded from a journal, as `Standings(reader)`, when it has read its entries."""
    await register.load()
    return register


@contextlib.asynccontextmanager
async def open_journal(shell: Shell) -> AsyncIterator[PlaceReader]:
    """Yield a reader of the journal that is meant."""
    reader = reader_of(shell.existing.files)
    try:
        yield reader
    finally:
        await reader.close()


@contextlib.asynccontextmanager
async def open_readings(shell: Shell, *extensions: Extension) -> AsyncIterator[Readings]:
    """Yield the readers of the workspace that is meant; print a note if the views of a running loom lag.

    `extensions` are read, too, whether the config asks for them or not.
    """
    files = shell.existing.files
    async with contextlib.AsyncExitStack() as stack:
        reader = await stack.enter_async_context(open_journal(shell))
        with shell.output.progress("reading the journal") as tell:
            used = {each.name: each for each in (*extensions_of(shell.existing.config), *extensions)}
            brought = [projection for each in used.values() for projection in each.projections]
            opening = open_views_for_reading(files, [*own_projections(), *brought], progress=tell)
            queries = await stack.enter_async_context(opening)
        behind = max((each.lag for each in await queries.status()), default=0)
        if behind:
            shell.output.note(f"the views of the running loom are {behind} entries behind its journal")
        yield Readings(
            files,
            reader,
            queries,
            Traces(queries),
            ApprovalChains(queries),
            Precedents(queries),
            TurnsView(queries),
            RunsView(queries),
        )
        if differ := queries.differences.count:
            first = next(iter(queries.differences))
            shell.output.note(
                f"{differ} rows of the views differ from the journal, and were left out [{first}]: see "
                "`loom verify --views`"
            )
