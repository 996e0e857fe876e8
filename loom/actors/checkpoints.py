"""Folding a journal with pruned bodies: an actor starts from a journaled checkpoint of its state.

A snapshot is a cache. A checkpoint is the record, because the bodies before it may be gone: it is made before they are
pruned. A checkpoint that was sealed for a subject who was erased since does not open. The state is then folded from the
remaining entries: bodies that were pruned for that subject count as erased, and bodies of other subjects are read from
their sealed copies in the journal. Where there are no copies, the state is unknown, and the actor accepts no more
commands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pydantic import JsonValue

from loom.actors.entries import BodiesClosedEntry, StateCheckpointEntry
from loom.actors.ports import Seen
from loom.actors.protected_entries import seen_by_apply
from loom.actors.services import Services
from loom.actors.state import Fold
from loom.archive.closed import opened, with_closed
from loom.errors import ActorPrunedError, ErasedError
from loom.journal.entry import Entry, Recorded, UnknownEntry
from loom.journal.ranges import BodyRange
from loom.sealing import open_for_all, subjects_together

__all__ = ["Refold", "about_state", "refolded"]

_SUPERSEDED = frozenset({BodiesClosedEntry.kind, StateCheckpointEntry.kind})
"""The kinds that are pruned once a later checkpoint has taken their place."""


def about_state(journal: str) -> str:
    """Return the name under which the state in a checkpoint of this journal is sealed."""
    return f"state of {journal}"


class Refold:
    """Folds entries as they are read, and starts from checkpoints where bodies are gone. One for each pass.

    Give it all entries in order, from the beginning or from a snapshot on, and then call `check`. `gone` are ranges
    whose bodies count as pruned although they are still there.
    """

    def __init__(
        self,
        services: Services,
        fold: Fold,
        journal: str,
        *,
        gone: Sequence[BodyRange] = (),
        closed: Mapping[int, JsonValue] | None = None,
    ) -> None:
        self._services = services
        self._fold = fold
        self._journal = journal
        self._gone = gone
        self._folds_erased = closed is not None
        """Whether bodies that were pruned for erased subjects are folded as erased: on the second pass."""
        self._closed: dict[int, JsonValue] = dict(closed or {})
        """By sequence, the bodies that are kept sealed in the journal."""
        self._missing: list[int] = []
        """The sequences without a body that no checkpoint covers yet."""
        self._checkpoints = 0
        self._ranges: list[BodyRange] = []
        self._why: str | None = None
        """Why the last checkpoint could not be used."""
        self._has_unusable = False
        """Whether a checkpoint could not be used: then no earlier snapshot may be used either."""

    async def take(self, recorded: Recorded, entry: Callable[[], Entry] | None = None) -> None:
        """Fold an entry, decoded by `entry` where that is given."""
        if not self._fold.wanted:
            return
        sequence, whose = recorded.sequence, frozenset[str]()
        if recorded.kind == StateCheckpointEntry.kind and await self._starts(recorded):
            return
        if recorded.kind == BodiesClosedEntry.kind and isinstance(said := recorded.entry, BodiesClosedEntry):
            self._closed.update(said.bodies)
        if recorded.kind in _SUPERSEDED and not recorded.has_body:
            return
        if not recorded.has_body:
            self._missing.append(sequence)
            if self._folds_erased and sequence in self._closed:
                recorded, whose = await self._reopened(recorded)
        if self._missing and not self._folds_erased:
            return  # entries before the next checkpoint are not needed, and could be misread without the bodies
        gone = any(sequence in each for each in self._gone)
        if gone or entry is not None:
            seen = Seen(partial(_erased, recorded) if gone or entry is None else entry)
        else:
            seen = await seen_by_apply(self._services, recorded)
        self._fold.feed(sequence, seen._replace(subjects=seen.subjects | whose) if whose else seen)
        self._fold.until(sequence, gaps=self._folds_erased or gone)

    @property
    def is_whole(self) -> bool:
        """Whether the state is that of all entries so far: no missing body that a checkpoint would have to cover."""
        return self._folds_erased or not self._missing

    def check(self) -> bool:
        """Return whether the state is the one of the journal; False asks for another pass with `again`.

        Raises `ActorPrunedError` where bodies are gone that no checkpoint covers.
        """
        if not self._missing:
            return self._folds_erased or not self._has_unusable
        if not self._checkpoints and self._missing[0] != 1:
            return self._folds_erased  # a gap is for `apply` to judge; without its beginning a state would be another's
        subjects = self._services.subjects
        for sequence in self._missing:
            ranges = [each for each in self._ranges if sequence in each]
            if sequence not in self._closed and (
                subjects is None
                or not any(
                    subjects.erasures.is_ended(name, generation)
                    for each in ranges
                    for name, generation in each.subjects.items()
                )
            ):
                raise self._pruned(sequence)
        return self._folds_erased

    def again(self) -> Refold:
        """Return the second pass, from the initial state: bodies pruned for erased subjects count as erased."""
        return Refold(self._services, self._fold, self._journal, gone=self._gone, closed=self._closed)

    async def _reopened(self, recorded: Recorded) -> tuple[Recorded, frozenset[str]]:
        """Return a pruned entry with its sealed copy, opened, and the subjects; without a body where it is erased."""
        subjects = self._services.subjects
        if subjects is None or subjects.vault is None:
            self._why = "it is sealed, and there is no vault to open it with"
            raise self._pruned(recorded.sequence)
        try:
            sealed = self._closed[recorded.sequence]
            found = await opened(with_closed(recorded, sealed), subjects.vault)
            return found, frozenset(subjects_together(sealed)) if found.has_body else frozenset()
        except ErasedError as error:
            self._why = str(error)
            raise self._pruned(recorded.sequence) from error

    async def _starts(self, recorded: Recorded) -> bool:
        """Start from a checkpoint, if it opens and can be read; return whether that was so."""
        entry = recorded.entry
        if not isinstance(entry, StateCheckpointEntry):
            return False
        self._checkpoints += 1
        self._ranges.extend(entry.pruned)
        if self._gone and recorded.sequence > self._gone[0].first:
            return False  # its state has what is to count as pruned
        try:
            state = self._upcast(entry, await self._opened(entry))
        except ErasedError as error:
            self._why, self._has_unusable = str(error), True
            return False
        except Exception as error:  # a step between versions is user code
            self._why = (
                f"it has state version [{entry.state_version}], and the class has "
                f"[{type(self._fold.actor).state_version}] [{error!s:.200}]"
            )
            return False
        if not self._fold.restart(state, at=recorded.sequence, subjects=subjects_together(entry.sealed)):
            self._why = "its state cannot be read by the class"
            return False
        self._missing.clear()
        self._why = None
        return True

    async def _opened(self, entry: StateCheckpointEntry) -> JsonValue:
        if entry.sealed is None:
            return entry.state
        subjects = self._services.subjects
        if subjects is None or subjects.vault is None:
            raise ErasedError("it is sealed, and there is no vault to open it with")
        state: JsonValue = json.loads(await open_for_all(subjects.vault, entry.sealed, about_state(self._journal)))
        return state

    def _upcast(self, entry: StateCheckpointEntry, state: JsonValue) -> JsonValue:
        cls = type(self._fold.actor)
        if entry.state_version > cls.state_version:
            raise ValueError("it is newer than the class")
        for version in range(entry.state_version, cls.state_version):
            state = cls.upcast_state(version, state)
        return state

    def _pruned(self, sequence: int) -> ActorPrunedError:
        why = "no checkpoint follows" if self._why is None else f"its checkpoint is of no use: {self._why}"
        what = "the beginning of its journal" if sequence == 1 else f"the body of sequence [{sequence}]"
        return ActorPrunedError(
            f"[{self._journal}] has lost {what}, which was pruned, and {why}; expected all "
            "of its journal, or a checkpoint: read it in the archive, as it accepts no more commands"
        )


async def refolded(
    services: Services, fold: Fold, journal: str, *, until: int | None = None, gone: Sequence[BodyRange] = ()
) -> None:
    """Fold a journal from its beginning, all of it or up to a sequence; see `Refold.check` for what is raised."""
    refold = Refold(services, fold, journal, gone=gone)
    while True:
        async for recorded in services.store.read(journal, until=until):
            await refold.take(recorded)
        if refold.check():
            return
        fold.reset()
        refold = refold.again()


def _erased(recorded: Recorded) -> Entry:
    return UnknownEntry(of_kind=recorded.kind, of_schema=recorded.schema_version, problem="erased")
