"""Decisions in the order of the journal, each read back in full, for the formats that are about decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from loom.decisions import DecisionTrace
from loom.decisions.entries import DECISIONS, DecisionJournalEntry, DecisionObservedEntry
from loom.errors import DecisionNotFoundError, EntryUnreadableError, ErasedError, ViewsDifferError
from loom.journal.entry import Recorded
from loom.journal.export import Readable

__all__ = ["DecisionsRead", "LeftOut", "Span", "entries_in"]


class Span(NamedTuple):
    """The entries to be written: of one journal by sequence, or of all by position; `until` is included."""

    journal: str | None = None
    after: int = 0
    until: int | None = None


class _Reads(Protocol):
    async def get(self, decision_id: str) -> DecisionTrace:
        """Return a decision with everything that is joined to it."""
        ...


@dataclass
class LeftOut:
    """How many entries or decisions a format could not hold, by reason."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, reason: str) -> None:
        """Count one more."""
        self.counts[reason] += 1

    def lines(self) -> list[str]:
        """Return the counts in words, the largest first."""
        return [f"{count} left out: {reason}" for reason, count in self.counts.most_common()]


@dataclass
class DecisionsRead:
    """Reads decisions one at a time, oldest first. A decision that cannot be read is counted in `left_out`."""

    source: Readable
    traces: _Reads
    span: Span = field(default_factory=Span)
    decision: str | None = None
    """Only this decision, by its id or an unambiguous beginning of it."""
    left_out: LeftOut = field(default_factory=LeftOut)

    async def each(self) -> AsyncIterator[DecisionTrace]:
        """Yield the decisions; raise `DecisionNotFoundError` if one that was named is not known."""
        if self.decision is not None:
            yield await self.traces.get(self.decision)
            return
        async for recorded in entries_in(self.source, self.span):
            if recorded.kind not in DECISIONS:
                continue
            entry = recorded.entry
            if not isinstance(entry, DecisionJournalEntry | DecisionObservedEntry):
                self.left_out.add("its body is pruned, erased, or written by a newer loom")
                continue
            try:
                yield await self.traces.get(entry.decision.decision_id)
            except (ErasedError, EntryUnreadableError):
                self.left_out.add("its body is pruned, erased, or written by a newer loom")
            except (DecisionNotFoundError, ViewsDifferError):
                self.left_out.add("the views do not have it as the journal does: see `loom verify --views`")


async def entries_in(source: Readable, span: Span) -> AsyncIterator[Recorded]:
    """Yield the entries of a span, in order."""
    if span.journal is None:
        entries = source.read_all(after=span.after, until=span.until)
    else:
        entries = source.read(span.journal, after=span.after, until=span.until)
    async for recorded in entries:
        yield recorded
