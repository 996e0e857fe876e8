"""Narrow protocols between a turn and the actor that runs it: turns, verbs and cells share them.

A turn knows its host, but not the cell that implements it. A cell knows its owner, but not the system that implements
it. So the imports of this package run one way: ports, steps, turn, verbs, actor, recovery, turn_runner, cell, system.

Who may call what, when:

- A `TurnHost` is one actor while it is awake. Everything here is called on the event loop of the loom, from the task of
  a turn of that host or from the host itself; nothing is safe to call from another thread.
- `write` may be called by the turn that has the lock, and by interventions from outside under the operator's lock; it
  never waits. Its result is done when the entry is durable, or when the append has failed.
- After `invalidate` nothing can be written through this host: what it knows of its journal may be wrong. The next host
  of the same journal resumes its turns.
- `leave` is called once for each turn, at its end, for every kind of end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from pydantic import JsonValue

from loom.actors.command import Command
from loom.actors.services import Services
from loom.actors.turn_lock import TurnLock
from loom.background import Child
from loom.errors import LoomError
from loom.identity import By
from loom.journal.entry import Entry, Step
from loom.journal.serialisation import EntryText
from loom.journal.store import Draft, Receipt
from loom.precedents.equivalence import EquivalenceRule

__all__ = ["Decider", "MessageWaits", "Messenger", "Seen", "StateRef", "TurnHost"]

T = TypeVar("T")


class StateRef:
    """A reference to a state; a resumed turn has one of its own until it has caught up."""

    __slots__ = ("folding", "state")

    def __init__(self, state: Any) -> None:
        self.state = state
        self.folding = False
        """Whether `apply` runs on it now: no verb may be called then (law 7)."""


class Seen(NamedTuple):
    """An entry as `apply` sees it, where that differs from the journaled one: opened, with the subjects concerned."""

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
        """Return the actor's own context for its decisions."""
        ...


class Messenger(Protocol):
    """Sends commands to actors. A turn that sends one names itself as `sender`: its requester is passed on."""

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
        at: datetime | None = None,
        sender: Any = None,
    ) -> object:
        """Send a command, which may begin only `at` a time, and return once it is durable."""
        ...


class MessageWaits(Protocol):
    """The steps of turns that wait for messages to their actor."""

    def wait(self, command_id: str, step: Step, message_type: str, policy_hash: bytes | None) -> None:
        """Note that a step waits for a message, and give it the oldest one that is kept."""
        ...

    def wait_again(self, command_id: str, step: Step, message_type: str, policy_hash: bytes | None) -> None:
        """Note that a step waits, when the journal is read."""
        ...

    def waits(self, command_id: str, step: Step) -> bool:
        """Tell whether a step waits for a message."""
        ...

    def give_up(self, command_id: str, step: Step) -> None:
        """Note that a step does not wait any more."""
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
    """The sequence of the last entry that was queued."""
    taken_over_at: int
    """The sequence at which its journal was taken over from another process, 0 if it was not."""
    lock: TurnLock[Any]
    """Held by the turn that runs."""
    stuck: dict[str, LoomError]
    """Why turns wait for a person, by command id."""

    @property
    def inbox(self) -> MessageWaits:
        """The messages to this actor, and the steps that wait for one."""
        ...

    invalidated_by: LoomError | None
    """Why nothing can be written through this host any more; None while it is valid."""

    @property
    def closing(self) -> bool:
        """Whether the loom accepts no more commands."""
        ...

    @property
    def state_ref(self) -> StateRef:
        """The reference to the state that the turns of this actor share."""
        ...

    def new_actor(self) -> Any:
        """Make an instance of the actor with its own initial state."""
        ...

    def draft(self, entry: Entry | EntryText, *, command_id: str, policy_hash: bytes | None = None) -> Draft:
        """Make an entry ready for the journal; raise `AdmissionError` if it cannot be kept."""
        ...

    @property
    def holds_subjects(self) -> bool:
        """Whether values of subjects may be in the state that the turns of this actor share."""
        ...

    def write(self, ready: Draft, *, seen: Seen | None = None) -> asyncio.Future[Receipt]:
        """Queue an entry for the journal; `seen` is the entry as `apply` sees it, where that differs."""
        ...

    def write_together(self, drafts: tuple[Draft, ...]) -> asyncio.Future[Receipt]:
        """Queue entries of several turns for the journal: all of them are written, or none."""
        ...

    async def write_and_wait(self, ready: Draft) -> Receipt:
        """Append an entry that belongs to no running step, and wait until it is durable."""
        ...

    def fold(self, until: int) -> None:
        """Fold the entries up to a sequence into the shared state."""
        ...

    def invalidate(self, error: LoomError) -> None:
        """Make the host invalid after a failed write."""
        ...

    def refusal(self, error: LoomError) -> LoomError:
        """Return why something was not appended."""
        ...

    def ended(self, command_id: str, receipt: Receipt | None) -> None:
        """Note that a turn has ended, once its end is durable."""
        ...

    async def failed(self, *, counts: bool = True) -> None:
        """Rebuild the actor after a turn of it has failed; whether that `counts` towards too many failures."""
        ...

    def leave(self, turn: Any) -> None:
        """Remove a turn that does not run any more, or never ran."""
        ...

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Run something in the context in which the loom was opened; no caller waits for it."""
        ...

    def in_background(self, work: Coroutine[Any, Any, None], *, name: str) -> Child[None]:
        """Run something that is cancelled when the loom closes."""
        ...
