"""How an actor comes back from its journal: its state, and the turns that were cut short."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from loom.actors.actor import Actor, commands_of
from loom.actors.command import COMMANDS
from loom.actors.script import Script
from loom.actors.services import Services
from loom.actors.state import Fold, Snapshot
from loom.actors.turn import Turn
from loom.decisions.entries import ApprovalAnsweredEntry
from loom.errors import LoomError, TurnStuckError
from loom.journal.entry import Recorded
from loom.journal.kinds import (
    CommandReceivedEntry,
    TurnAbandonedEntry,
    TurnCompletedEntry,
    TurnFailedEntry,
    TurnResumedEntry,
    TurnRetriedEntry,
    TurnStartedEntry,
)
from loom.telemetry import get_logger

if TYPE_CHECKING:
    from loom.actors.cell import Cell
    from loom.actors.system import ActorSystem

__all__ = ["ENDINGS", "Recovered", "recover", "rehearsal_turn", "resumed_turn"]

ENDINGS = frozenset({TurnCompletedEntry.kind, TurnFailedEntry.kind, TurnAbandonedEntry.kind})
"""The kinds with which a turn ends for good."""

_log = get_logger("loom.actors")


@dataclass(slots=True)
class Recovered:
    """What a journal says: how far it goes, and the entries of each turn that has no end, oldest first."""

    sequence: int = 0
    unfinished: list[list[Recorded]] = field(default_factory=list)


async def recover(services: Services, cls: type[Actor[Any]], journal: str, fold: Fold | None) -> Recovered:
    """Read a journal from its snapshot on, folding it into `fold` if one is given."""
    recovered = Recovered()
    if (await services.store.head(journal)).sequence == 0:
        return recovered
    after, begin_at = await _begin(services, cls, journal, fold)
    turns: dict[str, list[Recorded]] = {}
    async for recorded in services.store.read(journal, after=after):
        recovered.sequence = recorded.sequence
        if fold is not None and recorded.sequence > begin_at:
            fold.feed(recorded.sequence, partial(getattr, recorded, "entry"))
            fold.until(recorded.sequence)
        command_id = recorded.command_id
        if command_id is None:
            continue
        if recorded.kind == CommandReceivedEntry.kind:
            turns[command_id] = [recorded]
        elif recorded.kind in ENDINGS:
            turns.pop(command_id, None)
        elif command_id in turns:
            turns[command_id].append(recorded)
    recovered.unfinished = list(turns.values())
    return recovered


async def _begin(services: Services, cls: type[Actor[Any]], journal: str, fold: Fold | None) -> tuple[int, int]:
    """Return after which sequence to read and after which to fold: a sound snapshot spares both."""
    kept = None if fold is None else await services.snapshots.get(journal)
    if kept is None or fold is None or (kept.actor_type, kept.state_version) != (cls.actor_type, cls.state_version):
        return 0, 0
    try:
        snapshot = Snapshot.model_validate_json(kept.body)
    except ValidationError:
        return 0, 0
    async for recorded in services.store.read(journal, after=kept.sequence - 1, until=kept.sequence):
        if recorded.entry_hash == kept.entry_hash and fold.start(snapshot, kept.sequence):
            return min(kept.sequence - 1, *(first - 1 for first in snapshot.unfinished.values())) if (
                snapshot.unfinished
            ) else kept.sequence - 1, kept.sequence
    return 0, 0


async def resumed_turn(
    cell: Cell, entries: list[Recorded], *, on_stuck: Callable[[str, LoomError], None]
) -> Turn | None:
    """Return the turn that these entries begin, ready to be driven again; None if it has to wait for a person."""
    command_id = str(entries[0].command_id)
    attempts, retried = _attempts(entries)
    if attempts >= cell.services.options.resume_attempts:
        error = TurnStuckError(
            f"turn [{cell.journal}#{command_id}] was resumed [{attempts}] times without getting any further; expected it to "
            "end: mend the cause, then `loom turns retry`, or `loom turns abandon`"
        )
        on_stuck(command_id, error)
        _log.warning("turn_stuck", journal=cell.journal, turn=command_id, attempts=attempts)
        return None
    try:
        turn = _turn(cell, entries)
    except (LoomError, ValidationError) as error:
        on_stuck(command_id, TurnStuckError(f"turn [{cell.journal}#{command_id}] cannot be read [{error}]: mend the code"))
        _log.warning("turn_stuck", journal=cell.journal, turn=command_id, error=str(error))
        return None
    turn.attempt, turn.retried = attempts + 1, retried
    if any(recorded.entry.step is not None for recorded in entries):
        await _rehearse(cell, turn, entries)
    else:
        turn.script = Script((), released=lambda _: None, before_last=turn.take_slot)
    return turn


def _turn(cell: Cell, entries: list[Recorded]) -> Turn:
    """Return the turn that recorded entries begin, with the answers that people have given it."""
    received = entries[0].entry
    command_id = entries[0].command_id
    assert isinstance(received, CommandReceivedEntry) and command_id is not None  # noqa: S101, PT018 - see recover
    command = COMMANDS.decode(received.command_type, received.payload, among=commands_of(cell.cls))
    policy = cell.services.policies.resolve_hash(entries[0].policy_hash or b"")
    turn = Turn(
        cell, command, command_id=command_id, policy=policy, by=received.by,
        correlation_id=received.correlation_id, waiting=received.waiting,
    )  # fmt: skip
    turn.entry = received
    turn.received_sequence = entries[0].sequence
    for recorded in entries:
        if isinstance(recorded.entry, ApprovalAnsweredEntry):
            answer = turn.answer_to(recorded.entry.approval_id)
            if not answer.done():
                answer.set_result((recorded.entry, recorded.recorded_at))
    return turn


async def rehearsal_turn(system: ActorSystem, journal: str, entries: list[Recorded]) -> Turn:
    """Return a finished turn ready to be driven again with nothing but what it once recorded."""
    cell = system.unplugged(journal)
    cell.sequence = entries[-1].sequence
    turn = _turn(cell, entries)
    turn.replaying = True
    await _rehearse(cell, turn, [recorded for recorded in entries if recorded.kind not in ENDINGS])
    return turn


async def _rehearse(cell: Cell, turn: Turn, entries: list[Recorded]) -> None:
    """Give a turn its script and an actor instance of its own, whose state is what the turn saw when it began."""
    actor = cell.new_actor()
    fold = Fold(actor)
    turn.actor, turn.joined = actor, not fold.wanted
    if fold.wanted:
        async for recorded in cell.services.store.read(cell.journal, until=cell.sequence):
            fold.feed(recorded.sequence, partial(getattr, recorded, "entry"))
        fold.until(_beginning(entries))
    else:
        actor._held = cell.held
    before_last = _nothing if turn.replaying else turn.take_slot
    turn.script = Script(entries, released=lambda recorded: fold.until(recorded.sequence), before_last=before_last)


async def _nothing() -> None:
    """What a replay does before its last recorded step: it never goes on for real."""


def _beginning(entries: list[Recorded]) -> int:
    """Return the sequence up to which a turn saw the state when it began."""
    beginning = entries[0].sequence
    for recorded in entries:
        if recorded.entry.step is not None:
            break
        if recorded.kind in (TurnStartedEntry.kind, TurnResumedEntry.kind):
            beginning = recorded.sequence
    return beginning


def _attempts(entries: list[Recorded]) -> tuple[int, bool]:
    """Count how often a turn was resumed since it last got any further, and whether a person let it try again since."""
    attempts, retried = 0, False
    for recorded in entries:
        if recorded.kind == TurnResumedEntry.kind:
            attempts += 1
        elif recorded.kind == TurnRetriedEntry.kind:
            attempts, retried = 0, True
        elif recorded.entry.step is not None:
            attempts, retried = 0, False
    return attempts, retried
