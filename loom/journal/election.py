"""Elections: which one of several processes does what only one may do, as running the actors, or asking a critic.

The result is journaled in a control journal. A process is replaced once it has ended, or has not beaten for a lease: it
is fenced first, so that nothing it still sends is appended. A beat is compared with the beat before, by the clock of
the process that looks: no clocks of two machines are compared, and a server that was away for a while makes nothing
look dead.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from typing import ClassVar, NamedTuple, Protocol, TypeGuard

from loom.errors import AppendRefusedError, LoomError
from loom.journal.entry import Entry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalReader, JournalStore, draft
from loom.telemetry import get_logger

__all__ = [
    "ELECTIONS_JOURNAL",
    "LEASE_S",
    "Election",
    "KnowsWriters",
    "Leader",
    "LeaderElectedEntry",
    "LeaderResignedEntry",
    "WriterSeen",
    "hears_writers",
    "leaders",
]

ELECTIONS_JOURNAL = "loom/elections"

LEASE_S = 5.0
"""How long a process may be silent before another one takes its place."""

LOOK_EVERY_S = 0.5

_log = get_logger("loom.journal")


class LeaderElectedEntry(Entry):
    """A process was elected to do what only one process does, in place of another one or of none."""

    kind: ClassVar[str] = "leader_elected"

    role: str
    writer: int
    """The number of the process among the writers of the workspace."""
    name: str
    replaces: int | None = None
    """The process that did it before, which was fenced or has ended."""


class LeaderResignedEntry(Entry):
    """A process does it no more, as it ends in order."""

    kind: ClassVar[str] = "leader_resigned"

    role: str
    writer: int


class Leader(NamedTuple):
    """The process that was elected last; `resigned` once it has ended in order."""

    role: str
    writer: int
    name: str
    elected_at_us: int
    resigned: bool = False


class WriterSeen(NamedTuple):
    """A process that writes the workspace. `beat` changes as long as it lives; `ended` once it was fenced or closed."""

    writer: int
    name: str
    address: str | None
    beat: int
    ended: bool
    release: str | None = None
    """The loom that it runs."""
    level: int = 1
    """The level of the shapes that it reads and writes (see `floor`)."""
    silent_s: float = 0.0
    """How long ago it was heard of, by the clock of the server."""


class KnowsWriters(Protocol):
    """A store that knows which processes write it, and hears their beats."""

    async def writers(self) -> list[WriterSeen]:
        """Return the processes that have opened it and have not ended long ago."""
        ...


def hears_writers(store: JournalStore) -> TypeGuard[KnowsWriters]:
    """Tell whether several processes write a store that hears their beats (by its names: see `store.writes`)."""
    return store.shared and hasattr(store, "writers")


class _Elected:
    """What the journal of elections says."""

    def __init__(self, store: JournalReader, make_draft: Callable[[Entry], Draft]) -> None:
        self.journal = SingletonJournal(store, ELECTIONS_JOURNAL, self._fold, make_draft=make_draft)
        self.leaders: dict[str, Leader] = {}

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        if isinstance(entry, LeaderElectedEntry):
            at_us = recorded.recorded_at_us
            self.leaders[entry.role] = Leader(entry.role, entry.writer, entry.name, at_us)
        elif isinstance(entry, LeaderResignedEntry):
            last = self.leaders.get(entry.role)
            if last is not None and last.writer == entry.writer:
                self.leaders[entry.role] = last._replace(resigned=True)


async def leaders(store: JournalReader) -> tuple[Leader, ...]:
    """Return who was elected last for each role, by role."""
    elected = _Elected(store, draft)
    await elected.journal.load()
    return tuple(elected.leaders[role] for role in sorted(elected.leaders))


class Election:
    """Has one process among several do something. `look` from time to time; `resign` before the store is closed.

    Over a store that one process writes, or one that does not hear its writers, this process is always the one.
    """

    def __init__(
        self,
        store: JournalStore,
        role: str,
        *,
        lease_s: float = LEASE_S,
        make_draft: Callable[[Entry], Draft] = draft,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._writers = store.writers if hears_writers(store) else None
        self.role = role
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._lease_s = lease_s
        self._clock = clock
        self._elected = _Elected(store, make_draft)
        self._beat: tuple[int, int] | None = None
        self._since = 0.0
        self.leader_lives = False
        """Whether the elected process has beaten between two looks of this one."""
        self._closed = False

    @property
    def leader(self) -> Leader | None:
        """The process that was elected last, as far as the journal was read; None where there was no election."""
        return self._elected.leaders.get(self.role)

    @property
    def won(self) -> bool:
        """Whether this process is the one, as far as the journal was read."""
        return self._writers is None or (
            self.leader is not None and not self.leader.resigned and self.leader.writer == self._store.writer
        )

    async def look(self) -> bool:
        """Look whether the elected process lives, take its place if it does not, and return whether this is the one."""
        if self._writers is None:
            return True
        await self._elected.journal.load()
        if self.won or self._closed:
            return self.won and not self._closed
        before = self.leader
        if before is not None and not before.resigned:
            if not await self._is_gone(before.writer):
                return False
            await self._fence(before)
        return await self._stand(before)

    async def until_won(self, *, every_s: float = LOOK_EVERY_S) -> None:
        """Wait until this process is the one; what fails meanwhile is logged, and tried again."""
        failing = False
        while True:
            try:
                if await self.look():
                    return
                failing = False
            except AppendRefusedError:  # this process was fenced: it will never be the one
                raise
            except LoomError as error:
                if not failing:
                    _log.warning("election_stalled", role=self.role, error=str(error))
                failing = True
            await asyncio.sleep(every_s)

    async def resign(self) -> None:
        """Give it up in order, so that another process need not wait for a lease; harmless where it is not the one."""
        self._closed = True
        if self._writers is None or not self.won:
            return
        entry = LeaderResignedEntry(role=self.role, writer=self._store.writer)
        try:
            await self._elected.journal.append_if_missing(lambda: entry if self.won else None)
        except LoomError as error:  # then the others wait for a lease
            _log.warning("not_resigned", role=self.role, error=str(error))

    async def _is_gone(self, writer: int) -> bool:
        """Tell whether a process has ended, or its beat has not changed for a lease, by the clock of this process."""
        if self._writers is None:
            return False
        seen = {each.writer: each for each in await self._writers()}.get(writer)
        if seen is None or seen.ended:
            return True
        now, beat = self._clock(), (writer, seen.beat)
        if self._beat != beat:
            self.leader_lives = self._beat is not None and self._beat[0] == writer
            self._beat, self._since = beat, now
        return now - self._since >= self._lease_s

    async def _fence(self, before: Leader) -> None:
        await self._store.fence(before.writer)
        _log.warning("leader_fenced", role=self.role, writer=before.writer, name=before.name)

    async def _stand(self, before: Leader | None) -> bool:
        """Be elected, unless another process was since."""
        entry = LeaderElectedEntry(
            role=self.role,
            writer=self._store.writer,
            name=self._name,
            replaces=None if before is None else before.writer,
        )
        await self._elected.journal.append_if_missing(lambda: entry if self.leader == before else None)
        return self.won
