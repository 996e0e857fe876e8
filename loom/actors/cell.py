"""A cell: one actor while it is awake. It alone appends to its journal, runs its turns and folds its state."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from loom.actors import driving
from loom.actors.actor import Actor, Held
from loom.actors.command import Command
from loom.actors.recovery import Recovered, recover, resumed_turn
from loom.actors.services import Services
from loom.actors.state import Fold
from loom.actors.turn import Slot, Turn
from loom.decisions.entries import ApprovalAnsweredEntry, ApprovalEscalatedEntry
from loom.errors import (
    AppendRefusedError,
    AppendUnknownError,
    LoomError,
    MailboxFullError,
    TurnAbandonedError,
    TurnInterruptedError,
    TurnNotFoundError,
)
from loom.identity import parse_journal_name
from loom.journal.entry import KINDS, Entry
from loom.journal.kinds import CommandReceivedEntry, TurnAbandonedEntry, TurnRetriedEntry
from loom.journal.store import Append, Draft, Receipt, draft
from loom.clock import datetime_from_us
from loom.policies.registry import PolicyVersion
from loom.telemetry import get_logger

if TYPE_CHECKING:
    from loom.actors.system import ActorSystem

__all__ = ["Cell"]

_log = get_logger("loom.actors")


class Cell:
    """Made by `ActorSystem` when an actor is first spoken to, and let go when it has been idle."""

    def __init__(self, system: ActorSystem, cls: type[Actor[Any]], journal: str) -> None:
        self.system = system
        self.services: Services = system.services
        self.cls = cls
        self.journal = journal
        self.key = parse_journal_name(journal).key
        self.sequence = 0
        self.slot = Slot(self.start_next)
        self.turns: dict[str, Turn] = {}
        self.stuck: dict[str, LoomError] = {}
        self.mailbox: deque[Turn] = deque()
        self.dead: BaseException | None = None
        self.last_used = time.monotonic()
        self.snapshot_at = 0
        self.actor = self.new_actor()
        self.state = Fold(self.actor)
        self.open_tasks: set[asyncio.Task[None]] = set()

    @property
    def held(self) -> Held:
        """Where the shared state lies."""
        return self.state.actor._held

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost in memory by letting the cell go."""
        return not self.turns and not self.mailbox and not self.open_tasks

    def new_actor(self) -> Actor[Any]:
        """Make an instance of the actor with a state of its own, at its beginning."""
        actor = self.system.make(self.cls)
        actor.key = self.key
        actor._held = Held(None)
        actor._held.state = actor.initial_state()
        return actor

    # --- waking ---------------------------------------------------------------------------------

    async def wake(self) -> None:
        """Read the journal: fold the state, and find the turns that were cut short."""
        recovered = await recover(self.services, self.cls, self.journal, self.state)
        self.sequence = self.snapshot_at = recovered.sequence
        if recovered.unfinished and self.system.resumes:
            await self.resume(recovered)

    async def resume(self, recovered: Recovered) -> None:
        """Drive the turns again that were cut short, in the order in which their commands were received."""
        for entries in recovered.unfinished:
            turn = await resumed_turn(self, entries, on_stuck=self.stuck.__setitem__)
            if turn is not None:
                self.turns[turn.command_id] = turn
                self.spawn(turn)

    async def rebuild(self) -> None:
        """Throw the state in memory away and fold the journal again: after a failure nobody knows what it is."""
        held = self.held
        self.actor = self.new_actor()
        fold = Fold(self.actor)
        await recover(self.services, self.cls, self.journal, fold)
        fold.until(self.sequence)
        held.state = self.actor.state
        self.actor._held = held
        self.state = fold

    # --- the journal ----------------------------------------------------------------------------

    def write(self, entry: Entry, *, command_id: str, policy_hash: bytes | None) -> asyncio.Future[Receipt]:
        """Put an entry in line for the journal."""
        if self.dead is not None:
            raise AppendRefusedError(f"actor [{self.journal}] was given up [{self.dead}]: it is rebuilt at the next command")
        ready = draft(
            entry,
            command_id=command_id,
            policy_hash=policy_hash,
            limits=self.services.limits,
            new_salt=self.services.sources.new_salt,
        )
        future = self.services.store.submit(Append(self.journal, self.sequence, (ready,)))
        self.sequence += 1
        self.state.feed(self.sequence, partial(_decoded, ready))
        return future

    async def write_and_wait(self, entry: Entry, *, command_id: str, policy_hash: bytes | None = None) -> Receipt:
        """Append an entry that belongs to no running step, and wait until it is durable."""
        try:
            return await asyncio.shield(self.write(entry, command_id=command_id, policy_hash=policy_hash))
        except AppendUnknownError as unknown:
            receipt = await self.services.store.resolve(unknown)
            if receipt is not None:
                return receipt
            self.die(unknown)
            raise
        except LoomError as error:
            if not isinstance(error, ValueError):
                self.die(error)
            raise

    def fold(self, until: int) -> None:
        """Fold the entries up to a sequence into the shared state."""
        self.state.until(until)

    def die(self, error: BaseException) -> None:
        """Give the cell up: what it knows of its journal is not so any more. Its turns are resumed by the next one."""
        if self.dead is not None:
            return
        self.dead = error
        self.system.forget(self, revive=True)
        _log.warning("actor_given_up", journal=self.journal, error=str(error))
        for turn in (*self.turns.values(), *self.mailbox):
            if turn.task is None:
                driving.refuse(turn, turn.interrupted(LoomError(str(error))).error)
            elif turn.task is not asyncio.current_task():
                turn.task.cancel()
        self.mailbox.clear()

    # --- commands -------------------------------------------------------------------------------

    def accept(self, command: Command[Any], entry: CommandReceivedEntry, command_id: str, policy: PolicyVersion) -> Turn:
        """Journal a command that is new, and begin its turn when it is its turn; a full mailbox refuses."""
        self.last_used = time.monotonic()
        if len(self.mailbox) >= self.services.options.mailbox_size:
            raise MailboxFullError(
                f"mailbox of [{self.journal}] holds [{len(self.mailbox)}] commands; expected fewer than "
                f"[{self.services.options.mailbox_size}]: wait for replies before sending more, or raise actors.mailbox_size"
            )
        turn = Turn(
            self, command, command_id=command_id, policy=policy, by=entry.by,
            correlation_id=entry.correlation_id, waiting=entry.waiting,
        )  # fmt: skip
        turn.received = self.write(entry, command_id=command_id, policy_hash=policy.hash_bytes)
        turn.received_sequence = self.sequence
        turn.entry = entry
        turn.actor = self.actor
        self.turns[command_id] = turn
        self.mailbox.append(turn)
        if self.slot.free:
            self.start_next()
        return turn

    def start_next(self) -> None:
        """Begin the turn of the command that has waited longest, if nothing runs."""
        if self.mailbox and self.slot.owner is None and self.dead is None:
            turn = self.mailbox.popleft()
            self.slot.owner = turn
            self.spawn(turn)

    def spawn(self, turn: Turn) -> None:
        """Run a turn in a task of its own."""
        turn.actor = turn.actor or self.actor
        turn.task = asyncio.get_running_loop().create_task(driving.drive(self, turn), name=str(turn))
        self.open_tasks.add(turn.task)
        turn.task.add_done_callback(self.open_tasks.discard)

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
        return await self.system.ask(actor, key, command, command_id=command_id, timeout_s=timeout_s, sender=sender)

    async def tell(
        self, actor: type[Actor[Any]], key: str, command: Command[Any], *, command_id: str, sender: Turn
    ) -> Receipt:
        """Send another actor a command on behalf of a turn and return once it is durable there."""
        return await self.system.tell(actor, key, command, command_id=command_id, sender=sender)

    # --- people ---------------------------------------------------------------------------------

    async def answer(self, entry: ApprovalAnsweredEntry | ApprovalEscalatedEntry, *, command_id: str) -> Receipt:
        """Journal what became of a request for approval; an answer lets its turn go on."""
        receipt = await self.write_and_wait(entry, command_id=command_id)
        turn = self.turns.get(command_id)
        if turn is not None and isinstance(entry, ApprovalAnsweredEntry):
            answer = turn.answer_to(entry.approval_id)
            if not answer.done():
                answer.set_result((entry, datetime_from_us(receipt.recorded_at_us)))
        return receipt

    async def retry(self, command_id: str, *, by: str, reason: str | None) -> None:
        """Let a turn try again that is stuck."""
        if command_id in self.turns:
            raise TurnNotFoundError(f"turn [{self.journal}#{command_id}] is under way; expected a stuck one: leave it be")
        await self.write_and_wait(TurnRetriedEntry(by=by, reason=reason), command_id=command_id)
        self.stuck.pop(command_id, None)
        if self.system.resumes:
            recovered = await recover(self.services, self.cls, self.journal, None)
            recovered.unfinished = [turn for turn in recovered.unfinished if turn[0].command_id == command_id]
            await self.resume(recovered)

    async def abandon(self, command_id: str, *, by: str, reason: str) -> None:
        """Give a turn up for good; its caller, if one waits, gets a `TurnAbandonedError`."""
        turn = self.turns.get(command_id)
        if turn is not None and turn.task is not None and not turn.parked:
            raise TurnNotFoundError(
                f"turn [{self.journal}#{command_id}] is running; expected one that waits or is stuck: wait for its end"
            )
        error = TurnAbandonedError(f"turn [{self.journal}#{command_id}] was abandoned by [{by}]: {reason}")
        if turn is not None:
            turn.closed = True
            if turn.task is None:
                self.mailbox.remove(turn)
            else:
                turn.task.cancel()
            self.turns.pop(command_id, None)
            driving.refuse(turn, error)
        self.stuck.pop(command_id, None)
        await self.write_and_wait(TurnAbandonedEntry(by=by, reason=reason), command_id=command_id)

    # --- the end --------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Cut every turn short; the next loom resumes them."""
        for turn in list(self.turns.values()):
            if turn.task is not None:
                turn.task.cancel()
            else:
                driving.refuse(turn, driving.cut_short(turn))
        self.mailbox.clear()

    async def keep_snapshot(self, receipt: Receipt, *, every: int) -> None:
        """Keep a snapshot if the state is worth one and nothing has been written since `receipt`."""
        if not every or receipt.sequence - self.snapshot_at < every or receipt.sequence != self.sequence:
            return
        unfinished = {turn.command_id: turn.received_sequence for turn in self.turns.values() if not turn.closed}
        if self.stuck:
            return  # what is stuck has to be found again from its beginning
        self.fold(self.sequence)
        body = self.state.snapshot(unfinished)
        self.snapshot_at = receipt.sequence
        if body is not None:
            await self.services.snapshots.put(
                self.journal,
                actor_type=self.cls.actor_type,
                state_version=self.cls.state_version,
                sequence=receipt.sequence,
                entry_hash=receipt.entry_hash,
                body=body,
            )


def _decoded(ready: Draft) -> Entry:
    """Return an entry as a reader of the journal gets it, so that live and rebuilt state are the same."""
    return KINDS.decode(ready.kind, ready.schema_version, ready.body)
