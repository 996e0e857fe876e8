"""Who holds a journal: the process that acquired it last, as a store of several processes knows it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol, TypeGuard

__all__ = ["Holder", "KnowsHolders", "knows_holders"]


class Holder(NamedTuple):
    """The process that acquired a journal last: its number, where it takes requests, and whether it was fenced."""

    writer: int
    address: str | None
    fenced: bool


class KnowsHolders(Protocol):
    """A store that can say who holds a journal."""

    async def holders(self, journals: Collection[str]) -> Mapping[str, Holder]:
        """Return journal → holder, for those that a process has acquired."""
        ...


def knows_holders(store: object) -> TypeGuard[KnowsHolders]:
    """Tell whether a store can say who holds a journal (by its name: see `store.writes`)."""
    return hasattr(store, "holders")
