"""One actor handling one command: recorded live, resumed after a crash, or replayed, all by the same mechanism.

Everything that a turn does beyond computing is a *step*. A step that the journal already holds is fed back; the next
one runs for real and is journaled, or, in a replay, is not run at all.

Who may call what, when. All of it on the event loop of the loom.

- Verbs, in the tasks of the turn's own code: `step`, then `take`; where `take` returns None the turn has its actor to
  itself, and the verb does its work, `write`s what came of it, and may wait for `durable`. `write_when_live` is for
  verbs that cannot wait.
- The runner, in the turn's main task: `end` once, after everything else; nothing of the turn is written after that.
- From outside: `stop` cancels the code, `answer` hands in what a person said, `refuse` ends the wait for a reply,
  `reply` gives a caller something to wait for,
  `close` lets go of everything. Each may be called at any time and more than once.

What holds: an entry is written only by a turn that has the lock, that was not stopped and has not ended. Once `halt`
or `stop` was called, every verb raises `TurnStopped`, whatever the code makes of it. A reply is set after the turn's
last entry is durable (law 4).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

from pydantic import JsonValue

from loom.actors.command import Command
from loom.actors.gathered import Gathered
from loom.actors.parking import Answer, Parking
from loom.actors.ports import Decider, Seen, TurnHost
from loom.actors.protected_replies import declared_reply
from loom.actors.services import Services
from loom.actors.steps import Phase, RecordedSteps
from loom.actors.turn_subjects import TurnSubjects
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
"""How the reason of a turn begins whose journal does not hold any more what it would have to go on from."""

_MAX_KEY = 200

_IMMEDIATE = frozenset({"evaluate", "record", "record_decision", "now", "new_id", "random"})
"""Verbs that wait for nothing outside: live they are never in flight twice, so resumed they may be."""


class TurnStopped(BaseException):
    """Leaves the code of a turn that may not go on. Not an `Exception`: agent code has no business catching it.

    Where it is caught nevertheless, every further verb raises it again, and the turn does not end by what its code
    returns.
    """

    def __init__(self, error: LoomError) -> None:
        super().__init__(str(error))
        self.error = error


class _Replied(NamedTuple):
    """How a turn answers those who asked: with a reply, or with an error."""

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
        """What it reaches beyond its own actor."""
        self.command = command
        self.received = received
        self.command_id = command_id
        self.sequence = sequence
        """Where in the journal its first entry stands."""
        self.policy = policy
        self.accepted = accepted
        """Done when its first entry is durable."""
        self.reply_held = False
        """Whether its reply is let out later, by somebody else."""
        self.actor: Decider | None = None
        self.task: asyncio.Task[None] | None = None
        self.recorded_steps: RecordedSteps | None = None
        """What is fed back, in a turn that was cut short or is replayed."""
        self.compare: Callable[[Recorded, Entry], None] | None = None
        """In a replay: told what was recorded and what the code would record now. Then nothing is ever written."""
        self.counterfactual = False
        """Whether a replay runs under another version than the recorded one: then rules and decisions are made anew."""
        self.decided: Callable[[Decision], object] | None = None
        """In such a replay: told what would be decided now."""
        self.saw_erased = False
        """Whether something was erased in the state that it sees again: its code may do something else for that."""
        self.attempt = 0
        """The number of a resumption that the journal does not know of yet."""
        self.diverged: TurnDivergedEntry | None = None
        """In what it diverged when it was last driven, where nothing has come of it since."""
        self.may_repeat = False
        """Whether a person has let it do again what may not be done twice."""
        self.gathered = Gathered()
        self._protected: TurnSubjects | None = None
        self.keys: dict[str, Keys] = {}
        """The keys that it has at hand, by subject, where it protects something itself."""
        self.asking: dict[str, int] = {}
        """The journals whose actors it has asked and waits for."""
        self.receipt: Receipt | None = None
        self.stopped: LoomError | None = None
        self.closed = False
        self._replied: _Replied | None = None
        self._callers: list[asyncio.Future[JsonValue]] = []
        self._parking = Parking(self._park)
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
        """Whose protected values it has handled, those of its command included."""
        if self._protected is None:
            self._protected = TurnSubjects.of(self.command, subject=self.received.subject)
        return self._protected

    @property
    def withholds_words(self) -> bool:
        """Whether the words of its errors are not kept: they repeat what they are about, which may be protected."""
        return self.protected.touched or self.host.holds_subjects or declared_reply(type(self.command)) is not None

    @property
    def parked(self) -> bool:
        """Whether the turn waits for people and has nothing else under way."""
        return self._parking.parked and not self.closed

    @property
    def live(self) -> bool:
        """Whether it has the actor to itself and may go on writing: then `continue_live` would wait for nothing."""
        return (
            self.host.lock.owner is self
            and not (self.attempt or self._away or self._deferred or self.closed)
            and self._resuming is None
            and self.stopped is None
            and self.services.store.has_room
        )

    # --- steps ----------------------------------------------------------------------------------

    def step(self, verb: str, key: str) -> _Stepping:
        """Begin a step; use as `with turn.step(…) as step`. Equal steps in flight are an `AmbiguousStepError`."""
        self.check_open()
        json_value(key)  # what cannot be journaled is refused before anything is done
        if len(key) > _MAX_KEY:
            key = f"{key[: _MAX_KEY - 40]}…{hashlib.sha256(key.encode()).hexdigest()[:32]}"
        if (verb, key) in self._in_flight and verb not in _IMMEDIATE:
            raise AmbiguousStepError(
                f"step [{verb} {key}] is in flight twice in turn [{self}]; expected steps that can be told apart: "
                "give each its own key="
            )
        occurrence = self._occurrences.get((verb, key), 0)
        self._occurrences[verb, key] = occurrence + 1
        return _Stepping(self, Step(verb, key, occurrence))

    async def take(self, step: Step, phase: Phase = "end") -> Recorded | None:
        """Return what the journal holds of a step, when it is its turn; None if it is to be done for real, now."""
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
        """Return what to raise where a replay comes to something that it would have to do for real."""
        return self.halt(
            NotReplayableError(
                f"replay of turn [{self}] came to [{step}], which was never recorded; expected recorded steps only: "
                "a replay fetches and performs nothing",
                reason=f"{step.verb}_never_recorded",
            )
        )

    def not_resumable(self, problem: str) -> NotReplayableError:
        """Return the error of a turn that would have to go on from something that is `problem`, and gone for good."""
        return NotReplayableError(
            f"turn [{self}] would have to go on from something that was [{problem}]; expected it in the journal: "
            "send a new command",
            reason=f"{NOT_RESUMABLE}: {problem}",
        )

    def erased(self, subject: str) -> ErasedError:
        """Return the error of a turn that works on something of a subject who is erased while it is under way."""
        return ErasedError(
            f"turn [{self}] works on values of subject [{subject:.80}], who was erased; expected one who was not: it "
            "ends here, as failed"
        )

    def gone(self, problem: str, *, replayed: bool = False) -> NotReplayableError:
        """Return the error of a turn that comes to something that is `problem`; a replay says it in its own words."""
        if self.compare is None and not replayed:
            return self.not_resumable(problem)
        return NotReplayableError(
            f"turn [{self}] was given something that is [{problem}]; expected what can be read: replay it where it can "
            "be opened, if it can be",
            reason=problem,
        )

    async def continue_live(self, *, after: Step | None = None) -> None:
        """Have the actor to itself and do things for real; the journal says so of a turn that was away.

        `after` is the approval that a parked turn goes on from.
        """
        await self.host.lock.acquire(self)
        self.check_open()
        if self.attempt:
            self.attempt, attempt = 0, self.attempt
            self._resuming = self._put(self.draft(TurnResumedEntry(attempt=attempt)))
        if self._resuming is not None:  # on record before anything is tried that may bring the process down again
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
        """Journal what a step did, and show it to `apply`, as `seen` where that differs. It does not wait."""
        self._put(draft, seen=seen)
        if self.actor is not None:
            self.actor._state_ref = self.host.state_ref
        try:
            self.host.fold(self.host.sequence)
        except ActorStoppedError as error:
            raise self.halt(error) from error

    def write_when_live(self, draft: Draft) -> None:
        """Journal what a step did that cannot wait, now or as soon as the turn runs for real."""
        if self.host.lock.owner is self and not self.attempt:
            self.write(draft)
        else:
            self._deferred.append(draft)

    def end(self, entry: Entry | EntryText) -> None:
        """Journal the end of the turn: nothing of it is written after that."""
        self._put(self.draft(entry))
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

    def _put(self, draft: Draft, *, seen: Seen | None = None) -> asyncio.Future[Receipt]:
        self.check_open()
        try:
            self._written = self.host.write(draft) if seen is None else self.host.write(draft, seen=seen)
        except LoomError as error:
            raise self._invalidate_host(error) from error
        return self._written

    def _invalidate_host(self, error: LoomError) -> TurnStopped:
        """Give up the turn and its cell after a failed write; return what to raise."""
        self.host.invalidate(error)
        return self.halt(self.cut_short(error))

    def cut_short(self, error: BaseException) -> LoomError:
        """Return what its caller is told when the journal could not be written: the command may not even stand."""
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
        return await self._parking.wait_for(approval_id)

    def answered(self, approval_id: str) -> bool:
        """Tell whether a request of this turn has its answer."""
        return self._parking.answered(approval_id)

    def answer(self, answer: Answer) -> None:
        """Hand in what somebody answered; only the first answer counts."""
        self._parking.answer(answer)

    def _park(self) -> None:
        if not self.closed:
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
        """Return the error of a turn that goes on when the journal is opened again."""
        return TurnInterruptedError(
            f"turn [{self}] was cut short; expected a loom that stays open until its end: it is resumed when the "
            "journal is next opened; ask again with the same id for its reply"
        )

    def halt(self, error: LoomError) -> TurnStopped:
        """Take note that the turn may not go on, whatever its code makes of it; return what to raise."""
        if self.stopped is None:
            self.stopped = error
        return TurnStopped(self.stopped)

    def stop(self, error: LoomError) -> None:
        """Stop the turn from outside: its code is cancelled and can do nothing more."""
        self.halt(error)
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    def reply(self) -> asyncio.Future[JsonValue]:
        """Return the reply to come, for one caller: cancelling it ends the wait of that caller alone."""
        caller: asyncio.Future[JsonValue] = asyncio.get_running_loop().create_future()
        self._callers.append(caller)
        if self._replied is not None:
            self._replied.give(caller)
        return caller

    def release(self, reply: JsonValue) -> None:
        """Let the reply out to every caller, those included that come later; the first outcome counts."""
        if self._replied is None:
            self._settle(_Replied(reply))

    def refuse(self, error: LoomError) -> None:
        """Tell every caller that there is no reply; the first outcome counts."""
        if self._replied is None:
            self._settle(_Replied(None, error))

    def _settle(self, replied: _Replied) -> None:
        self._replied = replied
        for caller in self._callers:
            replied.give(caller)

    def close(self) -> None:
        """Let everything go that the turn held."""
        self.closed = True
        if self.recorded_steps is not None:
            self.recorded_steps.cancel()
        self.host.lock.release(self)


class _Stepping:
    """A step under way."""

    __slots__ = ("_step", "_turn")

    def __init__(self, turn: Turn, step: Step) -> None:
        self._turn = turn
        self._step = step

    def __enter__(self) -> Step:
        self._turn._in_flight.add((self._step.verb, self._step.key))
        self._turn._parking.step_begins()
        return self._step

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._turn._in_flight.discard((self._step.verb, self._step.key))
        self._turn._parking.step_ends()
