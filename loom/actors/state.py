"""The state of an actor: the fold of its journal, and snapshots of it that may be lost at any time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, JsonValue, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from loom.actors.actor import Actor, Held, folds, state_type
from loom.errors import ActorStoppedError
from loom.journal.entry import Entry

__all__ = ["Fold", "Snapshot"]


class Snapshot(BaseModel):
    """A state as it was kept, and the turns that were under way: command id → sequence of its first entry."""

    state: JsonValue = None
    unfinished: dict[str, int] = {}


class Fold:
    """Folds a journal, entry by entry and in order, into the state that an actor holds."""

    def __init__(self, actor: Actor[Any], *, sequence: int = 0) -> None:
        self.actor = actor
        self.sequence = sequence
        self.wanted = folds(type(actor))
        self._pending: deque[tuple[int, Callable[[], Entry]]] = deque()

    def feed(self, sequence: int, entry: Callable[[], Entry]) -> None:
        """Put an entry in line; it is decoded only when it is folded."""
        if self.wanted:
            self._pending.append((sequence, entry))
        else:
            self.sequence = sequence

    def until(self, sequence: int) -> None:
        """Fold what is in line up to a sequence; raise `ActorStoppedError` where `apply` raises."""
        pending = self._pending
        while pending and pending[0][0] <= sequence:
            at, entry = pending.popleft()
            try:
                self.actor.apply(entry())
            except Exception as error:
                raise ActorStoppedError(
                    f"[{type(self.actor).__name__}.apply] raised [{error!r}] on sequence [{at}]; expected it never to fail, "
                    "as the entry is a fact: mend apply, then open the loom again"
                ) from error
            self.sequence = at

    def start(self, snapshot: Snapshot | None, sequence: int) -> bool:
        """Begin at a snapshot if its state can still be read; return whether it was."""
        cls = type(self.actor)
        if snapshot is not None and self.wanted:
            try:
                self.actor._held = Held(_adapter(cls).validate_python(snapshot.state))
            except (ValidationError, PydanticSchemaGenerationError):
                return False
        self.sequence = 0 if snapshot is None else sequence
        return snapshot is not None

    def snapshot(self, unfinished: dict[str, int]) -> bytes | None:
        """Return the state as a snapshot, or None if it is of a type that cannot be written."""
        try:
            adapter = _adapter(type(self.actor))
            state = adapter.dump_python(self.actor.state, mode="json") if self.wanted else None
            if self.wanted:
                adapter.validate_python(state)
            return Snapshot(state=state, unfinished=unfinished).model_dump_json().encode()
        except (ValueError, TypeError, PydanticSchemaGenerationError):
            return None


def _adapter(cls: type[Actor[Any]]) -> TypeAdapter[Any]:
    return TypeAdapter(state_type(cls) or Any)
