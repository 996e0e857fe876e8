"""Standings: who may act. Automation may suspend a subject at once; only a named person may reinstate it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import ClassVar, Literal, NamedTuple, TypeAlias

from loom.errors import AdmissionError, SelfReinstatementError, StandingError
from loom.identity import By, Identity, check_person, is_self
from loom.journal.entry import Entry, PersonEntry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalReader, draft

__all__ = ["STANDINGS_JOURNAL", "Standing", "StandingChangedEntry", "StandingName", "Standings"]

STANDINGS_JOURNAL = "loom/standings"

StandingName: TypeAlias = Literal["ACTIVE", "SUSPENDED", "RETIRED"]


class StandingChangedEntry(PersonEntry):
    """The standing of a subject changed: it may no longer act, or may act again."""

    kind: ClassVar[str] = "standing_changed"
    schema_version: ClassVar[int] = 2

    subject: str
    standing: StandingName
    by: str
    trigger: Literal["person", "system"]
    reason: str
    cause: str | None = None
    """The decision that led to it, if there is one."""


class Standing(NamedTuple):
    """The standing of a subject, since when, by whom and why. A subject without an entry is active."""

    subject: str
    standing: StandingName = "ACTIVE"
    by: str | None = None
    trigger: str | None = None
    reason: str | None = None
    cause: str | None = None
    since: datetime | None = None
    position: int = 0
    identity_source: str | None = None
    via: str | None = None

    @property
    def identity(self) -> Identity | None:
        """Who changed it last, and the source of that name; None if it was never changed."""
        return None if self.by is None else Identity(self.by, self.identity_source, self.via)


class Standings:
    """Who may act, from one journal. Queries are answered from memory. A suspension has effect before it is written.

    As with a kill switch, a suspension that cannot be written still has effect in this process; the error is raised.
    """

    def __init__(self, store: JournalReader, *, make_draft: Callable[[Entry], Draft] = draft) -> None:
        self._journal = SingletonJournal(store, STANDINGS_JOURNAL, self._fold, make_draft=make_draft, controls=True)
        self._standings: dict[str, Standing] = {}
        self._held: set[str] = set()

    async def load(self) -> None:
        """Read the standings from the journal."""
        await self._journal.load()

    def of(self, subject: str) -> Standing:
        """Return the standing of a subject."""
        standing = self._standings.get(subject, Standing(subject))
        if subject in self._held and standing.standing == "ACTIVE":
            return standing._replace(standing="SUSPENDED", reason="being suspended")
        return standing

    def all(self) -> tuple[Standing, ...]:
        """Return the standings of all subjects that have an entry, by name."""
        return tuple(self.of(subject) for subject in sorted(self._standings))

    async def suspend(
        self,
        subject: str,
        *,
        by: By,
        reason: str,
        trigger: Literal["person", "system"] = "person",
        cause: str | None = None,
    ) -> Standing:
        """Suspend a subject; automation may do this too. A subject that is not active is left as it is."""
        entry = self._entry(subject, "SUSPENDED", by=by, trigger=trigger, reason=reason, cause=cause)

        def missing() -> Entry | None:
            self._held.add(subject)
            known = self._standings.get(subject)
            return entry if known is None or known.standing == "ACTIVE" else None

        self._held.add(subject)
        await self._journal.append_if_missing(missing)
        return self.of(subject)

    async def reinstate(self, subject: str, *, by: By, reason: str) -> Standing:
        """Reinstate a suspended subject in the name of a person; raise `StandingError` if it is not suspended.

        Raises `SelfReinstatementError` if the name is the subject's own.
        """
        if is_self(by, subject):
            raise SelfReinstatementError(
                f"[{subject}] would reinstate itself, in the name [{by}]; expected another person: ask one"
            )
        entry = self._entry(subject, "ACTIVE", by=by, trigger="person", reason=reason)

        def missing() -> Entry | None:
            if self.of(subject).standing != "SUSPENDED":
                raise StandingError(
                    f"[{subject}] is [{self.of(subject).standing}]; expected [SUSPENDED]: look at its standing"
                )
            return entry

        await self._journal.append_if_missing(missing)
        return self.of(subject)

    async def retire(self, subject: str, *, by: By, reason: str) -> Standing:
        """Retire a subject in the name of a person. A retired subject cannot be reinstated."""
        entry = self._entry(subject, "RETIRED", by=by, trigger="person", reason=reason)
        await self._journal.append_if_missing(lambda: None if self.of(subject).standing == "RETIRED" else entry)
        return self.of(subject)

    def _entry(
        self,
        subject: str,
        standing: StandingName,
        *,
        by: By,
        trigger: Literal["person", "system"],
        reason: str,
        cause: str | None = None,
    ) -> StandingChangedEntry:
        check_person(subject, what="subject")
        if not reason.strip():
            raise AdmissionError("reason is blank; expected a text: give the reason")
        who = Identity.of_system(by) if trigger == "system" and isinstance(by, str) else Identity.of(by)
        return StandingChangedEntry(
            **who.written(), subject=subject, standing=standing, trigger=trigger, reason=reason, cause=cause
        )

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        if isinstance(entry, StandingChangedEntry):
            self._held.discard(entry.subject)
            self._standings[entry.subject] = Standing(
                entry.subject,
                entry.standing,
                entry.by,
                entry.trigger,
                entry.reason,
                entry.cause,
                recorded.recorded_at,
                recorded.position,
                entry.identity_source,
                entry.via,
            )
