"""Who holds a journal: the process that acquired it last, as a store of several processes knows it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

__all__ = ["Holder", "KnowsHolders"]


class Holder(NamedTuple):
    """The process that acquired a journal last: its number, where it takes requests, and whether it was fenced."""

    writer: int
    address: str | None
    fenced: bool


@runtime_checkable
class KnowsHolders(Protocol):
    """A store that can say who holds a journal."""

    async def holders(self, journals: Collection[str]) -> Mapping[str, Holder]:
        """Return journal → holder, for those that a process has acquired."""
        ...
