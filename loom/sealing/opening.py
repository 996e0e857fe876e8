"""Opening what is sealed in records, in memory, under the name of a reader; that it is done is journaled first.

A reader is an API key or an account that the config names. A name that is only claimed opens nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping

from pydantic import JsonValue

from loom.errors import AdmissionError, NotAReaderError
from loom.identity import CLAIMED, By, Identity, same_person
from loom.journal.entry import Entry
from loom.journal.store import Draft, JournalStore, draft
from loom.sealing.access import AccessJournal, SealedOpenedEntry
from loom.sealing.facts import OUTCOME_AT, OpenedFacts, opened_facts
from loom.sealing.subjects import Subjects
from loom.sealing.vault import Vault

__all__ = ["Opened", "Openings", "check_reader"]

_MOST_NAMES = 5_000
_MOST_BYTES = 500_000
"""Of names of subjects in one entry."""


def check_reader(by: By, readers: Collection[str]) -> Identity:
    """Return who is to open what is sealed; raise `NotAReaderError` for anyone whom the config does not name."""
    who = Identity.of(by)
    if who.established not in readers:
        claimed = who.established == CLAIMED
        raise NotAReaderError(
            f"[{who}] is to open what is sealed, and "
            + ("that name is only claimed" if claimed else "is none of the readers")
            + f"; expected one of [sealing.readers] [{', '.join(sorted(readers)) or 'none is named'}]: have the person "
            "who answers for the data add the account or the API key there"
        )
    return who


class Opened:
    """Opens what is sealed for the subjects that were journaled, and for no others."""

    def __init__(self, vault: Vault, subjects: Collection[str]) -> None:
        self.vault = vault
        self.subjects = frozenset(subjects)

    async def facts(self, facts: Mapping[str, JsonValue]) -> OpenedFacts:
        """Return the facts of a decision opened, or why they are not."""
        return await opened_facts(facts, self.vault, subjects_of=self.subjects)

    async def outcome(self, outcome: Mapping[str, JsonValue]) -> OpenedFacts:
        """Return the outcome of a decision opened, or why it is not."""
        return await opened_facts(outcome, self.vault, subjects_of=self.subjects, at=OUTCOME_AT)


class Openings:
    """Opens what is sealed for those whom the config names as readers, and journals it before."""

    def __init__(
        self, store: JournalStore, subjects: Subjects, *, make_draft: Callable[[Entry], Draft] = draft
    ) -> None:
        self._store = store
        self._subjects = subjects
        self._access = AccessJournal(store, make_draft=make_draft)

    def check(self, by: By, reason: str) -> Identity:
        """Return who is to open; raise `NotAReaderError`, `AdmissionError` without a reason, `ConfigError` locked."""
        if not reason.strip():
            raise AdmissionError("what is sealed is opened for a reason; expected one: say why")
        who = check_reader(by, self._subjects.readers)
        self._subjects.opened_vault()
        return who

    async def begin(
        self, subjects: Collection[str], *, by: By, reason: str, purpose: str, what: Mapping[str, JsonValue]
    ) -> Opened:
        """Journal that what is sealed for subjects is opened by a reader, and return what opens it.

        Of those who were erased nothing opens, and they are not named; where no other is left, nothing is journaled.
        Raises `NotAReaderError`, `AdmissionError` without a reason, `ConfigError` without a vault.
        """
        return await self._begin(self.check(by, reason), subjects, reason=reason, purpose=purpose, what=what)

    async def show(
        self, subjects: Collection[str], *, to: By, asked_of: str, reason: str, what: Mapping[str, JsonValue]
    ) -> Opened:
        """Journal that what is sealed for subjects is shown to a person who was asked, and return what opens it.

        `asked_of` is the name that the request has. Raises `NotAReaderError` for any other person who is no reader, and
        for a name that is only claimed; `ConfigError` without a vault.
        """
        who = Identity.of(to)
        if who.established == CLAIMED or not same_person(who, asked_of):
            who = check_reader(who, self._subjects.readers)
        return await self._begin(who, subjects, reason=reason, purpose="approval", what=what)

    async def _begin(
        self, who: Identity, subjects: Collection[str], *, reason: str, purpose: str, what: Mapping[str, JsonValue]
    ) -> Opened:
        vault, named = self._subjects.opened_vault(), sorted(subjects)
        until = self._store.acknowledged
        for names in _in_parts(named):
            entry = SealedOpenedEntry(
                **who.written(), subjects=tuple(names), purpose=purpose, what=dict(what), until=until, reason=reason
            )
            await self._access.write(entry)
        return Opened(vault, named)


def _in_parts(names: list[str]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for name in names:
        size += len(json.dumps(name))
        if part and (len(part) == _MOST_NAMES or size > _MOST_BYTES):
            yield part
            part, size = [], len(json.dumps(name))
        part.append(name)
    if part:
        yield part
