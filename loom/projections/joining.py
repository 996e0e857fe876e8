"""Join entries to the steps that they refer to. Readers of a journal do this before they pass the entries on.

Each step is compared with the digest in the entry that refers to it. Steps are nearly always among the entries that
were just read, and are kept until their turn ends. After a restart in the middle of a turn, the missing ones are read
again from the journal by sequence. No projection reads anything (design: Law 7).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from loom.errors import EntryUnreadableError
from loom.journal.entry import KINDS, Recorded, ReferringEntry, Steps
from loom.journal.kinds import ENDINGS, CommandReceivedEntry

__all__ = ["OpenTurns", "StepSource", "join", "references_of"]

_MOST_BYTES = 32 * 1024 * 1024


class StepSource(Protocol):
    """Where earlier steps are read from."""

    async def steps(self, wanted: set[tuple[str, int]], /) -> Steps:
        """Return (journal, sequence) → entry, for those that exist."""
        ...


async def join(source: StepSource, recorded: Iterable[Recorded]) -> None:
    """Fill in what entries refer to, with one read for all of them."""
    referring = [each for each in recorded if each.refers]
    wanted = {place for each in referring for place in references_of(each)}
    steps: Steps = await source.steps(wanted) if wanted else {}
    for each in referring:
        each.join(steps)


def references_of(recorded: Recorded) -> list[tuple[str, int]]:
    """Return what an entry refers to, by journal and sequence; an empty list where the entry cannot be read."""
    try:
        entry = recorded.entry
    except EntryUnreadableError:  # the caller gets this error when it reads the entry
        return []
    if not isinstance(entry, ReferringEntry):
        return []
    return [(recorded.journal, each.sequence) for each in entry.references()]


class OpenTurns:
    """Follows the entries of a workspace by position, and keeps the steps of turns that have not ended.

    Entries that refer to steps are joined with them on the way; bodies are decoded only on demand. At most `most_bytes`
    are kept: the oldest turns are dropped first, and their steps are read again when needed.
    """

    def __init__(self, source: StepSource, *, most_bytes: int = _MOST_BYTES) -> None:
        self._source = source
        self._most_bytes = most_bytes
        self._open: dict[tuple[str, str | None], _Kept] = {}
        self._bytes = 0
        self._roles: dict[str, str | None] = {}
        """The role of entries in their turn, by kind."""

    async def take(self, page: Sequence[Recorded]) -> None:
        """Join the entries of the next page by position."""
        turns, roles, missing = self._open, self._roles, []
        for recorded in page:
            if recorded.kind in roles:
                role = roles[recorded.kind]
            else:
                role = roles[recorded.kind] = _role_of(recorded.kind)
            if role is None:
                continue
            turn = (recorded.journal, recorded.command_id)
            if role in (_BEGINS, _ENDS):
                if turn in turns:
                    self._bytes -= turns.pop(turn).size
                if role == _BEGINS:
                    turns[turn] = _Kept()
            elif role == _STEP:
                if turn in turns:
                    self._keep(turns[turn], recorded)
            elif recorded.body is None:
                continue
            elif turn in turns:
                recorded.join(turns[turn])
            else:
                missing.append(recorded)
        if missing:
            await join(self._source, missing)

    def _keep(self, steps: _Kept, recorded: Recorded) -> None:
        place = (recorded.journal, recorded.sequence)
        if place not in steps:
            size = 0 if recorded.body is None else len(recorded.body)
            steps[place] = recorded
            steps.size += size
            self._bytes += size
        while self._bytes > self._most_bytes:
            self._bytes -= self._open.pop(next(iter(self._open))).size


class _Kept(dict[tuple[str, int], Recorded]):
    """The steps of a turn, and the size of their bodies in bytes."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0


_BEGINS, _ENDS, _STEP, _REFERS = "begins", "ends", "is a step", "refers"


def _role_of(kind: str) -> str | None:
    """Return the role that entries of a kind have in their turn; None where it does not matter here."""
    if kind == CommandReceivedEntry.kind:
        return _BEGINS
    if kind in ENDINGS:
        return _ENDS
    cls = KINDS.get(kind)
    if cls is None:
        return None
    return _REFERS if issubclass(cls, ReferringEntry) else _STEP if cls.is_referred_to else None
