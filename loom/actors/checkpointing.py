"""Checkpoints of an actor's state, made before bodies of its journal are pruned."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from pydantic import JsonValue

from loom.actors.actor import folds
from loom.actors.cell import Cell
from loom.actors.checkpoints import about_state, refolded
from loom.actors.entries import BodiesClosedEntry, StateCheckpointEntry
from loom.actors.forgetting import let_go_of_state
from loom.actors.state import Fold
from loom.actors.system import ActorSystem
from loom.archive.closed import closed_body
from loom.errors import LoomError
from loom.identity import parse_journal_name
from loom.journal.entry import Entry
from loom.journal.ranges import BodyRange
from loom.journal.store import Draft, draft
from loom.sealing import Subjects, seal_for_all

__all__ = ["Checkpoints"]

_OF_KEY = 32
"""The most bytes that the sequence of a body takes, in addition to its sealed form."""


class Checkpoints:
    """Journals the states of actors, sealed for the subjects of their journals."""

    def __init__(self, actors: ActorSystem, subjects: Subjects) -> None:
        self._actors = actors
        self._subjects = subjects

    async def make(
        self, journal: str, *, pruned: Sequence[BodyRange], subjects: Collection[str], keeps: bool = False
    ) -> str | None:
        """Journal the state of an actor, sealed for some subjects; return why that cannot be done, None once it is.

        Of a journal that concerns several subjects it `keeps` the bodies as well, each sealed for its own subjects:
        with them the actor continues when one of the others is erased.

        `pruned` are the bodies that are going to be pruned. Those that concern an erased subject count as erased, so
        that the state has nothing of it. An actor that folds no state needs no checkpoint. An actor that is at work, or
        whose code is not here, gets none.
        """
        actor_type = parse_journal_name(journal).actor_type
        if not self._actors.knows(actor_type):
            return "its state cannot be kept: there is no code of its actor here"
        cls = self._actors.classes.get(actor_type)
        try:
            cell = await self._actors.cell(journal)
        except LoomError as error:
            return f"its actor does not start: {error!s:.300}"
        if cell.open or cell.stuck:
            return "with a turn that has no end"
        if not folds(cls):
            return None
        gone = [each for each in pruned if self._is_erased(each)]
        living = {name for name in subjects if await self._lives(name)}
        made = self._append_checkpoint(cell, pruned, gone, living, keeps=keeps and len(set(subjects)) > 1)
        why = await cell.keep_awake_for(made)
        if why is None:
            if gone:
                await let_go_of_state(self._actors, cell)
            if cell.services.snapshots is not None:
                await cell.services.snapshots.delete(journal)  # it may hold in clear what the checkpoint has sealed
        return why

    async def _append_checkpoint(
        self,
        cell: Cell,
        pruned: Sequence[BodyRange],
        gone: Sequence[BodyRange],
        subjects: Collection[str],
        *,
        keeps: bool,
    ) -> str | None:
        async with cell.operator_lock:
            sequence = cell.sequence
            fold = Fold(cell.new_actor())
            try:
                await refolded(cell.services, fold, cell.journal, until=sequence, gone=gone)
                state = fold.written()
                if state is None:
                    return f"its state cannot be kept: as JSON it does not come back equal [{cell.cls.__name__}]"
                plain = json.loads(state)
                sealed = None
                if subjects:
                    sealed = await seal_for_all(
                        self._subjects.opened_vault(), subjects, state, about_state(cell.journal)
                    )
                entry = StateCheckpointEntry(
                    actor_type=cell.cls.actor_type,
                    state_version=cell.cls.state_version,
                    state=plain if sealed is None else None,
                    sealed=sealed,
                    pruned=(*await self._before(cell, sequence, gone), *pruned),
                )
                ready = self._draft(cell, entry)
                kept = await self._closed(cell, [each for each in pruned if each not in gone]) if keeps else []
                if cell.open or cell.sequence != sequence or cell.invalidated_by is not None:
                    return "its actor is at work"
                cell.state.subjects |= set(subjects)  # what is in memory is discarded once one of them is erased
                cell.drop_snapshot()
                await cell.write_and_wait(ready)
                for each in kept:
                    await cell.write_and_wait(each)
            except LoomError as error:
                return f"its state cannot be kept: {error!s:.300}"
        return None

    async def _before(self, cell: Cell, until: int, gone: Sequence[BodyRange]) -> list[BodyRange]:
        """Return the pruned bodies that earlier checkpoints name, where these checkpoints are going to be pruned."""
        if not gone:
            return []
        found: list[BodyRange] = []
        async for recorded in cell.services.store.read(cell.journal, until=until):
            if recorded.kind == StateCheckpointEntry.kind and isinstance(entry := recorded.entry, StateCheckpointEntry):
                found.extend(entry.pruned)
        return found

    async def _closed(self, cell: Cell, pruned: Sequence[BodyRange]) -> list[Draft]:
        """Return entries with the bodies of some ranges, each sealed for its subjects; none is larger than may be."""
        vault, drafts = self._subjects.opened_vault(), list[Draft]()
        bodies: dict[int, JsonValue] = {}
        size = 0
        for each in pruned:
            if not each.subjects:
                continue
            async for recorded in cell.services.store.read(cell.journal, after=each.first - 1, until=each.last):
                if recorded.body is None:
                    continue
                sealed = await closed_body(recorded, vault=vault, subjects=each.subjects)
                long = len(json.dumps(sealed)) + _OF_KEY
                if bodies and size + long > cell.services.limits.max_bytes // 2:
                    drafts.append(self._draft(cell, BodiesClosedEntry(bodies=bodies)))
                    bodies, size = {}, 0
                bodies[recorded.sequence] = sealed
                size += long
        return [*drafts, self._draft(cell, BodiesClosedEntry(bodies=bodies))] if bodies else drafts

    def _draft(self, cell: Cell, entry: Entry) -> Draft:
        return draft(entry, limits=cell.services.limits, new_salt=cell.services.sources.new_salt)

    def _is_erased(self, bodies: BodyRange) -> bool:
        ended = self._subjects.erasures.is_ended
        return any(ended(name, generation) for name, generation in bodies.subjects.items())

    async def _lives(self, subject: str) -> bool:
        """Tell whether a subject was not erased, or has keys of a later generation."""
        if self._subjects.erasures.get(subject) is None:
            return True
        return self._subjects.vault is not None and await self._subjects.vault.knows(subject)
