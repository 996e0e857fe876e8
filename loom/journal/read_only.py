"""A store that is read and never written: for what takes a `JournalStore` where there is a reader of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import datetime
from typing import Self

from loom.clock import datetime_from_us
from loom.errors import AppendUnknownError, JournalReadOnlyError, LoomError
from loom.journal.chain import genesis
from loom.journal.entry import Part, Recorded
from loom.journal.places import PlaceReader
from loom.journal.store import Append, Draft, Head, JournalReader, JournalStore, Receipt, Submitted

__all__ = ["ReadOnlyStore", "StoreUpTo"]


class ReadOnlyStore(JournalStore):
    """A `JournalStore` that is read and never written. Its head is that of the time when it was created."""

    def __init__(self, reader: JournalReader, *, workspace: str, last: Recorded | None) -> None:
        self.reader = reader
        self._workspace = workspace
        self._last = last

    @classmethod
    async def over(cls, reader: PlaceReader) -> Self:
        """Return the store of the entries that a reader finds now."""
        page = await reader.page(after=await reader.tail() - 1)
        return cls(reader, workspace=await reader.workspace() or "", last=page[-1] if page else None)

    @property
    def workspace(self) -> str:
        """The workspace whose journals these are."""
        return self._workspace

    @property
    def writer(self) -> int:
        """No writer: 0."""
        return 0

    @property
    def shared(self) -> bool:
        """Nothing is shared: what is read is as it was at creation."""
        return False

    @property
    def acknowledged(self) -> int:
        """The last position at creation."""
        return 0 if self._last is None else self._last.position

    @property
    def recorded_at_us(self) -> int:
        """The time of the last entry at creation."""
        return 0 if self._last is None else self._last.recorded_at_us

    def submit(self, append: Append) -> Submitted:
        """Refuse."""
        raise _refused(append.journal)

    def extend(self, submitted: asyncio.Future[Receipt], draft: Draft) -> bool:
        """Add nothing: nothing is queued."""
        return False

    async def append(self, append: Append) -> Receipt:
        """Refuse."""
        raise _refused(append.journal)

    @property
    def has_room(self) -> bool:
        """Nothing waits to be written."""
        return True

    async def room(self) -> None:
        """Return at once: nothing waits to be written."""

    async def resolve(self, unknown: AppendUnknownError) -> Receipt | None:
        """Refuse: nothing can be unknown here."""
        raise _refused(unknown.journal)

    async def head(self, journal: str) -> Head:
        """Return the head of a journal."""
        head = Head(0, genesis(self._workspace, journal))
        async for recorded in self.reader.read(journal):
            head = Head(recorded.sequence, recorded.entry_hash)
        return head

    async def acquire(self, journal: str) -> Head:
        """Refuse."""
        raise _refused(journal)

    async def refresh(self) -> int:
        """Return the last position at creation."""
        return self.acknowledged

    async def fence(self, writer: int) -> None:
        """Refuse."""
        raise _refused(f"of writer {writer}")

    def on_fenced(self, callback: Callable[[LoomError], None]) -> None:
        """Never call it."""

    def now(self) -> datetime:
        """Return the time of the last entry at creation."""
        return datetime_from_us(self.recorded_at_us)

    async def prune(self, journal: str, *, until: int) -> None:
        """Refuse."""
        raise _refused(journal)

    async def prune_bodies(self, journal: str, ranges: Sequence[tuple[int, int]]) -> None:
        """Refuse."""
        raise _refused(journal)

    async def find_command(self, journal: str, command_id: str) -> Recorded | None:
        """Return the `CommandReceivedEntry` of a command, or None."""
        return await self.reader.find_command(journal, command_id)

    def read(self, journal: str, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream a journal by sequence."""
        return self.reader.read(journal, after=after, until=until)

    def read_all(self, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream the workspace by position."""
        return self.reader.read_all(after=after, until=until)

    async def at(self, positions: Collection[int]) -> dict[int, Recorded]:
        """Return position → entry of those positions at which there is one."""
        return await self.reader.at(positions)

    async def parts(self, positions: Collection[int], paths: Sequence[str]) -> dict[int, Part]:
        """Return position → what the bodies of entries hold at two or more paths, of names joined by dots."""
        return await self.reader.parts(positions, paths)

    async def steps(self, wanted: Collection[tuple[str, int]]) -> dict[tuple[str, int], Recorded]:
        """Return (journal, sequence) → entry of those at which there is one: what decisions refer to is read so."""
        return await self.reader.steps(wanted)

    async def commands(self, turns: Collection[tuple[str, str]], paths: Sequence[str]) -> dict[tuple[str, str], Part]:
        """Return turn → what the entry with which its command was received holds at two or more paths."""
        return await self.reader.commands(turns, paths)

    async def own_ids(self, ids: Collection[str]) -> dict[str, int]:
        """Refuse: nothing is imported here."""
        raise _refused("of an import")

    async def marks(self, turns: Collection[tuple[str, str]]) -> list[Recorded]:
        """Return the entries of `MARKS` that turns have."""
        return await self.reader.marks(turns)

    def unfinished(self, *, asked: bool = False) -> AsyncIterator[Recorded]:
        """Stream the `CommandReceivedEntry` of every turn without an end, or of those that have `asked`."""
        return self.reader.unfinished(asked=asked)

    async def journals(self, *, after: str = "", limit: int = 1000) -> list[tuple[str, int]]:
        """Return names and last sequences of journals by name."""
        return await self.reader.journals(after=after, limit=limit)

    def on_commit(self, callback: Callable[[int], None]) -> None:
        """Never call it."""

    async def close(self) -> None:
        """Do nothing: the reader is another's."""


class StoreUpTo(ReadOnlyStore):
    """A store up to its last position at creation: no entry that was recorded later is in what it reads.

    `journals` and `unfinished` are the exceptions: they are those of the reader.
    """

    async def find_command(self, journal: str, command_id: str) -> Recorded | None:
        """Return the `CommandReceivedEntry` of a command, or None."""
        found = await self.reader.find_command(journal, command_id)
        return found if found is not None and found.position <= self.acknowledged else None

    async def read(self, journal: str, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream a journal by sequence."""
        async for recorded in self.reader.read(journal, after=after, until=until):
            if recorded.position > self.acknowledged:
                return
            yield recorded

    def read_all(self, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream the workspace by position."""
        last = self.acknowledged if until is None else min(until, self.acknowledged)
        return self.reader.read_all(after=after, until=last)

    async def at(self, positions: Collection[int]) -> dict[int, Recorded]:
        """Return position → entry of those positions at which there is one."""
        return await self.reader.at([each for each in positions if each <= self.acknowledged])

    async def parts(self, positions: Collection[int], paths: Sequence[str]) -> dict[int, Part]:
        """Return position → what the bodies of entries hold at two or more paths, of names joined by dots."""
        return await self.reader.parts([each for each in positions if each <= self.acknowledged], paths)

    async def steps(self, wanted: Collection[tuple[str, int]]) -> dict[tuple[str, int], Recorded]:
        """Return (journal, sequence) → entry of those at which there is one."""
        found = await self.reader.steps(wanted)
        return {place: each for place, each in found.items() if each.position <= self.acknowledged}

    async def commands(self, turns: Collection[tuple[str, str]], paths: Sequence[str]) -> dict[tuple[str, str], Part]:
        """Return turn → what the entry with which its command was received holds at two or more paths."""
        found = await self.reader.commands(turns, paths)
        return {turn: part for turn, part in found.items() if part.position <= self.acknowledged}

    async def marks(self, turns: Collection[tuple[str, str]]) -> list[Recorded]:
        """Return the entries of `MARKS` that turns have."""
        return [each for each in await self.reader.marks(turns) if each.position <= self.acknowledged]


def _refused(journal: str) -> JournalReadOnlyError:
    return JournalReadOnlyError(
        f"journal [{journal}] is open for reading; expected nothing to be written: that is a fault"
    )
