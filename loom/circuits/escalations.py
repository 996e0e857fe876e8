"""Escalations: one open for each cause; what comes of the same cause meanwhile attaches to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import JsonValue

from loom.circuits.entries import EscalationClosedEntry, EscalationOpenedEntry, EscalationRepeatedEntry
from loom.errors import StandingError
from loom.identity import By, Identity, derived_id
from loom.journal.entry import Entry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalReader, draft

__all__ = ["ESCALATIONS_JOURNAL", "Escalation", "Escalations"]

ESCALATIONS_JOURNAL = "circuits/escalations"


class Escalation(NamedTuple):
    """Something that a person is to look at."""

    escalation_id: str
    cause: str
    reason: str
    about: Mapping[str, Any]
    opened_at: datetime
    repeats: int = 0
    closed_by: str | None = None
    closed_because: str | None = None
    identity_source: str | None = None
    via: str | None = None

    @property
    def closer(self) -> Identity | None:
        """Who closed it, and where the name comes from; None while it is open."""
        return None if self.closed_by is None else Identity(self.closed_by, self.identity_source, self.via)

    @property
    def open(self) -> bool:
        """Whether it is still to be looked at."""
        return self.closed_by is None

    def as_json(self) -> dict[str, Any]:
        """It as a program reads it."""
        return {**self._asdict(), "about": dict(self.about), "opened_at": self.opened_at.isoformat(), "open": self.open}


class Escalations:
    """All of them, out of one journal."""

    def __init__(self, store: JournalReader, *, make_draft: Callable[[Entry], Draft] = draft) -> None:
        self._journal = SingletonJournal(store, ESCALATIONS_JOURNAL, self._fold, make_draft=make_draft)
        self._all: dict[str, Escalation] = {}
        self._open: dict[str, str] = {}
        self._seen: set[str] = set()
        """The keys of what was raised: raised again by a turn that is resumed, it counts once."""

    async def load(self) -> None:
        """Read them."""
        await self._journal.load()

    def all(self) -> tuple[Escalation, ...]:
        """Return every one, oldest first."""
        return tuple(self._all.values())

    def open(self) -> tuple[Escalation, ...]:
        """Return those that are still to be looked at."""
        return tuple(self._all[each] for each in self._open.values())

    async def raise_(self, cause: str, *, reason: str, about: Mapping[str, JsonValue], key: str) -> str:
        """Open one, or attach to the open one of the same cause; the same `key` counts once. Return its id."""
        escalation_id = derived_id("escalation", cause, key)

        def missing() -> Entry | None:
            if key in self._seen:
                return None
            if cause in self._open:
                return EscalationRepeatedEntry(escalation_id=self._open[cause], key=key, reason=reason)
            return EscalationOpenedEntry(
                escalation_id=escalation_id, key=key, cause=cause, reason=reason, about=dict(about)
            )

        await self._journal.append_if_missing(missing)
        return self._open.get(cause, escalation_id)

    async def close(self, escalation_id: str, *, by: By, reason: str) -> Escalation:
        """Say in a person's name that it was looked at, and return it; the id may be an unambiguous beginning."""
        who = Identity.of(by)
        closed = ""

        def missing() -> Entry | None:
            nonlocal closed
            found = [each for each in self._all.values() if each.escalation_id.startswith(escalation_id)]
            if len(found) != 1 or not found[0].open:
                what = "closed" if len(found) == 1 else "ambiguous" if found else "not known"
                raise StandingError(f"escalation [{escalation_id:.80}] is {what}; expected an open one")
            closed = found[0].escalation_id
            return EscalationClosedEntry(**who.written(), escalation_id=closed, reason=reason)

        await self._journal.append_if_missing(missing)
        return self._all[closed]

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        if isinstance(entry, EscalationOpenedEntry | EscalationRepeatedEntry):
            self._seen.add(entry.key)
        if isinstance(entry, EscalationOpenedEntry):
            self._all[entry.escalation_id] = Escalation(
                entry.escalation_id, entry.cause, entry.reason, entry.about, recorded.recorded_at
            )
            self._open[entry.cause] = entry.escalation_id
        elif isinstance(entry, EscalationRepeatedEntry):
            known = self._all[entry.escalation_id]
            self._all[entry.escalation_id] = known._replace(repeats=known.repeats + 1)
        elif isinstance(entry, EscalationClosedEntry):
            known = self._all[entry.escalation_id]
            source, via = entry.identity_source, entry.via
            self._all[entry.escalation_id] = known._replace(
                closed_by=entry.by, closed_because=entry.reason, identity_source=source, via=via
            )
            self._open.pop(known.cause, None)
