"""One actor handling one command: recorded live, resumed after a crash, or replayed, all by the same mechanism.

Everything that a turn does beyond computing is a *step*. A step that the journal already holds is fed back; the next
one runs for real and is journaled, or, in a replay, is not run at all.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import JsonValue

from loom.actors.script import Phase, Script
from loom.errors import (
    AmbiguousStepError,
    AppendUnknownError,
    DivergenceError,
    LoomError,
    NoTurnError,
    NotReplayableError,
    TurnInterruptedError,
)
from loom.journal.entry import Entry, Recorded, Step
from loom.journal.kinds import CommandReceivedEntry, TurnResumedEntry
from loom.journal.store import Receipt
from loom.policies.registry import PolicyVersion

if TYPE_CHECKING:
    from loom.actors.actor import Actor, Held
    from loom.actors.command import Command
    from loom.actors.services import Services
    from loom.decisions.decision import ApprovalGiven, DecisionInput
    from loom.decisions.entries import ApprovalAnsweredEntry, EvaluatedEntry, PrecedentFound

__all__ = ["Host", "Slot", "Turn", "TurnStopped", "current_turn"]

_MAX_KEY = 200

Answer = tuple["ApprovalAnsweredEntry", datetime]
"""What somebody answered, and when that was recorded."""

_current: ContextVar[Turn] = ContextVar("loom_turn")


class TurnStopped(BaseException):
    """Leaves the code of a turn that may not go on. Not an `Exception`: agent code has no business catching it."""

    def __init__(self, error: LoomError) -> None:
        super().__init__(str(error))
        self.error = error


class Host(Protocol):
    """What a turn needs of the cell that runs it."""

    journal: str
    services: Services
    slot: Slot
    held: Held

    def write(self, entry: Entry, *, command_id: str, policy_hash: bytes | None) -> asyncio.Future[Receipt]:
        """Put an entry in line for the journal."""
        ...

    @property
    def sequence(self) -> int:
        """The sequence of the last entry that was put in line."""
        ...

    def fold(self, until: int) -> None:
        """Fold the entries up to a sequence into the shared state."""
        ...

    def die(self, error: BaseException) -> None:
        """Give the cell up: what it knows of its journal is not so any more."""
        ...

    async def ask(
        self,
        actor: type[Actor[Any]],
        key: str,
        command: Command[Any],
        *,
        command_id: str,
        timeout_s: float | None,
        sender: Turn,
    ) -> JsonValue:
        """Send another actor a command on behalf of a turn and return its reply as plain JSON."""
        ...

    async def tell(
        self, actor: type[Actor[Any]], key: str, command: Command[Any], *, command_id: str, sender: Turn
    ) -> Any:
        """Send another actor a command on behalf of a turn and return once it is durable there."""
        ...


class Slot:
    """One turn of an actor runs at a time; those that go on come before those that begin."""

    def __init__(self, on_free: Callable[[], None]) -> None:
        self.owner: Turn | None = None
        self._waiting: deque[tuple[Turn, asyncio.Future[None]]] = deque()
        self._on_free = on_free

    @property
    def free(self) -> bool:
        """Whether nobody has it and nobody waits for it."""
        return self.owner is None and not self._waiting

    async def acquire(self, turn: Turn) -> None:
        """Wait for the slot, in order of asking."""
        if self.owner is turn:
            return
        if self.free:
            self.owner = turn
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release(turn)
            raise

    def release(self, turn: Turn) -> None:
        """Give the slot to whoever waits longest; harmless for a turn that does not have it."""
        if self.owner is not turn:
            return
        self.owner = None
        while self._waiting:
            following, future = self._waiting.popleft()
            if not future.done():
                self.owner = following
                future.set_result(None)
                return
        self._on_free()


@dataclass(slots=True)
class Gathered:
    """What a turn has seen so far; a decision takes it along."""

    inputs: list[DecisionInput] = field(default_factory=list)
    precedents: list[PrecedentFound] = field(default_factory=list)
    approvals: list[ApprovalGiven] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)
    evaluated: EvaluatedEntry | None = None


class Turn:
    """The life of one command. Verbs find it through a context variable, so they work inside task groups."""

    def __init__(
        self,
        host: Host,
        command: Command[Any],
        *,
        command_id: str,
        policy: PolicyVersion,
        by: str | None = None,
        correlation_id: str = "",
        waiting: tuple[str, ...] = (),
    ) -> None:
        self.host = host
        self.command = command
        self.command_id = command_id
        self.policy = policy
        self.by = by
        self.correlation_id = correlation_id or command_id
        self.waiting = waiting
        self.actor: Actor[Any] | None = None
        self.script: Script | None = None
        self.attempt = 0
        self.retried = False
        self.replaying = False
        self.compare: Callable[[Recorded, Entry], None] | None = None
        self.joined = True
        self.gathered = Gathered()
        self.answers: dict[str, asyncio.Future[Answer]] = {}
        self.received: asyncio.Future[Receipt] | None = None
        self.received_sequence = 0
        self.entry: CommandReceivedEntry | None = None
        self.receipt: Receipt | None = None
        self.diverged: DivergenceError | None = None
        self.reply: asyncio.Future[JsonValue] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None
        self.closed = False
        self._last: asyncio.Future[Receipt] | None = None
        self._occurrences: Counter[tuple[str, str]] = Counter()
        self._in_flight: set[tuple[str, str]] = set()
        self._deferred: list[Entry] = []
        self._busy = 0
        self._open_approvals = 0

    def __str__(self) -> str:
        return f"{self.host.journal}#{self.command_id}"

    @property
    def parked(self) -> bool:
        """Whether the turn waits for people and has nothing else under way."""
        return self._open_approvals > 0 and self._busy == 0 and not self.closed

    # --- steps ----------------------------------------------------------------------------------

    def step(self, verb: str, key: str) -> Stepping:
        """Begin a step; use as `with turn.step(…) as step`. Equal steps in flight are an `AmbiguousStepError`."""
        if self.closed:
            raise NoTurnError(f"turn [{self}] has ended; expected [{verb}] within it: await what the turn started")
        if len(key) > _MAX_KEY:
            key = f"{key[: _MAX_KEY - 40]}…{hashlib.sha256(key.encode(errors='replace')).hexdigest()[:32]}"
        if (verb, key) in self._in_flight:
            raise AmbiguousStepError(
                f"step [{verb} {key}] is in flight twice in turn [{self}]; expected steps that can be told apart: "
                "give each its own key="
            )
        occurrence = self._occurrences[verb, key]
        self._occurrences[verb, key] = occurrence + 1
        return Stepping(self, Step(verb, key, occurrence))

    async def take(self, step: Step, phase: Phase = "end") -> Recorded | None:
        """Return what the journal holds of a step, when it is its turn; None if it is to be done for real, now."""
        if self.script is not None:
            if self.script.has(step, phase):
                return await self.script.take(step, phase)
            await self.script.wait(step)
        if self.replaying:
            raise NotReplayableError(
                f"replay of turn [{self}] came to [{step}], which was never recorded; expected recorded steps only: "
                "a replay fetches and performs nothing",
                reason=f"{step.verb}_never_recorded",
            )
        if self.host.slot.owner is not self:
            await self.take_slot()
        return None

    async def take_slot(self) -> None:
        """Wait until no other turn of the actor runs; a resumed turn says in the journal that it goes on."""
        await self.host.slot.acquire(self)
        self.check_open()
        if self.attempt:
            attempt, self.attempt = self.attempt, 0
            self.put(TurnResumedEntry(attempt=attempt))
            await self.durable()
        deferred, self._deferred = self._deferred, []
        for entry in deferred:
            self.write(entry)

    # --- the journal ----------------------------------------------------------------------------

    def write(self, entry: Entry, *, policy_hash: bytes | None = None) -> None:
        """Journal an entry of a step. Waits for nothing: see `durable`."""
        self.put(entry, policy_hash=policy_hash)
        if not self.joined and self.actor is not None:
            self.actor._held = self.host.held
            self.joined = True
        self.host.fold(self.host.sequence)

    def write_when_live(self, entry: Entry) -> None:
        """Journal an entry of a step that cannot wait, now or as soon as the turn runs for real."""
        if self.host.slot.owner is self and not self.attempt:
            self.write(entry)
        else:
            self._deferred.append(entry)

    def put(self, entry: Entry, *, policy_hash: bytes | None = None) -> None:
        """Journal an entry that is not a step: what frames the turn."""
        self.check_open()
        try:
            self._last = self.host.write(
                entry, command_id=self.command_id, policy_hash=policy_hash or self.policy.hash_bytes
            )
        except LoomError as error:
            if not isinstance(error, ValueError):  # an inadmissible value is the code's own affair
                raise self.interrupted(error) from error
            raise

    async def durable(self) -> None:
        """Wait until everything that the turn has written is durable, or leave the turn (law 4)."""
        if self._last is None:
            return
        try:
            self.receipt = await asyncio.shield(self._last)
        except AppendUnknownError as unknown:
            try:
                receipt = await self.host.services.store.resolve(unknown)
            except LoomError as error:
                raise self.interrupted(error) from error
            if receipt is None:
                raise self.interrupted(unknown) from unknown
            self.receipt = receipt
        except LoomError as error:
            raise self.interrupted(error) from error

    def interrupted(self, error: LoomError) -> TurnStopped:
        """Give up the turn and its cell after a failed write; return what to raise."""
        self.host.die(error)
        received = self.received
        if received is not None and received.done() and not received.cancelled():
            refused = received.exception()
            if isinstance(refused, LoomError) and not isinstance(refused, AppendUnknownError):
                return TurnStopped(refused)  # the command itself was never accepted
        interrupted = TurnInterruptedError(
            f"turn [{self}] could not be journaled [{error}]; expected a journal that can be written: "
            "it is resumed when the actor is next spoken to; ask again with the same id for its reply"
        )
        interrupted.__cause__ = error
        return TurnStopped(interrupted)

    def check_open(self) -> None:
        """Refuse to write for a turn that has ended."""
        if self.closed:
            raise NoTurnError(f"turn [{self}] has ended; expected nothing more of it: await what the turn started")

    # --- parking --------------------------------------------------------------------------------

    async def wait_for_answer(self, approval_id: str) -> Answer:
        """Wait for a person; meanwhile other turns of the actor may run."""
        future = self.answer_to(approval_id)
        self._open_approvals += 1
        self._busy -= 1
        self._park_soon()
        try:
            return await asyncio.shield(future)
        finally:
            self._open_approvals -= 1
            self._busy += 1

    def answer_to(self, approval_id: str) -> asyncio.Future[Answer]:
        """Return the answer to come of an approval of this turn."""
        future = self.answers.get(approval_id)
        if future is None:
            future = self.answers[approval_id] = asyncio.get_running_loop().create_future()
        return future

    def _park_soon(self) -> None:
        """Look whether the turn is parked once its code has had the chance to begin another step."""
        asyncio.get_running_loop().call_soon(self._park)

    def _park(self) -> None:
        if self.parked:
            self.host.slot.release(self)

    # --- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """End the turn: no verb works in it any more."""
        self.closed = True
        if self.script is not None:
            self.script.cancel()
        self.host.slot.release(self)


class Stepping:
    """A step under way."""

    __slots__ = ("_step", "_turn")

    def __init__(self, turn: Turn, step: Step) -> None:
        self._turn = turn
        self._step = step

    def __enter__(self) -> Step:
        self._turn._in_flight.add((self._step.verb, self._step.key))
        self._turn._busy += 1
        return self._step

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._turn._in_flight.discard((self._step.verb, self._step.key))
        self._turn._busy -= 1
        if self._turn._open_approvals:
            self._turn._park_soon()


def enter(turn: Turn) -> None:
    """Make a turn the one that verbs find, in the current context."""
    _current.set(turn)


def current_turn(actor: Actor[Any], verb: str) -> Turn:
    """Return the turn in which a verb was called; raise `NoTurnError` outside one, or in another actor's."""
    turn = _current.get(None)
    if turn is None or turn.actor is not actor:
        raise NoTurnError(
            f"[{verb}] of [{type(actor).__name__}] was called outside a turn; expected it within execute: "
            "send the actor a command instead"
        )
    return turn


def turn_of_caller() -> Turn | None:
    """Return the turn in whose context the caller runs, if any."""
    turn = _current.get(None)
    return None if turn is None or turn.closed else turn
