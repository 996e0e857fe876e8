"""A cell: one actor while it is awake. It alone appends to its journal, runs its turns and folds its state.

Who may call what, when. All of it on the event loop of the loom.

- The owner makes a cell, awaits `wake` once, then `resume`s what that returned; from then on it may `accept` commands,
  and `stop` it.
- Turns and their runner use the members of `TurnHost`: see `ports`.
- Interventions from outside (`interventions`) run in `keep_awake_for`, under `operator_lock`.

Invariants: `sequence` is that of the last queued entry. If the journal has another one, another writer was faster, and
the cell is invalid from then on: it writes nothing more, its turns are interrupted, and the owner wakes another cell,
which reads the journal. `open` has every turn without an end, `turns` those of them that wait or run here, `stuck`
those that wait for a person. The shared state is folded up to the last entry of the turn that has the lock, never
further.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Protocol, TypeVar

from loom.actors.actor import Actor
from loom.actors.asleep import Asleep
from loom.actors.classes import ActorClasses
from loom.actors.command import Command
from loom.actors.failures import Failures, construction_failed
from loom.actors.inbox import Inbox
from loom.actors.ports import Messenger, Seen, StateRef
from loom.actors.rebuilding import rebuild
from loom.actors.recovery import recover, resumed_turn
from loom.actors.services import Services
from loom.actors.snapshots import SnapshotKeeper
from loom.actors.state import Fold
from loom.actors.turn import Turn
from loom.actors.turn_lock import TurnLock
from loom.actors.turn_runner import drive
from loom.actors.wait_entries import TurnParkedEntry
from loom.actors.waits import begin_at, wait_again
from loom.background import Child
from loom.errors import (
    ActorStoppedError,
    AppendRefusedError,
    AppendUnknownError,
    LoomError,
    MailboxFullError,
    SequenceConflictError,
)
from loom.identity import parse_journal_name
from loom.journal.entry import Entry, Recorded, Step
from loom.journal.kinds import CommandReceivedEntry
from loom.journal.serialisation import EntryText
from loom.journal.store import Append, Draft, Receipt, decoded, draft
from loom.policies.registry import PolicyVersion
from loom.telemetry import get_logger

__all__ = ["Cell"]

T = TypeVar("T")

_log = get_logger("loom.actors")


class CellOwner(Protocol):
    """The part of the actor system that a cell uses."""

    services: Services
    classes: ActorClasses
    resumes: bool
    """Whether interrupted turns are resumed here."""
    closing: bool
    """Whether no more commands are accepted."""

    @property
    def messenger(self) -> Messenger:
        """Sends commands to other actors."""
        ...

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Run something in the context in which the loom was opened."""
        ...

    def in_background(self, work: Coroutine[Any, Any, None], *, name: str) -> Child[None]:
        """Run something that is cancelled when the loom closes."""
        ...

    def on_invalidated(self, cell: Cell) -> None:
        """Discard a cell that could not write."""
        ...

    def stop_actor(self, cell: Cell, error: LoomError) -> None:
        """Accept no more commands for an actor."""
        ...


