"""A workspace as it was known when its journal ended at an earlier position: the same code over fewer entries."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from loom.actors.system import ActorSystem
from loom.decisions.approvals import Approval, ApprovalChains, approvals_of
from loom.errors import OutOfRangeError
from loom.journal.entry import Recorded
from loom.journal.read_only import StoreUpTo
from loom.journal.store import JournalStore
from loom.policies.registry import PolicyRegistry
from loom.policies.version import Adoption
from loom.projections import Queries
from loom.replay.state import fold_state

__all__ = ["ActorThen", "AsOf", "InboxThen"]

_LOOKED_AT = 500
_LAST = 5
_LONGEST = 20_000


class InboxThen(NamedTuple):
    """The requests that waited for an answer, oldest first.

    `complete` is False if there were more than 500 requests before: then only the newest 500 were looked at.
    """

    waiting: tuple[Approval, ...]
    complete: bool


class ActorThen(NamedTuple):
    """An actor: its state, and the last entries of its journal, the newest first.

    The state is opened as the actor itself has it. It is None, and `too_long` is set, after more than 20,000 entries.
    """

    state: Any
    entries: tuple[Recorded, ...]
    too_long: bool = False


class AsOf:
    """Reads a workspace up to a position. Nothing that was recorded later can be seen in what it returns."""

    def __init__(self, last: Recorded, *, store: JournalStore, queries: Queries, system: ActorSystem) -> None:
        self._until = StoreUpTo(store, workspace=store.workspace, last=last)
        self._queries = queries
        self._system = system
        self.position = last.position
        self.at: datetime = last.recorded_at
        """The time of the last entry."""

    @classmethod
    async def read(cls, position: int, *, store: JournalStore, queries: Queries, system: ActorSystem) -> AsOf:
        """Return a workspace as of a position; raise `OutOfRangeError` for one that the journal does not have."""
        found = await store.at([position]) if 1 <= position <= store.acknowledged else {}
        if position not in found:
            raise OutOfRangeError(
                f"position [{position}] is not in the journal; expected [1 to {store.acknowledged}]: name one of these"
            )
        return cls(found[position], store=store, queries=queries, system=system)

    async def adopted(self) -> tuple[Adoption, ...]:
        """Return which version of each policy new turns pinned, by the name of the policy."""
        registry = PolicyRegistry(self._until)
        await registry.load()
        found = (registry.adoption(name) for name in registry.names())
        return tuple(each for each in found if each is not None)

    async def inbox(self) -> InboxThen:
        """Return the requests that waited for an answer."""
        asked = await ApprovalChains(self._queries).list(before=self.position + 1, limit=_LOOKED_AT)
        turns = {(each.journal, str(each.command_id)) for each in asked}
        then = approvals_of(await self._until.marks(turns)) if turns else ()
        waiting = sorted((each for each in then if each.pending), key=attrgetter("position"))
        return InboxThen(tuple(waiting), complete=len(asked) < _LOOKED_AT)

    async def approvals(self, journal: str, command_id: str) -> tuple[Approval, ...]:
        """Return the requests of a turn in their state of then."""
        return approvals_of(await self._until.marks([(journal, command_id)]))

    async def actor(self, journal: str) -> ActorThen | None:
        """Return an actor; None if its journal had no entry. Raises for a type that is not registered here."""
        last: deque[Recorded] = deque(maxlen=_LAST)
        async for each in self._until.read(journal):
            if each.sequence > _LONGEST:
                return ActorThen(None, tuple(reversed(last)), too_long=True)
            last.append(each)
        if not last:
            return None
        return ActorThen(await fold_state(self._until, self._system, journal), tuple(reversed(last)))
