"""How what a person says about a turn gets into its journal, with the actor's code at hand or without it."""

from __future__ import annotations

from loom.actors.system import ActorSystem
from loom.decisions.entries import ApprovalAnsweredEntry, ApprovalEscalatedEntry
from loom.errors import AppendUnknownError, SequenceConflictError
from loom.identity import parse_journal_name
from loom.journal.entry import Entry
from loom.journal.store import Append, JournalStore, draft

__all__ = ["append_for"]

_TRIES = 5


async def append_for(system: ActorSystem, journal: str, entry: Entry, *, command_id: str) -> None:
    """Append an entry about a turn: through the actor's cell, or straight away where this process has no code for it."""
    if isinstance(entry, ApprovalAnsweredEntry | ApprovalEscalatedEntry) and system.knows(
        parse_journal_name(journal).actor_type
    ):
        cell = await system.cell(journal)
        await cell.answer(entry, command_id=command_id)
    else:
        await _append_plainly(system.services.store, journal, entry, command_id)


async def _append_plainly(store: JournalStore, journal: str, entry: Entry, command_id: str) -> None:
    for attempt in range(_TRIES):
        head = await store.head(journal)
        try:
            await store.append(Append(journal, head.sequence, (draft(entry, command_id=command_id),)))
        except SequenceConflictError:
            if attempt + 1 == _TRIES:
                raise
        except AppendUnknownError as unknown:
            if await store.resolve(unknown) is None:
                raise
            return
        else:
            return
