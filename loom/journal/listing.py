"""A journal in a list of journals: its length and its last entry."""

from __future__ import annotations

from typing import Any

from loom.journal.export import Readable
from loom.journal.store import JournalReader

__all__ = ["first_of_type", "journal_as_json"]


async def journal_as_json(source: Readable, journal: str, entries: int) -> dict[str, Any]:
    """Return the list item of a journal with `entries` entries, as plain JSON."""
    last = [each async for each in source.read(journal, after=entries - 1, until=entries)]
    return {
        "journal": journal,
        "entries": entries,
        "last_at": last[0].recorded_at.isoformat() if last else None,
        "last_kind": last[0].kind if last else None,
    }


async def first_of_type(store: JournalReader, actor_type: str) -> str | None:
    """Return the kind of the first entry of one journal of a type; None where there is no such journal."""
    for name, _ in await store.journals(after=f"{actor_type}/", limit=1):
        if name.startswith(f"{actor_type}/"):
            async for recorded in store.read(name, until=1):
                return recorded.kind
    return None
