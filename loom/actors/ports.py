"""What a turn asks of the actor that runs it, as narrow protocols: the floor that turns, verbs and cells share.

A turn knows its host, and never the cell behind it; a cell knows who owns it, and never the system behind that. So the
imports of this package run one way: ports, steps, turn, verbs, actor, recovery, turn_runner, cell, system.

Who may call what, when:

- A `TurnHost` is one actor while it is awake. Everything here is called on the event loop of the loom, from the task of
  a turn of that host or from the host itself; nothing is safe to call from another thread.
- `write` may be called by the turn that has the lock, and by what is done about a turn from outside under the
  operator's lock; it never waits. What it returns is done when the entry is durable, or failed to be.
- After `invalidate` nothing can be written through this host any more: what it knows of its journal may be wrong. The
  turns it had are resumed by the next host of the same journal.
- `leave` is called once for each turn, at its end, however it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from pydantic import JsonValue

from loom.actors.command import Command
from loom.actors.services import Services
from loom.actors.turn_lock import TurnLock
from loom.errors import LoomError
from loom.identity import By
from loom.journal.entry import Entry
from loom.journal.serialisation import EntryText
from loom.journal.store import Draft, Receipt
from loom.precedents.equivalence import EquivalenceRule

__all__ = ["Decider", "Messenger", "Seen", "StateRef", "TurnHost"]

T = TypeVar("T")


class StateRef:
    """The place where a state lies; a turn that was resumed has one of its own until it has caught up."""

    __slots__ = ("folding", "state")

    def __init__(self, state: Any) -> None:
        self.state = state
        self.folding = False
        """Whether `apply` is at work on it: no verb may be called then (law 7)."""


class Seen(NamedTuple):
    """An entry as `apply` sees it where that is not as it is journaled: opened, and for whom something in it was."""

    entry: Callable[[], Entry]
    subjects: frozenset[str] = frozenset()
    has_erased: bool = False
    """Whether something in it was erased."""


class Decider(Protocol):
    """The code of an actor, as the turn that runs it sees it."""

    actor_type: ClassVar[str]
    equivalence: ClassVar[EquivalenceRule | None]
    _state_ref: StateRef

    async def execute(self, command: Any) -> Any:
        """Handle one command and return its reply."""
        ...

    def context(self) -> Mapping[str, JsonValue]:
        """Return what the actor knows of itself."""
        ...


class Messenger(Protocol):
    """Sends commands to actors. A turn that sends one names itself as `sender`: its requester goes along."""

    async def ask(
        self,
        cls: type[Any],
        key: str,
        command: Command[Any],
        *,
        command_id: str | None = None,
        by: By | None = None,
        timeout_s: float | None = None,
        sender: Any = None,
    ) -> JsonValue:
        """Send a command and return its reply as plain JSON."""
        ...

    async def tell(
        self,
        cls: type[Any],
        key: str,
        command: Command[Any],
        *,
        command_id: str | None = None,
        by: By | None = None,
        sender: Any = None,
    ) -> object:
        """Send a command and return once it is durable."""
        ...


class TurnHost(Protocol):
    """The actor that a turn belongs to, while it is awake."""

    journal: str
    cls: type[Any]
    """The class of the actor."""
    services: Services
    messenger: Messenger
    """Sends commands to other actors."""
    sequence: int
    """The sequence of the last entry that was put in line."""
    lock: TurnLock[Any]
    """Held by the turn that runs."""
    stuck: dict[str, LoomError]
    """Why turns wait for a person, by command id."""
    invalidated_by: LoomError | None
    """Why nothing can be written through this host any more, once that is so."""

    @property
    def closing(self) -> bool:
        """Whether the loom takes nothing more."""
        ...

    @property
    def state_ref(self) -> StateRef:
        """Where the state lies that the turns of this actor share."""
        ...

    def new_actor(self) -> Any:
        """Make an instance of the actor with a state of its own, at its beginning."""
        ...

    def draft(self, entry: Entry | EntryText, *, command_id: str, policy_hash: bytes | None = None) -> Draft:
        """Make an entry ready for the journal; raise `AdmissionError` if it cannot be kept."""
        ...

    @property
    def holds_subjects(self) -> bool:
        """Whether values of subjects may be in the state that the turns of this actor share."""
        ...

    def write(self, ready: Draft, *, seen: Seen | None = None) -> asyncio.Future[Receipt]:
        """Put an entry in line for the journal; `seen` is it as `apply` sees it, where that differs."""
        ...

    async def write_and_wait(self, ready: Draft) -> Receipt:
        """Append an entry that belongs to no running step, and wait until it is durable."""
        ...

    def fold(self, until: int) -> None:
        """Fold the entries up to a sequence into the shared state."""
        ...

    def invalidate(self, error: LoomError) -> None:
        """Give the host up after a failed write."""
        ...

    def refusal(self, error: LoomError) -> LoomError:
        """Return why something was not appended."""
        ...

    def ended(self, command_id: str, receipt: Receipt | None) -> None:
        """Take note that a turn has come to its end for good, which is durable."""
        ...

    async def failed(self, *, counts: bool = True) -> None:
        """Rebuild the actor after a turn of it has failed; whether that `counts` towards too many failures."""
        ...

    def leave(self, turn: Any) -> None:
        """Let a turn go that does not run any more, or never did."""
        ...

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Run something in the context in which the loom was opened; nobody waits for it."""
        ...

    def in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something that is let go when the loom closes."""
        ...
