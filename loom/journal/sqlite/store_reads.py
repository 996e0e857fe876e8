"""What a store reads: all of it through its reader."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Generic, Protocol, TypeVar

from loom.journal.entry import Part, Recorded
from loom.journal.store import JournalReader

__all__ = ["StoreReader", "StoreReads"]


class StoreReader(JournalReader, Protocol):
    """What reads for a store."""

    async def own_ids(self, ids: Collection[str]) -> dict[str, int]:
        """Return own id → position of the observed decisions that have one of these."""
        ...


R = TypeVar("R", bound=StoreReader)


class StoreReads(Generic[R]):
    """The `JournalReader` part of a store."""

    _reader: R

    async def find_command(self, journal: str, command_id: str) -> Recorded | None:
        """Return the `CommandReceivedEntry` of a command, or None."""
        return await self._reader.find_command(journal, command_id)

    def read(self, journal: str, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream a journal by sequence: those after `after`, up to and with `until`, page by page."""
        return self._reader.read(journal, after=after, until=until)

    def read_all(self, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream the workspace by position: those after `after`, up to and with `until`, page by page."""
        return self._reader.read_all(after=after, until=until)

    async def at(self, positions: Collection[int]) -> dict[int, Recorded]:
        """Return position → entry, for the positions that have one: rows of views are compared with them."""
        return await self._reader.at(positions)

    async def parts(self, positions: Collection[int], paths: Sequence[str]) -> dict[int, Part]:
        """Return position → the values in the body of its entry at two or more paths, of names joined by dots."""
        return await self._reader.parts(positions, paths)

    async def steps(self, wanted: Collection[tuple[str, int]]) -> dict[tuple[str, int], Recorded]:
        """Return (journal, sequence) → entry, for those that exist: the steps that decisions refer to."""
        return await self._reader.steps(wanted)

    async def commands(self, turns: Collection[tuple[str, str]], paths: Sequence[str]) -> dict[tuple[str, str], Part]:
        """Return turn → the values in the body of its `CommandReceivedEntry` at two or more paths."""
        return await self._reader.commands(turns, paths)

    async def own_ids(self, ids: Collection[str]) -> dict[str, int]:
        """Return own id → position of observed decisions; raise `JournalFormatError` where the format keeps none."""
        return await self._reader.own_ids(ids)

    async def marks(self, turns: Collection[tuple[str, str]]) -> list[Recorded]:
        """Return the entries of `MARKS` that turns have, by position; a turn is (journal, command id)."""
        return await self._reader.marks(turns)

    def unfinished(self, *, asked: bool = False) -> AsyncIterator[Recorded]:
        """Stream the `CommandReceivedEntry` of every turn without an end, by position; or of those that have `asked`.

        A turn has asked that has requested an approval.
        """
        return self._reader.unfinished(asked=asked)

    async def journals(self, *, after: str = "", limit: int = 1000) -> list[tuple[str, int]]:
        """Return names and last sequences of journals by name, those after `after`."""
        return await self._reader.journals(after=after, limit=limit)
