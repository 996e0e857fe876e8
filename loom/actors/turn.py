"""One actor handling one command: recorded live, resumed after a crash, or replayed, all by the same mechanism.

Everything that a turn does beyond computing is a *step*. For a step that the journal holds, the code gets the recorded
result. The next step runs for real and is journaled, or, in a replay, does not run at all.

Who may call what, when. All of it on the event loop of the loom.

- Verbs, in the tasks of the turn's own code: `step`, then `take`; where `take` returns None the turn has its actor to
  itself, and the verb does its work, `write`s the result, and may wait for `durable`. `write_when_live` is for verbs
  that cannot wait.
- The runner, in the turn's main task: `end` once, after everything else; nothing of the turn is written after that.
- From outside: `stop` cancels the code, `answer` and `parking.end` give what it waits for, `refuse` ends the wait for a
  reply, `reply` returns what a caller waits for, `close` releases everything. Each may be called at any time and more
  than once.

Invariants: an entry is written only by a turn that has the lock, that was not stopped and has not ended. Once `halt`
or `stop` was called, every verb raises `TurnStopped`, also if the code catches it. A reply is set after the turn's
last entry is durable (law 4).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple

from pydantic import JsonValue

from loom.actors.command import Command
from loom.actors.gathered import Gathered
from loom.actors.parking import Answer, Parking
from loom.actors.ports import Decider, Seen, TurnHost
from loom.actors.progress import Progress, StepBegan, StepEnded
from loom.actors.protected_replies import declared_reply
from loom.actors.services import Services
from loom.actors.steps import Phase, RecordedSteps
from loom.actors.taking_up import TakenUp
from loom.actors.turn_subjects import TurnSubjects
from loom.clock import elapsed_us
from loom.decisions.decision import Decision
from loom.errors import (
    ActorStoppedError,
    AmbiguousStepError,
    AppendUnknownError,
    ErasedError,
    LoomError,
    NotReplayableError,
    NoTurnError,
    TurnInterruptedError,
)
from loom.journal.admission import json_value
from loom.journal.entry import Entry, Recorded, Step
from loom.journal.kinds import CommandReceivedEntry, TurnContinuedEntry, TurnDivergedEntry, TurnResumedEntry
from loom.journal.serialisation import EntryText
from loom.journal.store import Draft, Receipt
from loom.policies.registry import PolicyVersion
from loom.sealing import Keys

__all__ = ["NOT_RESUMABLE", "Turn", "TurnStopped"]

NOT_RESUMABLE = "not_resumable"
"""The beginning of the reason of a stuck turn whose journal does not hold any more what it needs to continue."""

_MAX_KEY = 200


class TurnStopped(BaseException):
    """Leaves the code of a turn that must not continue. Not an `Exception`, so that agent code does not catch it.

    Where it is caught nevertheless, every further verb raises it again, and the return value of the code does not end
    the turn.
    """

    def __init__(self, error: LoomError) -> None:
        super().__init__(str(error))
        self.error = error


class _Replied(NamedTuple):
    """The answer of a turn to its callers: a reply or an error."""

    reply: JsonValue
    error: LoomError | None = None

    def give(self, caller: asyncio.Future[JsonValue]) -> None:
        """Answer a caller who still waits."""
        if caller.done():
            return
        if self.error is None:
            caller.set_result(self.reply)
        else:
            caller.set_exception(self.error)


class Turn:
    """The life of one command. Verbs find it through a context variable, so they work inside task groups."""

    def __init__(
        self,
        host: TurnHost,
        command: Command[Any],
        received: CommandReceivedEntry,
        *,
        command_id: str,
        sequence: int,
        policy: PolicyVersion,
        accepted: asyncio.Future[Receipt],
    ) -> None:
        self.host = host
        self.services: Services = host.services
        """What it uses outside its own actor."""
        self.command = command
        self.received = received
        self.command_id = command_id
        self.sequence = sequence
        """The place of its first entry in the journal."""
        self.policy = policy
        self.accepted = accepted
        """Done when its first entry is durable."""
        self.reply_held = False
        """Whether other code releases its reply later."""
        self.actor: Decider | None = None
        self.task: asyncio.Task[None] | None = None
        self.recorded_steps: RecordedSteps | None = None
        """The recorded steps, in a turn that is resumed or replayed."""
        self.compare: Callable[[Recorded, Entry], None] | None = None
        """In a replay: receives the recorded entry and the one that the code would record now. Nothing is written."""
        self.counterfactual = False
        """Whether a replay runs under another policy version: then evaluations and decisions are made again."""
        self.decided: Callable[[Decision], object] | None = None
        """In such a replay: receives the decision that would be made now."""
        self.is_open = False
        """Whether a replay drives a turn without an end, as far as its journal goes: nothing is written."""
        self.taken_up: TakenUp | None = None
        """The earlier turn whose steps it takes up."""
        self.versions: dict[str, int] = {}
        """The versions of changed code that it follows, by change."""
        self.saw_erased = False
        """Whether something was erased in the state that it sees again: its code may act differently then."""
        self.attempt = 0
        """The number of a resumption that is not journaled yet."""
        self.taken_over = False
        """Whether it is resumed as its journal was taken over from another process."""
        self.diverged: TurnDivergedEntry | None = None
        """The divergence of its last run, if it has made no progress since."""
        self.may_repeat = False
        """Whether a person has permitted it to repeat an effect that is not repeatable."""
        self.entries = [sequence]
        """The sequences of its entries."""
        self.parked_at_us: int | None = None
        """When it was parked last, by elapsed time."""
        self.let_go = False
        """Whether it was removed from memory while it waits: it is driven again later, as another object."""
        self.gathered = Gathered()
        self._protected: TurnSubjects | None = None
        self.keys: dict[str, Keys] = {}
        """The keys that it holds, by subject, where it protects something itself."""
        self.asking: dict[str, int] = {}
        """The journals whose actors it has asked and waits for."""
        self.receipt: Receipt | None = None
        self.stopped: LoomError | None = None
        self.closed = False
        self._replied: _Replied | None = None
        self.callers: list[asyncio.Future[JsonValue]] = []
        """Those that wait for its reply."""
        self.parking = Parking(self._park)
        """What it waits for."""
        self._written: asyncio.Future[Receipt] | None = None
        self._resuming: asyncio.Future[Receipt] | None = None
        self._occurrences: dict[tuple[str, str], int] = {}
        self._in_flight: set[tuple[str, str]] = set()
        self._deferred: list[Draft] = []
        self._away = False

    def __str__(self) -> str:
        return f"{self.host.journal}#{self.command_id}"

    @property
    def protected(self) -> TurnSubjects:
        """The protected values that it has handled, those of its command included."""
        if self._protected is None:
            self._protected = TurnSubjects.of(self.command, subject=self.received.subject)
        return self._protected

    @property
    def withholds_words(self) -> bool:
        """Whether the messages of its errors are not kept: they may repeat protected values."""
        return self.protected.touched or self.host.holds_subjects or declared_reply(type(self.command)) is not None

    @property
    def parked(self) -> bool:
        """Whether the turn waits, for people, a time or a message, and does nothing else."""
        return self.parking.parked and not self.closed

    @property
    def live(self) -> bool:
        """Whether it has the actor to itself and may write: then `continue_live` would wait for nothing."""
        return (
            self.host.lock.owner is self
            and not (self.attempt or self._away or self._deferred or self.closed)
            and self._resuming is None
            and self.stopped is None
            and self.services.store.has_room
        )

    # --- steps ----------------------------------------------------------------------------------

    def step(self, verb: str, key: str, *, waits: bool = True) -> _Stepping:
        """Begin a step; use as `with turn.step(…) as step`. Equal steps in flight are an `AmbiguousStepError`.

        A verb that waits for nothing outside says so (`waits=False`): live it is never in flight twice, so that two
        calls at once are unambiguous.
        """
        self.check_open()
        json_value(key)  # what cannot be journaled is refused before anything is done
        if len(key) > _MAX_KEY:
            key = f"{key[: _MAX_KEY - 40]}…{hashlib.sha256(key.encode()).hexdigest()[:32]}"
        if waits and (verb, key) in self._in_flight:
            raise AmbiguousStepError(
                f"step [{verb} {key}] is in flight twice in turn [{self}]; expected steps that differ: "
                "give each its own key="
            )
        occurrence = self._occurrences.get((verb, key), 0)
        self._occurrences[verb, key] = occurrence + 1
        return _Stepping(self, Step(verb, key, occurrence))

    async def take(self, step: Step, phase: Phase = "end") -> Recorded | None:
        """Return the recorded entry of a step, in recorded order; None if the step has to run for real, now."""
        if self.recorded_steps is not None:
            if self.recorded_steps.has(step, phase):
                return await self.recorded_steps.take(step, phase)
            await self.recorded_steps.wait(step)
            if self.compare is not None:
                raise self.never_recorded(step)
        if not self.live:
            await self.continue_live()
        return None

    def never_recorded(self, step: Step) -> TurnStopped:
        """Return the error for a replay that reaches a step that was not recorded."""
        return self.halt(
            NotReplayableError(
                f"replay of turn [{self}] reached [{step}], which was never recorded; expected recorded steps only: "
                "a replay fetches and performs nothing",
                reason=f"{step.verb}_never_recorded",
            )
        )

    def not_resumable(self, problem: str) -> NotReplayableError:
        """Return the error of a turn that needs a value that is permanently gone, for the reason `problem`."""
        return NotReplayableError(
            f"turn [{self}] needs a value that was [{problem}]; expected it in the journal: send a new command",
            reason=f"{NOT_RESUMABLE}: {problem}",
        )

    def erased(self, subject: str) -> ErasedError:
        """Return the error of a turn with values of a subject who is erased while it runs."""
        return ErasedError(
            f"turn [{self}] works on values of subject [{subject:.80}], who was erased; expected one who was not: "
            "send a new command, as this turn ends as failed"
        )

    def gone(self, problem: str, *, replayed: bool = False) -> NotReplayableError:
        """Return the error of a turn that reaches a value that is `problem`; a replay has a message of its own."""
        if self.compare is None and not replayed:
            return self.not_resumable(problem)
        return NotReplayableError(
            f"turn [{self}] needs a value that is [{problem}]; expected one that can be read: if it can be opened "
            "elsewhere, replay the turn there",
            reason=problem,
        )

    async def continue_live(self, *, after: Step | None = None) -> None:
        """Wait until the turn has the actor to itself, to run steps for real; for a resumed turn that is journaled.

        `after` is the approval, or the wait, with which a parked turn continues.
        """
        await self.host.lock.acquire(self)
        self.check_open()
        if self.attempt:
            self.attempt, attempt = 0, self.attempt
            self._resuming = self._put(self.draft(TurnResumedEntry(attempt=attempt, takeover=self.taken_over)))
        if self._resuming is not None:  # journaled before anything runs that may end the process again
            await self.durable()
            self._resuming = None
        if self._away or after is not None:
            self._away = False
            self.write(self.draft(TurnContinuedEntry(step=after)))
        deferred, self._deferred = self._deferred, []
        for draft in deferred:
            self.write(draft)
        await self.services.store.room()
        self.check_open()

    # --- the journal ----------------------------------------------------------------------------

    def draft(self, entry: Entry | EntryText, *, policy_hash: bytes | None = None) -> Draft:
        """Make an entry ready for the journal; raise `AdmissionError` if it cannot be kept."""
        return self.host.draft(entry, command_id=self.command_id, policy_hash=policy_hash or self.policy.hash_bytes)

    def write(self, draft: Draft, *, seen: Seen | None = None) -> None:
        """Journal the result of a step, and give it to `apply`, as `seen` where that differs. It does not wait."""
        self._put(draft, seen=seen)
        if self.actor is not None:
            self.actor._state_ref = self.host.state_ref
        try:
            self.host.fold(self.host.sequence)
        except ActorStoppedError as error:
            raise self.halt(error) from error

    def write_when_live(self, draft: Draft) -> None:
        """Journal the result of a step that cannot wait, now or as soon as the turn runs for real."""
        if self.host.lock.owner is self and not self.attempt:
            self.write(draft)
        else:
            self._deferred.append(draft)

    def end(self, entry: Entry | EntryText, *, also: Sequence[Draft] = ()) -> None:
        """Journal the end of the turn, in one append with other drafts: nothing of it is written after that."""
        self._put(self.draft(entry), also=also)
        self.closed = True

    async def durable(self) -> None:
        """Wait until everything that the turn has written is durable, or leave the turn (law 4)."""
        if self._written is None:
            return
        try:
            self.receipt = await self._written
        except AppendUnknownError as unknown:
            try:
                receipt = await self.services.store.resolve(unknown)
            except LoomError as error:
                raise self._invalidate_host(error) from error
            if receipt is None:
                raise self._invalidate_host(unknown) from unknown
            self.receipt = receipt
        except LoomError as error:
            raise self._invalidate_host(error) from error

    def _put(self, draft: Draft, *, seen: Seen | None = None, also: Sequence[Draft] = ()) -> asyncio.Future[Receipt]:
        self.check_open()
        try:
            if also:
                self._written = self.host.write_together((draft, *also))
            else:
                self._written = self.host.write(draft) if seen is None else self.host.write(draft, seen=seen)
        except LoomError as error:
            raise self._invalidate_host(error) from error
        if not also:  # otherwise the host has noted it
            self.entries.append(self.host.sequence)
        return self._written

    def _invalidate_host(self, error: LoomError) -> TurnStopped:
        """Stop the turn and make its cell invalid after a failed write; return the error to raise."""
        self.host.invalidate(error)
        return self.halt(self.cut_short(error))

    def cut_short(self, error: BaseException) -> LoomError:
        """Return the error for its caller when the journal could not be written: the command may be missing too."""
        accepted = self.accepted
        if accepted.done() and not accepted.cancelled():
            refused = accepted.exception()
            if isinstance(refused, LoomError) and not isinstance(refused, AppendUnknownError):
                return self.host.refusal(refused)
        interrupted = TurnInterruptedError(
            f"turn [{self}] could not be journaled [{error}]; expected a journal that can be written: it is resumed "
            "when it can be; ask again with the same id for its reply"
        )
        interrupted.__cause__ = error
        return interrupted

    # --- parking --------------------------------------------------------------------------------

    async def wait_for_answer(self, approval_id: str) -> Answer:
        """Wait for a person; other turns of the actor may run in the meantime."""
        answer: Answer = await self.parking.wait_for(approval_id)
        return answer

    @property
    def can_be_let_go(self) -> bool:
        """Whether it is parked, all that it has to write is written, and nothing is about to wake it."""
        durable = self.accepted.done() and (self._written is None or self._written.done()) and not self._deferred
        return (
            self.parked
            and durable
            and not self.parking.wakes
            and self.stopped is None
            and self.host.lock.owner is not self
        )

    def _park(self) -> None:
        if not self.closed:
            self.parked_at_us = elapsed_us(self.services.sources.clock)
            self._away = self._away or self.host.lock.owner is self
            self.host.lock.release(self)

    # --- the end --------------------------------------------------------------------------------

    def check_open(self) -> None:
        """Refuse to do anything for a turn that was stopped or has ended."""
        if self.stopped is not None:
            raise TurnStopped(self.stopped)
        if self.closed:
            raise NoTurnError(f"turn [{self}] has ended; expected nothing more of it: await what the turn started")

    def shut_down(self) -> LoomError:
        """Return the error of a turn that continues when the journal is opened again."""
        return TurnInterruptedError(
            f"turn [{self}] was cut short; expected a loom that stays open until its end: it is resumed when the "
            "journal is next opened; ask again with the same id for its reply"
        )

    def halt(self, error: LoomError) -> TurnStopped:
        """Note that the turn must not continue, also if its code catches the error; return the error to raise."""
        if self.stopped is None:
            self.stopped = error
        return TurnStopped(self.stopped)

    def stop(self, error: LoomError) -> None:
        """Stop the turn from outside: its code is cancelled and can do nothing more."""
        self.halt(error)
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    def reply(self) -> asyncio.Future[JsonValue]:
        """Return the future reply, for one caller: cancelling it ends the wait of that caller only."""
        caller: asyncio.Future[JsonValue] = asyncio.get_running_loop().create_future()
        self.callers.append(caller)
        if self._replied is not None:
            self._replied.give(caller)
        return caller

    def release(self, reply: JsonValue) -> None:
        """Release the reply to every caller, later ones included; the first outcome counts."""
        if self._replied is None:
            self._settle(_Replied(reply))

    def refuse(self, error: LoomError) -> None:
        """Raise an error in place of the reply, for every caller; the first outcome counts."""
        if self._replied is None:
            self._settle(_Replied(None, error))

    def _settle(self, replied: _Replied) -> None:
        self._replied = replied
        for caller in self.callers:
            replied.give(caller)

    def close(self) -> None:
        """Release everything that the turn holds."""
        self.closed = True
        if self.recorded_steps is not None:
            self.recorded_steps.cancel()
        self.host.lock.release(self)


class _Stepping:
    """A step in progress."""

    __slots__ = ("_step", "_turn")

    def __init__(self, turn: Turn, step: Step) -> None:
        self._turn = turn
        self._step = step

    def __enter__(self) -> Step:
        self._turn._in_flight.add((self._step.verb, self._step.key))
        self._turn.parking.step_begins()
        if self._turn.services.watchers.open:
            self._note(StepBegan(self._step.verb, self._step.key))
        return self._step

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._turn._in_flight.discard((self._step.verb, self._step.key))
        self._turn.parking.step_ends()
        if self._turn.services.watchers.open:
            self._note(StepEnded(self._step.verb, self._step.key, None if kind is None else kind.__name__))

    def _note(self, progress: Progress) -> None:
        self._turn.services.watchers.note(self._turn.host.journal, self._turn.command_id, progress)
