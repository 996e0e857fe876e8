"""Open what is sealed in entries before they reach the projections, which open nothing themselves (design: Law 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from pydantic import JsonValue

from loom.journal.entry import Recorded

__all__ = ["HoldsOpened", "Opener"]


class Opener(Protocol):
    """Opens sealed parts of entries for the views, with the keys of the running loom."""

    async def open_page(self, page: Sequence[Recorded]) -> None:
        """Set `opened` of each entry that has such a part, also where its key is gone."""
        ...

    async def opened(self, sealed: JsonValue) -> Mapping[str, JsonValue] | None:
        """Return one such part opened; None where its key is gone."""
        ...


@runtime_checkable
class HoldsOpened(Protocol):
    """A projection that has opened parts in its tables, so that they cannot be folded again without the keys."""

    @property
    def opened_tables(self) -> Mapping[str, frozenset[str]]:
        """Return table → the columns that have opened parts; with no columns, the whole rows depend on them."""
        ...

    def is_closed(self, recorded: Recorded) -> bool:
        """Return whether an entry has such a part, and no one has tried to open it."""
        ...
