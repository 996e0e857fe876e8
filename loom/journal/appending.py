"""Appending to a journal that other processes append to as well, one entry or batch at a time, without owning it.

A registry, the outcomes, the enrichments: their journals have no owner, and are never acquired. Each append says
after which entry. Where another process was first, the store refuses, and the append is made again, from what was
appended first. An actor's journal has an owner, whose cell is rebuilt instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from loom.errors import AppendUnknownError, SequenceConflictError
from loom.journal.store import Append, Draft, JournalStore, JournalWriter, Receipt

__all__ = ["Prepared", "append_last", "append_prepared"]

RACES = 50
"""How often an append is made again after another process appended first; each time, one of them has got on."""
_PAUSE_S = 0.001


class Prepared(NamedTuple):
    """What to append, and the sequence of the entry that it follows."""

    after: int
    drafts: Sequence[Draft]


async def append_prepared(
    store: JournalWriter, journal: str, prepare: Callable[[], Awaitable[Prepared | None]]
) -> Receipt | None:
    """Append what `prepare` returns, and return its receipt; None means that nothing is to be appended.

    `prepare` is called again each time another process has appended first, so that it sees those entries. An append
    whose outcome is unknown is resolved. Raises `SequenceConflictError` after so many lost races that something else
    must be wrong.
    """
    race = 0
    while True:
        race += 1
        prepared = await prepare()
        if prepared is None:
            return None
        try:
            return await store.append(Append(journal, prepared.after, prepared.drafts))
        except AppendUnknownError as unknown:
            receipt = await store.resolve(unknown)
            if receipt is None:
                raise
            return receipt
        except SequenceConflictError:
            if race == RACES:
                raise
            await asyncio.sleep(_PAUSE_S * race)


async def append_last(store: JournalStore, journal: str, drafts: Sequence[Draft]) -> Receipt:
    """Append entries at the end of a journal, whatever other processes append meanwhile."""

    async def prepare() -> Prepared:
        return Prepared((await store.head(journal)).sequence, drafts)

    receipt = await append_prepared(store, journal, prepare)
    assert receipt is not None  # noqa: S101 - something is always prepared
    return receipt
