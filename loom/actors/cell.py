"""A cell: one actor while it is awake. It alone appends to its journal, runs its turns and folds its state.

Who may call what, when. All of it on the event loop of the loom.

- The owner makes a cell, awaits `wake` once, then `resume`s what that returned; from then on it may `accept` commands,
  and `stop` it.
- Turns and their runner use what `TurnHost` names: see `ports`.
- What is done about a turn from outside (`interventions`) runs in `keep_awake_for`, under `operator_lock`.

What holds: `sequence` is that of the last entry in line, so an append that expects another one was overtaken, and the
cell is invalid from then on: nothing is written by it any more, its turns are cut short, and the owner wakes another
cell, which reads what the journal holds. `open` has every turn without an ending, `turns` those of them that wait or
run here, `stuck` those that wait for a person. The shared state is folded up to the last entry of the turn that has
the lock, never further.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from loom.actors.actor import Actor
from loom.actors.command import Command
from loom.actors.failures import Failures, construction_failed
from loom.actors.ports import Messenger, Seen, StateRef
from loom.actors.rebuilding import rebuild
from loom.actors.recovery import recover, resumed_turn
from loom.actors.services import Services
from loom.actors.snapshots import SnapshotKeeper
from loom.actors.state import Fold
from loom.actors.turn import Turn
from loom.actors.turn_lock import TurnLock
from loom.actors.turn_runner import drive
from loom.errors import (
    ActorStoppedError,
    AppendRefusedError,
    AppendUnknownError,
    LoomError,
    MailboxFullError,
    SequenceConflictError,
)
from loom.identity import parse_journal_name
from loom.journal.entry import Entry, Recorded
from loom.journal.kinds import CommandReceivedEntry
from loom.journal.serialisation import EntryText
from loom.journal.store import Append, Draft, Receipt, decoded, draft
from loom.policies.registry import PolicyVersion
from loom.telemetry import get_logger

__all__ = ["Cell"]

T = TypeVar("T")

_log = get_logger("loom.actors")


class CellOwner(Protocol):
    """What a cell asks of the system that woke it."""

    services: Services
    resumes: bool
    """Whether turns that were cut short are driven again here."""
    closing: bool
    """Whether nothing more is taken."""

    @property
    def messenger(self) -> Messenger:
        """Sends commands to other actors."""
        ...

    def make(self, cls: type[Actor[Any]]) -> Actor[Any]:
        """Make an instance of an actor class."""
        ...

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Run something in the context in which the loom was opened."""
        ...

    def in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something that is let go when the loom closes."""
        ...

    def on_invalidated(self, cell: Cell) -> None:
        """Let a cell go that could not write."""
        ...

    def stop_actor(self, cell: Cell, error: LoomError) -> None:
        """Take no more commands for an actor."""
        ...


class Cell:
    """Made by `ActorSystem` when an actor is first spoken to, and let go when it has been idle."""

    def __init__(self, owner: CellOwner, cls: type[Actor[Any]], journal: str) -> None:
        self.services: Services = owner.services
        self.messenger: Messenger = owner.messenger
        self.cls = cls
        self.journal = journal
        self.key = parse_journal_name(journal).key
        self.sequence = 0
        """The sequence of the last entry that was put in line."""
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
        """Held while something is done about a turn from outside it: answered, retried, abandoned."""
        self.rebuilding = asyncio.Lock()
        """Held while the state is folded again."""
        self.appended_during_rebuild: list[tuple[int, Seen]] | None = None
        """What is put in line meanwhile."""
        self._owner = owner
        self._mailbox: list[Turn] = []  # an empty deque takes 760 bytes
        self._tasks: set[asyncio.Task[Any]] = set()
        self._written: asyncio.Future[Receipt] | None = None
        self._grows_for: str | None = None
        """The turn whose next entry goes into the append that was put in line last, as long as that is in line."""
        self._snapshots = SnapshotKeeper(self.services, cls, journal)
        self.actor = self.new_actor()
        self.state = Fold(self.actor)

    @property
    def state_ref(self) -> StateRef:
        """Where the shared state lies."""
        return self.state.actor._state_ref

    @property
    def holds_subjects(self) -> bool:
        """Whether values of subjects may be in the state."""
        return bool(self.state.subjects)

    @property
    def closing(self) -> bool:
        """Whether the loom takes nothing more."""
        return self._owner.closing

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost in memory by letting the cell go."""
        return not (self.turns or self._tasks or self.stuck)

    def new_actor(self) -> Actor[Any]:
        """Make an instance of the actor with a state of its own, at its beginning."""
        actor = self._owner.make(self.cls)
        actor.key = self.key
        actor._state_ref = StateRef(None)
        actor._state_ref.state = actor.initial_state()
        return actor

    # --- waking ---------------------------------------------------------------------------------

    async def wake(self) -> list[Turn]:
        """Read the journal: fold the state, and return the turns that were cut short, ready to be resumed."""
        recovered = await recover(self.services, self.cls, self.journal, self.state)
        self.sequence, self._snapshots.at = recovered.sequence, recovered.snapshot
        self.open = {str(entries[0].command_id): entries[0].sequence for entries in recovered.unfinished}
        # Here as well: an actor that is spoken to now and then would never have one that is used.
        if self._snapshots.due(recovered.sequence):
            self._take_snapshot(recovered.sequence, recovered.entry_hash)
        return await self.resumable(recovered.unfinished) if self._owner.resumes else []

    async def resumable(self, unfinished: Iterable[list[Recorded]]) -> list[Turn]:
        """Return turns that were cut short, ready to be driven again; those that wait for a person are stuck."""
        turns = []
        for entries in unfinished:
            turn = await resumed_turn(self, entries)
            if isinstance(turn, Turn):
                turns.append(turn)
            else:
                self.stuck[str(entries[0].command_id)] = turn
                _log.warning("turn_stuck", journal=self.journal, turn=entries[0].command_id, error=str(turn))
        return turns

    def resume(self, turns: Iterable[Turn]) -> None:
        """Drive turns again in the order in which they were received: what ran goes on first, what waited waits."""
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
        )

    def write(self, ready: Draft, *, apart: bool = False, seen: Seen | None = None) -> asyncio.Future[Receipt]:
        """Put an entry in line for the journal, in one append with what its turn has just put there unless `apart`.

        What a turn writes without a wait is written whole or not at all: a full disk refuses all of it. `seen` is the
        entry as `apply` sees it, where that is not as it is journaled.
        """
        if self.invalidated_by is not None:
            raise AppendRefusedError(
                f"actor [{self.journal}] was given up [{self.invalidated_by}]; expected one that is awake: it is "
                "rebuilt at the next command"
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
            return await asyncio.shield(self.write(ready, apart=True))
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
        """What was put in line last, if that is not decided yet."""
        return None if self._written is None or self._written.done() else self._written

    def fold(self, until: int) -> None:
        """Fold the entries up to a sequence into the shared state; an `apply` that raises stops the actor."""
        try:
            self.state.until(until)
        except ActorStoppedError as error:
            self._owner.stop_actor(self, error)
            raise

    def invalidate(self, error: LoomError) -> None:
        """Give the cell up: what it knows of its journal is not so any more. Its turns are resumed by the next one."""
        if self.invalidated_by is not None:
            return
        self.invalidated_by = error
        self._owner.on_invalidated(self)
        _log.warning("actor_given_up", journal=self.journal, error=str(error))
        for turn in self._empty():
            # Whether its command stands is known when the append of it has come back.
            turn.accepted.add_done_callback(partial(_refuse, turn, error))
        for turn in list(self.turns.values()):
            turn.stop(turn.cut_short(error))

    def drop_snapshot(self) -> None:
        """Forget a snapshot that waits to be kept."""
        self._snapshots.drop()

    def refusal(self, error: LoomError) -> LoomError:
        """Return why something was not appended: what came after a failed append failed because of that one."""
        if isinstance(error, SequenceConflictError) and self.invalidated_by is not None:
            return self.invalidated_by
        return error

    # --- commands -------------------------------------------------------------------------------

    def accept(
        self,
        command: Command[Any],
        entry: CommandReceivedEntry,
        in_text: EntryText,
        command_id: str,
        policy: PolicyVersion,
    ) -> Turn:
        """Journal a command that is new, and begin its turn when it is its turn; a full mailbox refuses.

        `in_text` is the same as `entry`, as it will be written.
        """
        self.last_used = time.monotonic()
        if len(self._mailbox) >= self.services.options.mailbox_size:
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
        self.turns[command_id] = turn
        self.open[command_id] = self.sequence
        self._mailbox.append(turn)
        if self.lock.free:
            self.start_next()
        return turn

    def start_next(self) -> None:
        """Begin the turn of the command that has waited longest; called when the slot is free."""
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

    def in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something that is let go when the loom closes."""
        return self._owner.in_background(work)

    def ended(self, command_id: str, receipt: Receipt | None) -> None:
        """Take note that a turn has come to its end for good, which is durable; keep a snapshot if it is time."""
        self.open.pop(command_id, None)
        self.stuck.pop(command_id, None)
        self.services.requests.ended(self.journal, command_id)
        self.last_used = time.monotonic()
        if receipt is None or not self._snapshots.due(receipt.sequence):
            return
        with suppress(ActorStoppedError):  # the turn has ended, whatever `apply` makes of it
            self.fold(receipt.sequence)
        self._take_snapshot(receipt.sequence, receipt.entry_hash)

    def _take_snapshot(self, sequence: int, entry_hash: bytes) -> None:
        self._snapshots.take(self.state, sequence, entry_hash, unfinished=self.open, spawn=self.keep_awake_for)

    async def failed(self, *, counts: bool = True) -> None:
        """Rebuild the actor after a turn of it has failed; stop it when that happens too often, where it `counts`."""
        stopped = self.failures.too_many(self.journal) if counts else None
        if stopped is not None:
            self._owner.stop_actor(self, stopped)
        else:
            try:
                await rebuild(self, folded=self.sequence)
            except LoomError as error:
                self.invalidate(error)
            except Exception as error:  # its constructor or its first state: code of a user's
                self._owner.stop_actor(self, construction_failed(self.journal, error))

    # --- the end --------------------------------------------------------------------------------

    def leave(self, turn: Turn) -> None:
        """Let a turn go that does not run any more, or never did."""
        self.turns.pop(turn.command_id, None)
        if turn in self._mailbox:
            self._mailbox.remove(turn)
        turn.close()

    def stop(self, why: Callable[[Turn], LoomError]) -> list[asyncio.Task[Any]]:
        """Cut every turn short, and return the tasks that are still on their way out; a later cell resumes them."""
        for turn in self._empty():
            turn.refuse(why(turn))
        for turn in list(self.turns.values()):
            turn.stop(why(turn))
        return list(self._tasks)

    def _empty(self) -> list[Turn]:
        """Take every turn out of the mailbox."""
        waiting = list(self._mailbox)
        for turn in waiting:
            self.leave(turn)
        return waiting

    def _accepted(self, accepted: asyncio.Future[Receipt]) -> None:
        """Give up at once where a command could not be journaled: nothing that came after it can be either."""
        error = None if accepted.cancelled() else accepted.exception()
        if isinstance(error, LoomError) and not isinstance(error, AppendUnknownError):
            self.invalidate(error)


def _refuse(turn: Turn, error: LoomError, _: object) -> None:
    turn.refuse(turn.cut_short(error))
