"""The journal of erasures and holds, which can be read without a key.

Holds and erasures share one journal, so that a hold is looked for and an erasure begun in one step. A hold wins in
either order: placed first it refuses the erasure, and an erasure that has begun cannot be held any more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from pydantic import Field, JsonValue

from loom.errors import AdmissionError, ErasedError, SubjectHeldError
from loom.identity import By, Identity
from loom.journal.entry import Entry, PersonEntry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalReader, draft
from loom.sealing.markers import is_sealed
from loom.sealing.naming import check_subject

__all__ = [
    "ERASURES_JOURNAL",
    "Begun",
    "Erasure",
    "Erasures",
    "SubjectErasedEntry",
    "SubjectErasureBegunEntry",
    "SubjectHoldLiftedEntry",
    "SubjectHoldPlacedEntry",
]

ERASURES_JOURNAL = "loom/erasures"


class SubjectErasureBegunEntry(PersonEntry):
    """A person has a subject erased: from here on nothing up to this generation opens, and it is carried out."""

    kind: ClassVar[str] = "subject_erasure_begun"
    sources_since: ClassVar[int] = 1

    subject: str
    generation: int = Field(ge=0)
    """The last generation of keys that it ends."""
    by: str
    reason: str


class SubjectErasedEntry(PersonEntry):
    """The key of a subject was destroyed, in a person's name: values sealed for it can no longer be opened."""

    kind: ClassVar[str] = "subject_erased"
    schema_version: ClassVar[int] = 3

    subject: str
    generation: int = Field(ge=0)
    by: str
    reason: str

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body from before there were generations: it ended the only one."""
        return {**body, "generation": 0} if version == 2 else super().upcast(version, body)


class SubjectHoldPlacedEntry(PersonEntry):
    """A person ordered that what there is of a subject is kept, whatever else would have it erased or pruned."""

    kind: ClassVar[str] = "subject_hold_placed"
    sources_since: ClassVar[int] = 1

    subject: str
    by: str
    reason: str


class SubjectHoldLiftedEntry(PersonEntry):
    """A person lifted the hold on a subject."""

    kind: ClassVar[str] = "subject_hold_lifted"
    sources_since: ClassVar[int] = 1

    subject: str
    by: str
    reason: str


Begun: TypeAlias = SubjectErasureBegunEntry | SubjectErasedEntry


@dataclass(frozen=True, slots=True)
class Erasure:
    """The last erasure of a subject: where it begun in the journal of erasures, and whether it was carried out."""

    entry: Begun
    sequence: int
    is_done: bool


class Erasures:
    """Who was erased in a workspace, and who is held."""

    def __init__(self, store: JournalReader, *, make_draft: Callable[[Entry], Draft] = draft) -> None:
        self._journal = SingletonJournal(
            store, ERASURES_JOURNAL, self._fold, make_draft=make_draft, followed=self._was_followed
        )
        self._listeners: list[Callable[[], Awaitable[None]]] = []
        self._erased: dict[str, Erasure] = {}
        self._held: dict[str, SubjectHoldPlacedEntry] = {}
        self.sequence = 0
        """Of the last entry that was read."""

    async def load(self) -> None:
        """Read them."""
        await self._journal.load()

    def on_followed(self, listener: Callable[[], Awaitable[None]]) -> None:
        """Have something called after another process has erased or held a subject, and this one knows it."""
        self._listeners.append(listener)

    async def _was_followed(self) -> None:
        for listener in self._listeners:
            await listener()

    # --- erasing --------------------------------------------------------------------------------

    async def begin(self, subject: str, *, generation: int, by: By, reason: str) -> bool:
        """Journal in a person's name that a subject is erased up to a generation; False where that was begun before.

        Raises `SubjectHeldError` where a hold is on the subject; that is looked at as the entry is appended.
        """
        entry = SubjectErasureBegunEntry(
            **Identity.of(by).written(), subject=subject, generation=generation, reason=reason
        )
        begun = False

        def make() -> Entry | None:
            nonlocal begun
            begun = False
            if self.is_ended(subject, generation):
                return None
            self.check_hold(subject)
            begun = True
            return entry

        await self._journal.append_if_missing(make)
        return begun

    async def finish(self, subject: str) -> None:
        """Journal that an erasure was carried out, in the name of the person who asked for it."""

        def make() -> Entry | None:
            erasure = self._erased[subject]
            if erasure.is_done:
                return None
            asked = erasure.entry
            who = Identity(asked.by, asked.identity_source, asked.via)
            return SubjectErasedEntry(
                **who.written(), subject=subject, generation=asked.generation, reason=asked.reason
            )

        await self._journal.append_if_missing(make)

    def get(self, subject: str) -> Begun | None:
        """Return who erased a subject last and why; None if it was not erased."""
        erasure = self._erased.get(subject)
        return None if erasure is None else erasure.entry

    def ended(self, subject: str) -> int | None:
        """Return the last generation of a subject's keys that an erasure ended; None where none did."""
        erasure = self._erased.get(subject)
        return None if erasure is None else erasure.entry.generation

    def is_ended(self, subject: str, generation: int) -> bool:
        """Tell whether an erasure ended a generation of a subject's keys."""
        ended = self.ended(subject)
        return ended is not None and generation <= ended

    def check(self, subject: str, *, generation: int | None = None) -> None:
        """Raise `ErasedError` for a subject that was erased, or for one of whom a generation was."""
        erasure = self._erased.get(subject)
        if erasure is not None and (generation is None or generation <= erasure.entry.generation):
            asked = erasure.entry
            raise ErasedError(f"subject [{subject:.80}] was erased by [{asked.identity}]: {asked.reason}")

    def is_carried_out(self, subject: str) -> bool:
        """Tell whether the last erasure of a subject was carried out; False where there was none, too."""
        erasure = self._erased.get(subject)
        return erasure is not None and erasure.is_done

    def unfinished(self) -> list[Erasure]:
        """Return the erasures that were begun and not carried out, in their order."""
        return sorted((each for each in self._erased.values() if not each.is_done), key=lambda each: each.sequence)

    def ended_after(self, sequence: int) -> list[tuple[str, int]]:
        """Return subject and generation of what was erased after a sequence of this journal."""
        return [
            (each.entry.subject, each.entry.generation) for each in self._erased.values() if each.sequence > sequence
        ]

    def every(self) -> Iterator[Erasure]:
        """Yield the last erasure of each subject."""
        yield from self._erased.values()

    # --- holding --------------------------------------------------------------------------------

    async def hold(self, subject: str, *, by: By, reason: str, newest: int | None = None) -> bool:
        """Journal that a subject is held, in a person's name; False where it was held already.

        Raises `ErasedError` for one that was erased, unless its `newest` generation of keys was not.
        """
        entry = SubjectHoldPlacedEntry(
            **Identity.of(by).written(), subject=check_subject(subject), reason=_reason(reason)
        )
        placed = False

        def make() -> Entry | None:
            nonlocal placed
            placed = False
            if subject in self._held:
                return None
            self.check(subject, generation=newest)
            placed = True
            return entry

        await self._journal.append_if_missing(make)
        return placed

    async def lift(self, subject: str, *, by: By, reason: str) -> bool:
        """Journal that a hold is lifted, in a person's name; False where there was none."""
        entry = SubjectHoldLiftedEntry(**Identity.of(by).written(), subject=subject, reason=_reason(reason))
        lifted = False

        def make() -> Entry | None:
            nonlocal lifted
            lifted = subject in self._held
            return entry if lifted else None

        await self._journal.append_if_missing(make)
        return lifted

    def held(self) -> Mapping[str, SubjectHoldPlacedEntry]:
        """Return who is held, with who ordered it and why."""
        return self._held

    def check_hold(self, subject: str) -> None:
        """Raise `SubjectHeldError` for a subject that is held."""
        hold = self._held.get(subject)
        if hold is not None:
            raise SubjectHeldError(
                f"subject [{subject:.80}] is held by [{hold.identity}]: {hold.reason}; expected one without a hold: "
                "have the hold lifted first"
            )

    # --- showing --------------------------------------------------------------------------------

    def shown(self, value: JsonValue) -> JsonValue:
        """Return a value with its sealed parts replaced by `sealed` or `erased`: anyone may see it."""
        if is_sealed(value):
            sealed: Any = value
            return "erased" if self.is_ended(sealed["subject"], sealed.get("generation", 0)) else "sealed"
        if isinstance(value, Mapping):
            return {name: self.shown(each) for name, each in value.items()}
        return [self.shown(each) for each in value] if isinstance(value, list) else value

    def _fold(self, recorded: Recorded) -> None:
        self.sequence = recorded.sequence
        match entry := recorded.entry:
            case SubjectErasureBegunEntry():
                self._erased[entry.subject] = Erasure(entry, recorded.sequence, is_done=False)
            case SubjectErasedEntry():
                begun = self._erased.get(entry.subject)
                sequence = recorded.sequence if begun is None else begun.sequence
                self._erased[entry.subject] = Erasure(entry, sequence, is_done=True)
            case SubjectHoldPlacedEntry():
                self._held[entry.subject] = entry
            case SubjectHoldLiftedEntry():
                self._held.pop(entry.subject, None)


def _reason(reason: str) -> str:
    if not reason.strip():
        raise AdmissionError("a hold is placed and lifted for a reason; expected one: say why")
    return reason
