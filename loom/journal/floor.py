"""The format floor of a workspace that several processes write: which shapes of entries all of them can read.

A rolling upgrade has processes of two looms at the same time. The newer one reads both shapes from the beginning, and
writes the older one until a person has raised the floor, once no process of the older loom is left. From then on a loom
that knows less is refused by name. A journal without an entry is at floor 1.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Protocol, TypeGuard

from loom.errors import JournalFormatError, JournalLockedError, JournalReadOnlyError
from loom.identity import Identity, check_person
from loom.journal import lowering
from loom.journal.election import KnowsWriters, WriterSeen
from loom.journal.entry import Recorded
from loom.journal.kinds import FloorRaisedEntry
from loom.journal.singleton import SingletonJournal
from loom.journal.store import JournalReader, writes
from loom.telemetry import get_logger

__all__ = ["FLOOR_JOURNAL", "SILENT_S", "Floor", "release"]

FLOOR_JOURNAL = "loom/format"

SILENT_S = 10.0
"""A process that was silent for so long, by the clock of the server, is fenced before the floor is raised."""

_log = get_logger("loom.journal")


def release() -> str:
    """Return the version of this loom."""
    return version("loom-journal")


class _Shared(KnowsWriters, Protocol):
    """A store that several processes write."""

    @property
    def writer(self) -> int: ...

    async def fence(self, writer: int) -> None: ...


def _is_shared(store: JournalReader) -> TypeGuard[_Shared]:
    """Tell whether several processes write a store (by its names: see `store.writes`)."""
    return hasattr(store, "writers") and hasattr(store, "fence")


class Floor:
    """The floor of one journal. Over a store, this process writes no newer shapes than it allows."""

    def __init__(self, store: JournalReader) -> None:
        self._store = store
        self._journal = SingletonJournal(store, FLOOR_JOURNAL, self._fold, followed=self._followed)
        self.level = 1
        """The level of the newest shapes that may be written."""
        self.raised: FloorRaisedEntry | None = None
        """The last entry; None where the floor was never raised."""

    async def load(self) -> None:
        """Read the floor, and write by it from now on; raise `JournalFormatError` where this loom knows less."""
        await self._journal.load()
        if (refusal := self.refusal()) is not None:
            raise refusal
        self._write_by_it()

    def refusal(self) -> JournalFormatError | None:
        """Return why this loom may not write or read the journal, None where it may."""
        if self.raised is None or self.level <= lowering.LEVEL:
            return None
        return JournalFormatError(
            f"the journal is at format floor [{self.level}], which [{self.raised.by}] raised for loom "
            f"[{self.raised.release}]; expected at most [{lowering.LEVEL}], which this loom [{release()}] reads: "
            f"install loom [{self.raised.release}] or a later one"
        )

    async def raise_to(self, level: int, *, by: Identity, reason: str = "") -> bool:
        """Raise the floor in a person's name, and return whether it was lower.

        Raises `JournalLockedError` where a process of an earlier loom writes the journal. One that was silent for
        `SILENT_S` is fenced.
        """
        store = self._store
        if not writes(store) or not _is_shared(store):
            raise JournalReadOnlyError(
                "the floor of this journal cannot be raised; expected one that several processes write: open it on its "
                "server"
            )
        check_person(by.name)
        await self.load()
        if level <= self.level:
            return False
        behind = [each for each in await store.writers() if not each.ended and each.level < level]
        if alive := [each for each in behind if each.silent_s < SILENT_S]:
            raise JournalLockedError(
                f"[{len(alive)}] processes of an earlier loom write the journal [{_named(alive)}]; expected none below "
                f"level [{level}]: end them, start them again with loom [{release()}], and raise the floor then",
                holder={"name": alive[0].name, "writer": alive[0].writer},
            )
        for each in behind:
            await store.fence(each.writer)
        entry = FloorRaisedEntry(level=level, release=release(), reason=reason, **by.written())
        await self._journal.append_if_missing(lambda: entry if self.level < level else None)
        self._write_by_it()
        return True

    def _write_by_it(self) -> None:
        if writes(self._store):
            lowering.ask(self._store, self.level)

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        if isinstance(entry, FloorRaisedEntry) and entry.level > self.level:
            self.level, self.raised = entry.level, entry

    async def _followed(self) -> None:
        """Write newer shapes from now on; a process that cannot read them ends."""
        refusal = self.refusal()
        if refusal is None:
            self._write_by_it()
        elif _is_shared(self._store):
            _log.error("format_floor_raised", error=str(refusal))
            await self._store.fence(self._store.writer)


def _named(writers: list[WriterSeen]) -> str:
    return ", ".join(f"{each.writer} {each.name} of loom {each.release or 'unknown'}" for each in writers[:5])
