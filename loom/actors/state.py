"""The state of an actor: the fold of its journal, and snapshots of it that may be lost at any time."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, JsonValue, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from loom.actors.actor import Actor, folds, state_type
from loom.actors.entries import BodiesClosedEntry, SnapshotTakenEntry, StateCheckpointEntry
from loom.actors.ports import Seen, StateRef
from loom.errors import ActorPrunedError, ActorStoppedError
from loom.journal.entry import Entry, UnknownEntry
from loom.sealing.wording import without_words

__all__ = ["Fold", "Snapshot"]

_OF_STATE = (BodiesClosedEntry, SnapshotTakenEntry, StateCheckpointEntry)
"""The fields next to the state."""


class Snapshot(BaseModel):
    """A state as it was stored, and the turns without an end at that time: command id → sequence of its first entry."""

    state: JsonValue = None
    unfinished: dict[str, int] = {}
    salt: str = ""
    """The salt, without which a state could be guessed from its journaled digest."""


class Fold:
    """Folds a journal, entry by entry and in order, into the state that an actor holds."""

    __slots__ = ("_pending", "actor", "has_erased", "sequence", "subjects", "wanted")

    def __init__(self, actor: Actor[Any]) -> None:
        self.actor = actor
        self.wanted = folds(type(actor))
        """Whether the actor folds anything at all."""
        self.sequence = 0
        """The sequence of the last entry that was folded."""
        self.subjects: set[str] = set()
        """The subjects whose values were opened for the state, which may hold them."""
        self.has_erased = False
        """Whether it was given entries in which something was erased."""
        self._pending: deque[tuple[int, Callable[[], Entry]]] | None = deque() if self.wanted else None

    def feed(self, sequence: int, seen: Seen) -> None:
        """Queue an entry as `apply` sees it; it is decoded only when it is folded."""
        if self._pending is not None:
            self._pending.append((sequence, seen.entry))
            if seen.subjects:
                self.subjects |= seen.subjects
            self.has_erased = self.has_erased or seen.has_erased

    def until(self, sequence: int, *, gaps: bool = False) -> None:
        """Fold the queued entries up to a sequence; raise `ActorStoppedError` where `apply` raises.

        Raises `ActorPrunedError` where the beginning is gone, unless `gaps` says that it is folded as erased.
        """
        pending = self._pending
        while pending and pending[0][0] <= sequence:
            at, entry = pending.popleft()
            held = self.actor._state_ref
            held.folding = True
            try:
                folded = entry()
                # A gap is for `apply` to judge; without its beginning a state would be another actor's.
                if at == 1 and not gaps and isinstance(folded, UnknownEntry) and folded.problem == "erased":
                    raise ActorPrunedError(
                        f"[{type(self.actor).__name__}] has lost the beginning of its journal, which was pruned; "
                        "expected all of it, for its state: read it in the archive, as it accepts no more commands"
                    )
                if not isinstance(folded, _OF_STATE):
                    self.actor.apply(folded)
            except ActorStoppedError:
                raise
            except Exception as error:
                cause = type(error).__name__ if self.subjects else repr(error)  # a message may repeat values
                raise ActorStoppedError(
                    f"[{type(self.actor).__name__}.apply] raised [{cause}] on sequence [{at}]; expected it never to "
                    "fail, as the entry is a fact: correct apply, then open the loom again"
                ) from (without_words(error) if self.subjects else error)
            finally:
                held.folding = False
            self.sequence = at

    def start(self, snapshot: Snapshot, *, at: int, subjects: Collection[str] = ()) -> bool:
        """Begin at a snapshot, sealed for some subjects, if its state can still be read; return whether it could."""
        if self.wanted:
            try:
                state = _adapter_of(self.actor).validate_json(json.dumps(snapshot.state))
            except (ValidationError, PydanticSchemaGenerationError):
                return False
            self.actor._state_ref = StateRef(state)
        self.subjects = set(subjects)
        self.sequence = at
        return True

    def snapshot(self, *, at: int, unfinished: Mapping[str, int], salt: str = "") -> bytes | None:
        """Return the state after an entry as a snapshot, or None if it would not come back equal."""
        state: JsonValue = None
        if self.wanted:
            if self.sequence != at:
                return None
            written = self.written()
            if written is None:
                return None
            state = json.loads(written)
        return Snapshot(state=state, unfinished=dict(unfinished), salt=salt).model_dump_json().encode()

    def written(self) -> bytes | None:
        """Return the state as JSON, or None if it would not come back equal."""
        try:
            adapter = _adapter_of(self.actor)
            written = adapter.dump_json(self.actor.state)
            return written if adapter.validate_json(written) == self.actor.state else None
        except (ValueError, TypeError, PydanticSchemaGenerationError):
            return None

    def reset(self) -> None:
        """Return to the initial state, and discard what was folded before."""
        if self._pending is not None:
            self._pending.clear()
            self.subjects.clear()
            self.actor._state_ref = StateRef(self.actor.initial_state())
        self.sequence = 0

    def restart(self, state: JsonValue, *, at: int, subjects: Collection[str] = ()) -> bool:
        """Begin at a written state, and discard what was folded before; return whether it can be read."""
        if self._pending is not None:
            self._pending.clear()
        return self.start(Snapshot(state=state), at=at, subjects=subjects)


def _adapter_of(actor: Actor[Any]) -> TypeAdapter[Any]:
    return _adapter(state_type(type(actor)) or Any)


@lru_cache(maxsize=256)
def _adapter(state: Any) -> TypeAdapter[Any]:
    return TypeAdapter(state)
