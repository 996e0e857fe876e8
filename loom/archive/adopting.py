"""Retention that a named person adopted: without an adoption, nothing is pruned automatically for its age."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any, ClassVar

from pydantic import Field

from loom.absent import is_empty
from loom.archive.retention import Retention
from loom.errors import AdmissionError, RetentionError
from loom.identity import By, Identity
from loom.journal.entry import Entry, PersonEntry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalReader, draft

__all__ = ["RETENTION_JOURNAL", "Adoption", "RetentionAdoptedEntry", "RetentionWithdrawnEntry"]

RETENTION_JOURNAL = "loom/retention"


class RetentionAdoptedEntry(PersonEntry):
    """A person adopted the retention of the config: it is carried out from then on, as long as it stays the same."""

    kind: ClassVar[str] = "retention_adopted"
    schema_version: ClassVar[int] = 2
    sources_since: ClassVar[int] = 1

    digest: str
    """Of the setting."""
    keep_days: float
    kinds: dict[str, float]
    bodies: dict[str, float] = Field(default_factory=dict, exclude_if=is_empty)
    """The number of days for which single bodies are kept, by kind of entry."""
    by: str
    reason: str

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body of version 1 unchanged: it has no days for single bodies."""
        return body if version == 1 else super().upcast(version, body)


class RetentionWithdrawnEntry(PersonEntry):
    """A person withdrew the adoption: retention is carried out no longer."""

    kind: ClassVar[str] = "retention_withdrawn"
    sources_since: ClassVar[int] = 1

    digest: str
    by: str
    reason: str


class Adoption:
    """Whether the retention that a config sets was adopted by a person, and by whom."""

    def __init__(
        self, store: JournalReader, retention: Retention, *, make_draft: Callable[[Entry], Draft] = draft
    ) -> None:
        self.retention = retention
        self._journal = SingletonJournal(store, RETENTION_JOURNAL, self._fold, make_draft=make_draft)
        self._adopted: RetentionAdoptedEntry | None = None

    async def load(self) -> None:
        """Read the adoption from its journal."""
        await self._journal.load()

    @property
    def digest(self) -> str:
        """The SHA-256 of the setting: each change of the setting changes it."""
        kinds = sorted((name, float(days)) for name, days in self.retention.kinds.items())
        setting: list[object] = ["loom/retention/v1", float(self.retention.keep_days), kinds]
        if self.retention.bodies:
            setting.append(sorted((name, float(days)) for name, days in self.retention.bodies.items()))
        return sha256(json.dumps(setting).encode()).hexdigest()

    @property
    def adopted(self) -> RetentionAdoptedEntry | None:
        """The last adoption that was not withdrawn, whether or not the setting is still the same."""
        return self._adopted

    async def adopt(self, *, by: By, reason: str, digest: str | None = None) -> bool:
        """Journal in a person's name that the present setting is to be carried out; False if it was adopted already.

        `digest` is that of the setting that the person looked at: `RetentionError` if the setting has changed since.
        """
        if digest is not None and not (digest and self.digest.startswith(digest)):
            raise RetentionError(
                f"retention is set to [{self.digest[:12]}], expected [{digest:.12}], which you looked at: look again"
            )
        entry = RetentionAdoptedEntry(
            **Identity.of(by).written(),
            digest=self.digest,
            keep_days=self.retention.keep_days,
            kinds=dict(self.retention.kinds),
            bodies=dict(self.retention.bodies),
            reason=_checked(reason),
        )
        return await self._append(
            lambda: entry if self._adopted is None or self._adopted.digest != entry.digest else None
        )

    async def withdraw(self, *, by: By, reason: str) -> bool:
        """Journal in a person's name that retention is carried out no longer; False if no setting was adopted."""
        who = Identity.of(by).written()

        def make() -> Entry | None:
            adopted = self._adopted
            return (
                None
                if adopted is None
                else RetentionWithdrawnEntry(**who, digest=adopted.digest, reason=_checked(reason))
            )

        return await self._append(make)

    async def check(self) -> RetentionAdoptedEntry:
        """Return the adoption of the setting; raise `RetentionError` if there is none, or the setting changed."""
        await self.load()
        if self._adopted is None:
            raise RetentionError(
                "retention was not adopted; expected a named person who adopts it: look at `loom retention due`, then "
                "`loom retention adopt --by`"
            )
        if self._adopted.digest != self.digest:
            raise RetentionError(
                f"retention is set to [{self.digest[:12]}], and [{self._adopted.identity}] adopted "
                f"[{self._adopted.digest[:12]}]; expected the setting that was adopted: adopt this one, or set it back"
            )
        return self._adopted

    async def _append(self, make: Callable[[], Entry | None]) -> bool:
        appended = False

        def note() -> Entry | None:
            nonlocal appended
            entry = make()
            appended = entry is not None
            return entry

        await self._journal.append_if_missing(note)
        return appended

    def _fold(self, recorded: Recorded) -> None:
        if isinstance(recorded.entry, RetentionAdoptedEntry):
            self._adopted = recorded.entry
        elif isinstance(recorded.entry, RetentionWithdrawnEntry):
            self._adopted = None


def _checked(reason: str) -> str:
    if not reason.strip():
        raise AdmissionError("the reason is empty; expected why retention is adopted or withdrawn: say why")
    return reason
