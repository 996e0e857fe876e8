"""Snapshots of an actor's state that can be trusted: their digest is journaled before they are stored.

A snapshot is stored in the views file, and anyone with write access can change that file. So the journal has the digest
of the bytes: a small entry is written with the next append of the actor. A snapshot with another digest, at another
place, or without a digest is ignored, and the state is folded from the entries. A state that may hold values of
subjects is sealed as a whole for all of them, and its digest is that of the sealed bytes: after an erasure of one of
them it does not open any more.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Mapping
from itertools import starmap
from typing import Any, NamedTuple, TypeAlias

from pydantic_core import from_json, to_json

from loom.actors.actor import Actor
from loom.actors.entries import SnapshotTakenEntry
from loom.actors.services import KeptSnapshot, Services
from loom.actors.state import Fold, Snapshot
from loom.errors import LoomError
from loom.journal.chain import SALT_BYTES
from loom.journal.store import Draft, JournalStore, Receipt, draft
from loom.sealing import is_together, open_for_all, seal_for_all, subjects_together
from loom.telemetry import get_logger

__all__ = ["SnapshotKeeper", "is_journaled", "opened_snapshot"]

_NOTED_WITHIN = 2_000
"""The entry with the digest follows within this many entries: the number of entries queued before it is bounded."""

_MOST_SUBJECTS = 1_000
"""A state with values of more subjects gets no snapshot: all of their keys would have to be read to open it."""

_Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]

_log = get_logger("loom.actors")


class _Taken(NamedTuple):
    """A snapshot whose digest is not journaled yet."""

    body: bytes
    sequence: int
    entry_hash: bytes
    subjects: Mapping[str, int] = {}
    """Subject → generation of the key that it was sealed with; 0 while it is not sealed."""


class SnapshotKeeper:
    """Takes snapshots of one actor, and stores each once its digest is durable: the one before is valid until then."""

    __slots__ = ("_cls", "_journal", "_services", "_taken", "at")

    def __init__(self, services: Services, cls: type[Actor[Any]], journal: str) -> None:
        self.at = 0
        """The sequence of the last snapshot."""
        self._services = services
        self._cls = cls
        self._journal = journal
        self._taken: _Taken | None = None

    def due(self, sequence: int) -> bool:
        """Tell whether enough entries were written since the last snapshot for another one."""
        every = self._services.options.snapshot_every
        return every > 0 and sequence - self.at >= every

    def take(
        self, fold: Fold, sequence: int, entry_hash: bytes, *, unfinished: Mapping[str, int], spawn: _Spawn
    ) -> None:
        """Take a snapshot of the state after an entry; not if it would not come back equal.

        One that may hold values of subjects is sealed first, for all of them.
        """
        if len(fold.subjects) > _MOST_SUBJECTS:
            return
        salt = self._services.sources.new_salt(SALT_BYTES).hex()
        body = fold.snapshot(at=sequence, unfinished=unfinished, salt=salt)
        if body is None:
            return
        self.at, taken = sequence, _Taken(body, sequence, entry_hash, dict.fromkeys(fold.subjects, 0))
        if taken.subjects:
            spawn(self._seal(taken))
        else:
            self._taken = taken

    async def _seal(self, taken: _Taken) -> None:
        subjects = self._services.subjects
        try:
            if subjects is not None:
                sealed = await seal_for_all(subjects.opened_vault(), taken.subjects, taken.body, _about(self._journal))
                self._taken = taken._replace(body=to_json(sealed), subjects=subjects_together(sealed))
        except LoomError as error:  # one of them was erased just now
            _log.warning("snapshot_not_sealed", journal=self._journal, problem=str(error))

    def drop(self) -> None:
        """Discard a snapshot that is not stored yet."""
        self._taken = None

    @property
    def waiting(self) -> bool:
        """Whether a snapshot was taken whose digest is not queued yet."""
        return self._taken is not None

    def riding(self) -> tuple[Draft, ...]:
        """Return the entry that has to be queued before the next entry of the actor."""
        if self._taken is None:
            return ()
        about = _entry_of(self._taken, self._cls.actor_type, self._cls.state_version)
        return (draft(about, limits=self._services.limits, new_salt=self._services.sources.new_salt),)

    def ride(self, written: asyncio.Future[Receipt], *, spawn: _Spawn) -> None:
        """Note that it was queued: the snapshot is stored as soon as its digest is durable."""
        snapshot, self._taken = self._taken, None
        if snapshot is None:
            return

        def keep(done: asyncio.Future[Receipt]) -> None:
            if not done.cancelled() and done.exception() is None:
                spawn(self._keep(snapshot))

        written.add_done_callback(keep)

    async def _keep(self, snapshot: _Taken) -> None:
        subjects, snapshots = self._services.subjects, self._services.snapshots
        if snapshots is None:
            return
        if subjects is not None and any(starmap(subjects.erasures.is_ended, snapshot.subjects.items())):
            return  # a snapshot that was dropped for them is not stored again
        await snapshots.put(
            self._journal,
            actor_type=self._cls.actor_type,
            state_version=self._cls.state_version,
            sequence=snapshot.sequence,
            entry_hash=snapshot.entry_hash,
            body=snapshot.body,
            subjects=snapshot.subjects,
        )


async def opened_snapshot(services: Services, kept: KeptSnapshot) -> tuple[Snapshot, frozenset[str]] | None:
    """Return a snapshot, and the subjects that it was sealed for; None where it does not open, or cannot be read."""
    try:
        sealed = from_json(kept.body)
        if not is_together(sealed):
            return Snapshot.model_validate_json(kept.body), frozenset()
        if services.subjects is None or services.subjects.vault is None:
            return None
        body = await open_for_all(services.subjects.vault, sealed, _about(kept.journal))
        return Snapshot.model_validate_json(body), frozenset(subjects_together(sealed))
    except (ValueError, LoomError):  # a subject was erased, or the bytes are no snapshot
        return None


def _about(journal: str) -> str:
    return f"snapshot of {journal}"


async def is_journaled(store: JournalStore, kept: KeptSnapshot) -> bool:
    """Tell whether the journal has the digest of these bytes as that of the state after that entry."""
    after, until = kept.sequence - 1, kept.sequence + _NOTED_WITHIN
    async for recorded in store.read(kept.journal, after=after, until=until):
        if recorded.sequence == kept.sequence:
            if recorded.entry_hash != kept.entry_hash:
                return False
        elif recorded.kind == SnapshotTakenEntry.kind:
            if recorded.entry == _entry_of(kept, kept.actor_type, kept.state_version):
                return True
            _log.warning("snapshot_differs", journal=kept.journal, sequence=kept.sequence)
            return False
    return False


def _entry_of(snapshot: KeptSnapshot | _Taken, actor_type: str, state_version: int) -> SnapshotTakenEntry:
    """Return the entry with the digest of the snapshot's bytes."""
    digest = hashlib.sha256(snapshot.body).hexdigest()
    return SnapshotTakenEntry(
        actor_type=actor_type, state_version=state_version, sequence=snapshot.sequence, digest=digest
    )
