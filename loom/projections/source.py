"""The journal as it is folded: where entries come from, and the next page of them, bounded in number and in bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from loom.errors import ProjectionFailedError
from loom.journal.entry import Recorded
from loom.journal.store import JournalReader

__all__ = ["EntrySource", "Folded", "next_page", "strangers"]

_PAGE_BYTES = 16 * 1024 * 1024


class EntrySource(JournalReader, Protocol):
    """What the projector needs from a `JournalStore`, with what the comparison of rows with entries needs."""

    @property
    def acknowledged(self) -> int:
        """The position up to which all entries are known to be durable."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other processes may append at the same time."""
        ...

    async def refresh(self) -> int:
        """Return the position up to which everything is durable, what other processes wrote included."""
        ...

    def on_commit(self, callback: Callable[[int], None]) -> None:
        """Call `callback` with each new acknowledged position."""
        ...


class Folded(Protocol):
    """How far something is folded: up to a position, and the hash of the entry there."""

    @property
    def name(self) -> str:
        """What it is that was folded."""
        ...

    @property
    def position(self) -> int:
        """The last position that is in it; 0 where nothing is."""
        ...

    @property
    def entry_hash(self) -> bytes:
        """The hash of the entry at that position."""
        ...


async def next_page(source: EntrySource, after: int, until: int) -> list[Recorded]:
    """Return the entries after a position, up to and with another one, or fewer: those that fill 16 MiB.

    The stream that they are read from is closed. Raises `ProjectionFailedError` where there is none.
    """
    page: list[Recorded] = []
    size = 0
    stream = source.read_all(after=after, until=until)
    try:
        async for recorded in stream:
            page.append(recorded)
            size += len(recorded.body or b"")
            if size > _PAGE_BYTES:
                break
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
    if not page:
        raise ProjectionFailedError(
            f"journal holds no entry after position [{after}]; expected them up to [{until}]: run `loom verify`"
        )
    return page


async def strangers(source: EntrySource, folded: Iterable[Folded], *, until: int) -> list[str]:
    """Return the names of what was folded up to an entry that the journal, as far as it is known, does not have."""
    places = [each for each in folded if each.position]
    found = await source.at({each.position for each in places if each.position <= until})
    hashes = {position: recorded.entry_hash for position, recorded in found.items()}
    return [each.name for each in places if hashes.get(each.position) != each.entry_hash]
