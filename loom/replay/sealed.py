"""Recorded facts with sealed values: opened in memory for a reader, or marked as closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from loom.errors import JournalReadOnlyError
from loom.identity import By
from loom.replay.selection import Recall, Recalled
from loom.sealing import Erasures, Opened, Openings, SealedValue, why_closed
from loom.sealing.facts import placeholders_in

__all__ = ["AsRecorded", "Sight", "Sights"]


class AsRecorded:
    """Reads decisions as they are recorded: one with sealed values is marked `sealed`, or `erased`."""

    def __init__(self, erasures: Erasures | None) -> None:
        self._erasures = erasures

    async def page(self, page: list[Recalled]) -> list[Recalled]:
        """Return decisions as they can be judged."""
        return [self._closed(each) if _has_parts(each) else each for each in page]

    def _closed(self, recalled: Recalled) -> Recalled:
        closed, outcome = (why_closed(each or {}, self._erasures) for each in _parts(recalled))
        return recalled if closed is outcome is None else recalled._replace(closed=closed, outcome_closed=outcome)


class Sight(AsRecorded):
    """Reads decisions with their sealed values opened: only those of the subjects that were journaled."""

    def __init__(self, erasures: Erasures, opened: Opened) -> None:
        super().__init__(erasures)
        self.opened = opened

    async def page(self, page: list[Recalled]) -> list[Recalled]:
        """Return decisions as they can be judged."""
        return [await self._opened(each) if _has_parts(each) else each for each in page]

    async def _opened(self, recalled: Recalled) -> Recalled:
        recorded, done = _parts(recalled)
        facts, outcome = await self.opened.facts(recorded or {}), await self.opened.outcome(done or {})
        read = recalled._replace(closed=facts.why, outcome_closed=outcome.why, opened=bool(facts.texts))
        if recorded is not None and facts.facts is not None:
            read = read._replace(facts=facts.facts)
        if done is not None and outcome.facts is not None:
            read = read._replace(more=(outcome.facts, *recalled.more[1:]))
        return read


async def _subjects_of(recalls: Sequence[Recall], erasures: Erasures) -> frozenset[str]:
    """Return the subjects whose sealed values in the judged decisions can still be opened."""
    found: set[str] = set()
    for recall in recalls:
        async for page in recall.pages():
            found.update(
                each.subject
                for recalled in page
                if _has_parts(recalled)
                for part in _parts(recalled)
                for _, each in placeholders_in(part)
                if isinstance(each, SealedValue) and not erasures.is_ended(each.subject, each.generation)
            )
    return frozenset(found)


def _parts(recalled: Recalled) -> tuple[Mapping[str, JsonValue] | None, Mapping[str, JsonValue] | None]:
    """Return the facts, and the outcome if it was read."""
    return recalled.facts, recalled.more[0] if recalled.more else None


def _has_parts(recalled: Recalled) -> bool:
    """Tell whether any judged value is an object or an array: most facts are neither, and hold no sealed value."""
    facts, more = recalled.facts, recalled.more
    return bool(facts and not _COMPOUND.isdisjoint(map(type, facts.values()))) or bool(
        more and more[0] and not _COMPOUND.isdisjoint(map(type, more[0].values()))
    )


_COMPOUND = frozenset({dict, list})


class Sights:
    """How recorded facts may be read: as they are, or opened for a reader if there is a vault."""

    def __init__(self, erasures: Erasures | None = None, openings: Openings | None = None) -> None:
        self.erasures = erasures
        self._openings = openings

    def as_recorded(self) -> AsRecorded:
        """Return a reader of decisions that opens nothing."""
        return AsRecorded(self.erasures)

    async def opening(self, recalls: Sequence[Recall], *, by: By, reason: str, purpose: str) -> Sight:
        """Journal the access, then return a reader of the decisions of selections that opens their sealed values.

        Raises `NotAReaderError`, `AdmissionError` without a reason, `ConfigError` without a vault, and
        `JournalReadOnlyError` if nothing can be journaled: nothing is opened without an entry.
        """
        if self._openings is None or self.erasures is None:
            raise JournalReadOnlyError("a reader cannot open sealed values; expected an open loom: open one")
        who = self._openings.check(by, reason)
        subjects = await _subjects_of(recalls, self.erasures)
        what: Any = [each.selection.plain() for each in recalls]
        opened = await self._openings.begin(subjects, by=who, reason=reason, purpose=purpose, what={"selections": what})
        return Sight(self.erasures, opened)
