"""What is to be resumed when a node takes actors over: the journals whose turns have no end."""

from __future__ import annotations

from collections.abc import Callable

from loom.journal.store import JournalStore

__all__ = ["unfinished_journals"]


async def unfinished_journals(store: JournalStore, wanted: Callable[[str], bool]) -> tuple[str, ...]:
    """Return the journals of turns without an end that are `wanted`, that of the oldest turn first."""
    return tuple(dict.fromkeys([each.journal async for each in store.unfinished() if wanted(each.journal)]))
