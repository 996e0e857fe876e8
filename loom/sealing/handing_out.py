"""Handing out what there is of a subject: every entry that concerns it, opened, once that was journaled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import JsonValue

from loom.errors import AdmissionError, ErasedError, SubjectNotFoundError
from loom.identity import By
from loom.journal.entry import Entry, Recorded
from loom.journal.store import Draft, JournalStore, draft
from loom.sealing.access import AccessJournal, SubjectHandedOutEntry
from loom.sealing.concerning import concerning, sealed_in, with_sealed
from loom.sealing.markers import SealedValue
from loom.sealing.naming import check_subject
from loom.sealing.opening import check_reader
from loom.sealing.subjects import Subjects
from loom.sealing.together import is_share
from loom.sealing.vault import Keys

__all__ = ["HandingOut"]


class HandingOut:
    """Opens what is sealed for a subject, in a person's name."""

    def __init__(
        self, store: JournalStore, subjects: Subjects, *, make_draft: Callable[[Entry], Draft] = draft
    ) -> None:
        self._store = store
        self._subjects = subjects
        self._access = AccessJournal(store, make_draft=make_draft)

    async def export(self, subject: str, *, by: By, reason: str) -> dict[str, JsonValue]:
        """Return every entry that concerns a subject with its values opened, after journaling who is given it and why.

        Values of others stay `sealed`, and what was erased is `erased`. Raises `SubjectNotFoundError` where nothing is
        known of it, `NotAReaderError` for anyone whom `sealing.readers` does not name, `ConfigError` without a vault,
        and `ErasedError` for a value that does not open though it was not erased.
        """
        check_subject(subject)
        if not reason.strip():
            raise AdmissionError("data of a person is handed out for a reason; expected one: say why")
        who, vault = check_reader(by, self._subjects.readers), self._subjects.opened_vault()
        until = self._store.acknowledged
        keys = await vault.known(subject)
        found = [
            self._as_json(recorded, subject, keys) async for recorded in concerning(self._store, subject, until=until)
        ]
        if not found:
            raise SubjectNotFoundError(f"subject [{subject:.80}] is in no journal; expected one that is: name another")
        entry = SubjectHandedOutEntry(**who.written(), subject=subject, entries=len(found), until=until, reason=reason)
        await self._access.write(entry)
        return {"subject": subject, "workspace": self._store.workspace, "until": until, "entries": found}

    def _as_json(self, recorded: Recorded, subject: str, keys: Keys | None) -> JsonValue:
        erasures = self._subjects.erasures

        def opened(sealed: SealedValue) -> JsonValue:
            if erasures.is_ended(sealed.subject, sealed.generation):
                return "erased"
            if sealed.subject != subject or is_share(sealed):
                return "sealed"
            if keys is None:
                raise ErasedError(f"there is no key of [{subject:.80}]; expected the file of keys: restore it")
            return keys.open(sealed)

        said: dict[str, Any] = recorded.as_json()
        if any(sealed_in(recorded)):
            said["body"] = with_sealed(said["body"], opened)
        return said