class Cell:
    """One actor while it is awake. `ActorSystem` makes it for the first command, and discards it when it is idle."""

    def __init__(self, owner: CellOwner, cls: type[Actor[Any]], journal: str) -> None:
        self.services: Services = owner.services
        self.messenger: Messenger = owner.messenger
        self.cls = cls
        self.journal = journal
        self.key = parse_journal_name(journal).key
        self.sequence = 0
        """The sequence of the last entry that was queued."""
        self.taken_over_at = 0
        """The sequence at which its journal was taken over from another process, 0 if it was not."""
        self.turns: dict[str, Turn] = {}
        """The turns that wait or run here, by command id."""
        self.open: dict[str, int] = {}
        """Every turn without an end, whether it runs here or not: command id → sequence of its first entry."""
        self.stuck: dict[str, LoomError] = {}
        self.lock: TurnLock[Turn] = TurnLock(self.start_next)
        self.invalidated_by: LoomError | None = None
        self.failures = Failures(self.services.options)
        self.last_used = time.monotonic()
        self.operator_lock = asyncio.Lock()
        """Held during an intervention on a turn: an answer, a retry, an abandonment."""
        self.rebuilding = asyncio.Lock()
        """Held while the state is folded again."""
        self.appended_during_rebuild: list[tuple[int, Seen]] | None = None
        """Entries that are queued during the rebuild."""
        self.inbox = Inbox(self)
        self.asleep = Asleep(self)
        self._owner = owner
        self._mailbox: list[Turn] = []  # an empty deque takes 760 bytes
        self._tasks: set[asyncio.Task[Any]] = set()
        self._written: asyncio.Future[Receipt] | None = None
        self._grows_for: str | None = None
        """The turn whose next entry joins the append that was queued last, as long as that one is queued."""
        self._snapshots = SnapshotKeeper(self.services, cls, journal)
        self.actor = self.new_actor()
        self.state = Fold(self.actor)

    @property
    def state_ref(self) -> StateRef:
        """The reference to the shared state."""
        return self.state.actor._state_ref

    @property
    def holds_subjects(self) -> bool:
        """Whether values of subjects may be in the state."""
        return bool(self.state.subjects)

    @property
    def closing(self) -> bool:
        """Whether the loom accepts no more commands."""
        return self._owner.closing

    @property
    def idle(self) -> bool:
        """Whether the cell can be discarded without a loss of anything in memory."""
        return not (self.turns or self._tasks or self.stuck or self.asleep.has_callers)

    def new_actor(self) -> Actor[Any]:
        """Make an instance of the actor with its own initial state."""
        actor = self._owner.classes.make(self.cls)
        actor.key = self.key
        actor._state_ref = StateRef(None)
        actor._state_ref.state = actor.initial_state()
        return actor

    # --- waking ---------------------------------------------------------------------------------

    async def wake(self) -> list[Turn]:
        """Acquire the journal and read it: fold the state, and return the interrupted turns, ready to be resumed."""
        head = await self.services.store.acquire(self.journal)
        recovered = await recover(self.services, self.cls, self.journal, self.state, head=head)
        self.taken_over_at = head.sequence if head.taken_over else 0
        self.sequence, self._snapshots.at = recovered.sequence, recovered.snapshot
        self.open = {str(entries[0].command_id): entries[0].sequence for entries in recovered.unfinished}
        # Here as well: an actor with few commands would never have a snapshot otherwise.
        if self._snapshots.due(recovered.sequence):
            self._take_snapshot(recovered.sequence, recovered.entry_hash)
        return await self.resumable(recovered.unfinished) if self._owner.resumes else []

    async def resumable(self, unfinished: Iterable[list[Recorded]], *, drive: bool = False) -> list[Turn]:
        """Return interrupted turns, ready to be resumed; those that wait for a person are stuck.

        Messages are kept, and turns that were let go stay so unless they are to `drive` again.
        """
        turns = []
        for entries in unfinished:
            if self.inbox.keep_again(entries[0]):
                continue
            wait_again(self, entries)
            if not drive and self.asleep.put_again(entries):
                continue
            turn = await resumed_turn(self, entries)
            if isinstance(turn, Turn):
                turns.append(turn)
            else:
                self.stuck[str(entries[0].command_id)] = turn
                _log.warning("turn_stuck", journal=self.journal, turn=entries[0].command_id, error=str(turn))
        return turns

    def resume(self, turns: Iterable[Turn]) -> None:
        """Resume turns in the order in which they were received: those that ran go first, those that waited wait."""
        for turn in turns:
            self.turns[turn.command_id] = turn
            if turn.recorded_steps is None:
                self._mailbox.append(turn)
                continue
            if not turn.recorded_steps.parked:
                self.lock.claim(turn)
            self.run_turn(turn)
        if self.lock.free:
            self.start_next()

    # --- the journal ----------------------------------------------------------------------------

    def draft(self, entry: Entry | EntryText, *, command_id: str, policy_hash: bytes | None = None) -> Draft:
        """Make an entry ready for the journal; raise `AdmissionError` if it cannot be kept."""
        return draft(
            entry,
            command_id=command_id,
            policy_hash=policy_hash,
            limits=self.services.limits,
            new_salt=self.services.sources.new_salt,
            redactable=self.services.redactable,
        )

    def write(self, ready: Draft, *, apart: bool = False, seen: Seen | None = None) -> asyncio.Future[Receipt]:
        """Queue an entry for the journal, in one append with what its turn has just queued unless `apart`.

        What a turn writes without a wait is written whole or not at all: a full disk refuses all of it. `seen` is the
        entry as `apply` sees it, where that differs from the journaled one.
        """
        if self.invalidated_by is not None:
            raise AppendRefusedError(
                f"actor [{self.journal}] is invalid [{self.invalidated_by}]; expected one that can write: send the "
                "command again: the actor is rebuilt for it"
            )
        store, written = self.services.store, self._written
        grows = not apart and ready.command_id == self._grows_for and not self._snapshots.waiting
        if grows and written is not None and store.extend(written, ready):
            self.sequence += 1
        else:
            drafts = (*self._snapshots.riding(), ready)
            self._written = written = store.submit(Append(self.journal, self.sequence, drafts))
            self._snapshots.ride(written, spawn=self.keep_awake_for)
            self._grows_for = None if apart else ready.command_id
            self.sequence += len(drafts)
        _log.info(ready.kind, journal=self.journal, turn=ready.command_id, sequence=self.sequence)
        if self.state.wanted:
            shown = Seen(partial(decoded, ready)) if seen is None else seen
            self.state.feed(self.sequence, shown)
            if self.appended_during_rebuild is not None:
                self.appended_during_rebuild.append((self.sequence, shown))
        return written

    async def write_and_wait(self, ready: Draft) -> Receipt:
        """Append an entry that belongs to no running step, and wait until it is durable."""
        try:
            written = self.write(ready, apart=True)
            self._note(str(ready.command_id))
            return await asyncio.shield(written)
        except AppendUnknownError as unknown:
            receipt = await self.services.store.resolve(unknown)
            if receipt is not None:
                return receipt
            self.invalidate(unknown)
            raise
        except LoomError as error:
            self.invalidate(error)
            raise self.refusal(error) from error

    @property
    def written(self) -> asyncio.Future[Receipt] | None:
        """The append that was queued last, if its result is not known yet."""
        return None if self._written is None or self._written.done() else self._written

    def fold(self, until: int) -> None:
        """Fold the entries up to a sequence into the shared state; an `apply` that raises stops the actor."""
        try:
            self.state.until(until)
        except ActorStoppedError as error:
            self._owner.stop_actor(self, error)
            raise

    def invalidate(self, error: LoomError) -> None:
        """Make the cell invalid: what it knows of its journal may be wrong. The next cell resumes its turns."""
        if self.invalidated_by is not None:
            return
        self.invalidated_by = error
        self._owner.on_invalidated(self)
        _log.warning("actor_given_up", journal=self.journal, error=str(error))
        for turn in self._empty():
            # Whether its command is in the journal is known when its append has returned.
            turn.accepted.add_done_callback(partial(_refuse, turn, error))
        for turn in list(self.turns.values()):
            turn.stop(turn.cut_short(error))
        self.asleep.leave()

    def drop_snapshot(self) -> None:
        """Discard a snapshot that is not stored yet."""
        self._snapshots.drop()

    def refusal(self, error: LoomError) -> LoomError:
        """Return why something was not appended: an append after a failed one failed because of that one."""
        if isinstance(error, SequenceConflictError) and self.invalidated_by is not None:
            return self.invalidated_by
        return error

    def write_together(self, drafts: tuple[Draft, ...]) -> asyncio.Future[Receipt]:
        """Queue entries of several turns for the journal: all of them are written, or none."""
        self._written = written = self.services.store.submit(Append(self.journal, self.sequence, drafts))
        written.add_done_callback(self._accepted)
        self._grows_for = None
        for ready in drafts:
            self.sequence += 1
            _log.info(ready.kind, journal=self.journal, turn=ready.command_id, sequence=self.sequence)
            self._feed(Seen(partial(decoded, ready)))
            self._note(str(ready.command_id))
        return written

    def _feed(self, shown: Seen) -> None:
        if self.state.wanted:
            self.state.feed(self.sequence, shown)
            if self.appended_during_rebuild is not None:
                self.appended_during_rebuild.append((self.sequence, shown))

    # --- commands -------------------------------------------------------------------------------

    def accept(
        self,
        command: Command[Any],
        entry: CommandReceivedEntry,
        in_text: EntryText,
        command_id: str,
        policy: PolicyVersion,
        *,
        at: datetime | None = None,
    ) -> Turn:
        """Journal a new command, and begin its turn when the lock is free; a full mailbox refuses the command.

        `in_text` is the same as `entry`, as it will be written. A message is kept, or given to the turn that waits for
        it; a command that begins `at` a time is not in memory until then.
        """
        self.last_used = time.monotonic()
        if command.is_message:
            self.inbox.check_room()
        elif len(self._mailbox) >= self.services.options.mailbox_size:
            raise MailboxFullError(
                f"mailbox of [{self.journal}] holds [{len(self._mailbox)}] commands; expected fewer than "
                f"[{self.services.options.mailbox_size}]: wait for replies before sending more, or "
                "raise actors.mailbox_size"
            )
        accepted = self.write(self.draft(in_text, command_id=command_id, policy_hash=policy.hash_bytes))
        accepted.add_done_callback(self._accepted)
        turn = Turn(
            self, command, entry, command_id=command_id, sequence=self.sequence, policy=policy, accepted=accepted
        )
        self.open[command_id] = self.sequence
        if command.is_message:
            self.inbox.keep(command_id, command.command_type, policy.hash_bytes)
        elif at is not None:
            begin_at(self, turn, at)
            self.asleep.put(turn.command_id, (turn.sequence, self.sequence))
        else:
            self.turns[command_id] = turn
            self._mailbox.append(turn)
            if self.lock.free:
                self.start_next()
        return turn

    def wait_is_over(self, command_id: str, step: Step | None) -> None:
        """Let a turn go on whose wait has ended by itself."""
        turn = self.turns.get(command_id)
        if step is not None and self.inbox.time_out(command_id, step):
            return
        if turn is not None and step is not None:
            turn.parking.end(step, None)
        elif turn is None:
            self.asleep.wake(command_id)

    def let_go(self, turn: Turn) -> None:
        """Remove a turn that only waits from memory; what ends one of its waits has it driven again."""
        command_id, timer = turn.command_id, self.services.timer
        waits = tuple(sorted(key for key in turn.parking.keys if isinstance(key, Step)))
        entry = TurnParkedEntry(waits=waits, until=timer.until((self.journal, command_id)))
        written = self.write(self.draft(entry, command_id=command_id, policy_hash=turn.policy.hash_bytes), apart=True)
        written.add_done_callback(self._accepted)
        turn.entries.append(self.sequence)
        del self.turns[command_id]
        self.asleep.put(command_id, turn.entries, callers=turn.callers, leaving=turn.task)
        turn.callers, turn.let_go = [], True
        turn.stop(turn.shut_down())

    def _note(self, command_id: str) -> None:
        """Note that an entry was written for a turn from outside."""
        turn = self.turns.get(command_id)
        if turn is None:
            self.asleep.note(command_id, self.sequence)
        else:
            turn.entries.append(self.sequence)

    def start_next(self) -> None:
        """Begin the turn of the command that has waited longest; called when the lock is free."""
        if self._mailbox and self.invalidated_by is None and not self._owner.closing:
            turn = self._mailbox.pop(0)
            self.lock.claim(turn)
            self.run_turn(turn)

    def run_turn(self, turn: Turn) -> None:
        """Run a turn in a task of its own."""
        turn.actor = turn.actor or self.actor
        turn.task = self.keep_awake_for(drive(turn), name=str(turn))

    def keep_awake_for(self, work: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Run something that keeps the cell awake, in the context in which the loom was opened."""
        task = self.spawn(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Run something in the context in which the loom was opened."""
        return self._owner.spawn(work, name=name)

    def in_background(self, work: Coroutine[Any, Any, None], *, name: str) -> Child[None]:
        """Run something that is cancelled when the loom closes."""
        return self._owner.in_background(work, name=name)

    def ended(self, command_id: str, receipt: Receipt | None) -> None:
        """Note that a turn has ended, once its end is durable; take a snapshot if one is due."""
        self.open.pop(command_id, None)
        self.stuck.pop(command_id, None)
        self.services.requests.ended(self.journal, command_id)
        if (self.journal, command_id) in self.services.timer.times:
            self.services.timer.forget_turn((self.journal, command_id))
        if self.inbox.types or self.inbox.steps:
            self.inbox.ended(command_id)
        if self.asleep.entries:
            self.asleep.ended(command_id)
        self.last_used = time.monotonic()
        if receipt is None or not self._snapshots.due(receipt.sequence):
            return
        with suppress(ActorStoppedError):  # the turn has ended, whatever `apply` makes of it
            self.fold(receipt.sequence)
        self._take_snapshot(receipt.sequence, receipt.entry_hash)

    def _take_snapshot(self, sequence: int, entry_hash: bytes) -> None:
        self._snapshots.take(self.state, sequence, entry_hash, unfinished=self.open, spawn=self.keep_awake_for)

    async def failed(self, *, counts: bool = True) -> None:
        """Rebuild the actor after one of its turns has failed; where it `counts`, stop it after too many failures."""
        stopped = self.failures.too_many(self.journal) if counts else None
        if stopped is not None:
            self._owner.stop_actor(self, stopped)
        else:
            try:
                await rebuild(self, folded=self.sequence)
            except LoomError as error:
                self.invalidate(error)
            except Exception as error:  # its constructor or its first state: user code
                self._owner.stop_actor(self, construction_failed(self.journal, error))

    # --- the end --------------------------------------------------------------------------------

    def leave(self, turn: Turn) -> None:
        """Remove a turn that does not run any more, or never ran."""
        if self.turns.get(turn.command_id) is turn:
            del self.turns[turn.command_id]
        if turn in self._mailbox:
            self._mailbox.remove(turn)
        turn.close()

    def stop(self, why: Callable[[Turn], LoomError]) -> list[asyncio.Task[Any]]:
        """Interrupt every turn, and return the tasks that are still ending; a later cell resumes the turns."""
        for turn in self._empty():
            turn.refuse(why(turn))
        for turn in list(self.turns.values()):
            turn.stop(why(turn))
        self.asleep.leave()
        return list(self._tasks)

    def _empty(self) -> list[Turn]:
        """Remove every turn from the mailbox."""
        waiting = list(self._mailbox)
        for turn in waiting:
            self.leave(turn)
        return waiting

    def _accepted(self, accepted: asyncio.Future[Receipt]) -> None:
        """Become invalid at once where a command could not be journaled: nothing after it can be journaled either."""
        error = None if accepted.cancelled() else accepted.exception()
        if isinstance(error, LoomError) and not isinstance(error, AppendUnknownError):
            self.invalidate(error)


def _refuse(turn: Turn, error: LoomError, _: object) -> None:
    turn.refuse(turn.cut_short(error))
