"""A journal in a list of them: how long it is, and what stands last in it."""

from __future__ import annotations

from typing import Any

from loom.journal.export import Readable

__all__ = ["journal_as_json"]


async def journal_as_json(source: Readable, journal: str, entries: int) -> dict[str, Any]:
    """Return what a list says of a journal with so many entries."""
    last = [each async for each in source.read(journal, after=entries - 1, until=entries)]
    return {
        "journal": journal,
        "entries": entries,
        "last_at": last[0].recorded_at.isoformat() if last else None,
        "last_kind": last[0].kind if last else None,
    }
