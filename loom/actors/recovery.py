"""Recovery of an actor from its journal: its state, and its interrupted turns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from pydantic import ValidationError

from loom.actors.actor import Actor, commands_of
from loom.actors.change_entries import VersionMarkedEntry
from loom.actors.checkpoints import Refold, refolded
from loom.actors.command import COMMANDS
from loom.actors.entries import EffectIntendedEntry, EffectPerformedEntry
from loom.actors.ports import TurnHost
from loom.actors.protected import opened_payload
from loom.actors.protected_entries import seen_by_apply
from loom.actors.protected_steps import gone_of_steps
from loom.actors.services import Services
from loom.actors.snapshots import is_journaled, opened_snapshot
from loom.actors.state import Fold
from loom.actors.steps import RecordedSteps, UnorderedSteps, step_of
from loom.actors.taking_up import TakenUp, taken_up
from loom.actors.turn import NOT_RESUMABLE, Turn
from loom.actors.verbs.effect import in_doubt
from loom.actors.verbs.protected_lookup import stop_if_lost
from loom.actors.waits import begins_late, end_again
from loom.decisions.entries import ContextGatheredEntry, ends_approval
from loom.errors import ActorStoppedError, JournalBusyError, LoomError, NotReplayableError, TurnStuckError
from loom.journal.entry import Entry, Recorded, Step
from loom.journal.kinds import (
    ENDINGS,
    CommandReceivedEntry,
    TurnDivergedEntry,
    TurnResumedEntry,
    TurnRetriedEntry,
    TurnStartedEntry,
)
from loom.journal.store import Head, Receipt
from loom.policies.registry import PolicyVersion
from loom.sealing.wording import problems

__all__ = ["Recovered", "receipt_of", "recover", "replayed_turn", "resumed_turn"]

_TAKEOVERS_PER_ATTEMPT = 10
"""A turn that ends each process that runs it must not go through all of them for ever."""

_Compare: TypeAlias = Callable[[Recorded, Entry], None]


@dataclass(slots=True)
class Recovered:
    """The result of reading a journal: its last sequence, and the entries of each turn without an end, oldest first."""

    sequence: int = 0
    snapshot: int = 0
    """The sequence of the snapshot from which it was read, 0 without one."""
    entry_hash: bytes = b""
    """The hash of the last entry."""
    unfinished: list[list[Recorded]] = field(default_factory=list)


async def recover(
    services: Services,
    cls: type[Actor[Any]],
    journal: str,
    fold: Fold,
    *,
    until: int | None = None,
    head: Head | None = None,
) -> Recovered:
    """Read a journal from its snapshot on, all of it or up to a sequence, and fold it; `head` is given if it is known.

    Raises `ActorPrunedError` where bodies are gone that no checkpoint of the state covers.
    """
    if (head or await services.store.head(journal)).sequence == 0:
        return Recovered()
    begin = await _begin(services, cls, journal, fold, until=until)
    refold = Refold(services, fold, journal)
    recovered = await _read(services, journal, refold, begin, until=until)
    if not refold.check():
        fold.reset()
        refold = refold.again()
        recovered = await _read(services, journal, refold, (0, 0), until=until)
        refold.check()
    if until is None and head is not None and recovered.sequence < head.sequence:
        raise JournalBusyError(
            f"journal [{journal}] was read up to sequence [{recovered.sequence}]; expected [{head.sequence}], its head "
            "when it was acquired: the reader is behind; try again"
        )
    return recovered


async def _read(
    services: Services, journal: str, refold: Refold, begin: tuple[int, int], *, until: int | None
) -> Recovered:
    recovered = Recovered()
    read_after, recovered.snapshot = begin
    turns: dict[str, list[Recorded]] = {}
    async for recorded in services.store.read(journal, after=read_after, until=until):
        recovered.sequence, recovered.entry_hash = recorded.sequence, recorded.entry_hash
        if recorded.sequence > recovered.snapshot:
            await refold.take(recorded)
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


async def _begin(
    services: Services, cls: type[Actor[Any]], journal: str, fold: Fold, *, until: int | None
) -> tuple[int, int]:
    """Return after which sequence to read and after which to fold: a valid snapshot shortens both."""
    kept = None if services.snapshots is None else await services.snapshots.get(journal)
    if kept is None or (kept.actor_type, kept.state_version) != (cls.actor_type, cls.state_version):
        return 0, 0
    if until is not None and kept.sequence > until:
        return 0, 0
    if not await is_journaled(services.store, kept) or (opened := await opened_snapshot(services, kept)) is None:
        return 0, 0
    snapshot, subjects = opened
    if fold.start(snapshot, at=kept.sequence, subjects=subjects):
        return min([kept.sequence, *snapshot.unfinished.values()]) - 1, kept.sequence
    return 0, 0


def receipt_of(recorded: Recorded) -> Receipt:
    """Return the receipt that the append of a recorded entry had."""
    return Receipt(recorded.journal, recorded.sequence, recorded.position, recorded.entry_hash, recorded.recorded_at_us)


# --- interrupted turns --------------------------------------------------------------------------


async def resumed_turn(host: TurnHost, entries: Sequence[Recorded]) -> Turn | LoomError:
    """Return the turn that these entries begin, ready to be resumed; or why it has to wait for a person."""
    command_id = entries[0].command_id
    try:
        attempts, takeovers, may_repeat = _attempts(entries)
        limit = host.services.options.resume_attempts
        if attempts >= limit or takeovers >= limit * _TAKEOVERS_PER_ATTEMPT:
            return TurnStuckError(
                f"turn [{host.journal}#{command_id}] was resumed [{attempts + takeovers}] times without progress; "
                "expected it to end: correct the cause, then `loom turns retry`, or `loom turns abandon`"
            )
        if attempts + takeovers and not may_repeat and (action := _in_doubt(entries)) is not None:
            return in_doubt(f"{host.journal}#{command_id}", action)
        earlier = await taken_up(host.services.store, entries)
        turn = await _turn(host, entries, earlier=earlier)
        turn.attempt, turn.may_repeat = 0 if begins_late(entries) else attempts + 1, may_repeat
        turn.taken_over = entries[-1].sequence <= host.taken_over_at
        last = entries[-1].entry
        turn.diverged = last if isinstance(last, TurnDivergedEntry) else None
        whole = _whole(entries, earlier)
        if any(step_of(recorded) is not None for recorded in whole):
            await _give_recorded_steps(turn, whole, before_last=turn.continue_live)
    except ActorStoppedError:
        raise
    except (LoomError, ValidationError) as error:
        words = problems(error, hides=True) if isinstance(error, ValidationError) else str(error)
        return TurnStuckError(
            f"turn [{host.journal}#{command_id}] cannot be read [{words}]; expected entries that this code can read: "
            "correct the code, then `loom turns retry`, or `loom turns abandon`"
        )
    return turn


async def replayed_turn(
    host: TurnHost, entries: Sequence[Recorded], *, compare: _Compare, under: PolicyVersion | None = None
) -> Turn:
    """Return a finished turn, ready to be replayed with its recorded steps only.

    Under a policy version other than its own, steps are returned in any order: its code may leave some out.
    """
    host.sequence = entries[-1].sequence
    earlier = await taken_up(host.services.store, entries)
    turn = await _turn(host, entries, replayed=True, earlier=earlier)
    turn.compare = compare if earlier is None else partial(_compared_own, turn.command_id, compare)
    recorded = _whole([each for each in entries if each.kind not in ENDINGS], earlier)
    await _give_recorded_steps(turn, recorded, before_last=_stay_in_replay, in_order=under is None)
    if under is not None:
        turn.policy = under
        turn.counterfactual = True
    return turn


def _whole(entries: Sequence[Recorded], earlier: TakenUp | None) -> Sequence[Recorded]:
    """Return the entries of a turn, after those that it takes up."""
    return entries if earlier is None else [*earlier.entries, *entries]


def _compared_own(command_id: str, compare: _Compare, recorded: Recorded, again: Entry) -> None:
    """Compare an entry of the turn itself; those that it takes up have ids of the earlier turn."""
    if recorded.command_id == command_id:
        compare(recorded, again)


async def _turn(
    host: TurnHost, entries: Sequence[Recorded], *, replayed: bool = False, earlier: TakenUp | None = None
) -> Turn:
    """Return the turn that recorded entries begin, with the answers that people have given it."""
    first, received = entries[0], entries[0].entry
    if not isinstance(received, CommandReceivedEntry) or first.command_id is None:
        raise NotReplayableError(
            f"command [{first.command_id}] of journal [{host.journal}] was erased; expected its body: abandon the turn",
            reason=f"{NOT_RESUMABLE}: erased",
        )
    accepted: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
    accepted.set_result(receipt_of(first))
    commands = commands_of(host.cls)
    payload, lost = await opened_payload(host.services.vault, received, commands)
    turn = Turn(
        host,
        COMMANDS.decode(received.command_type, payload, among=commands),
        received,
        command_id=first.command_id,
        sequence=first.sequence,
        policy=host.services.policies.resolve_hash(first.policy_hash or b""),
        accepted=accepted,
    )
    turn.entries = [each.sequence for each in entries]
    turn.taken_up = earlier
    entries = _whole(entries, earlier)
    lost = lost or gone_of_steps(host.services.vault, entries)
    if lost is not None:
        turn.halt(turn.gone(lost, replayed=replayed))
    end_again(turn, entries)
    for recorded in entries:
        if isinstance(recorded.entry, VersionMarkedEntry):
            turn.versions[recorded.entry.change] = recorded.entry.version
        elif ends_approval(recorded.entry):
            turn.parking.end(recorded.entry.approval_id, (recorded.entry, recorded.recorded_at, recorded.reference))
        if recorded.body is None:
            turn.halt(turn.not_resumable("erased"))
        elif isinstance(recorded.entry, ContextGatheredEntry) and recorded.entry.protected:
            stop_if_lost(turn, recorded.entry, replayed=replayed)
    return turn


async def _give_recorded_steps(
    turn: Turn, entries: Sequence[Recorded], *, before_last: Callable[[], Awaitable[None]], in_order: bool = True
) -> None:
    """Give a turn its recorded steps and its own actor instance, with the state that it saw when it began."""
    host = turn.host
    actor: Actor[Any] = host.new_actor()
    turn.actor = actor
    fold = Fold(actor)
    if fold.wanted:
        beginning = _beginning(entries)
        await refolded(host.services, fold, host.journal, until=beginning)
        async for recorded in host.services.store.read(host.journal, after=beginning, until=entries[-1].sequence):
            seen = await seen_by_apply(host.services, recorded)
            fold.feed(recorded.sequence, seen)
        turn.saw_erased = fold.has_erased
    else:
        actor._state_ref = host.state_ref

    def released(recorded: Recorded) -> None:
        try:
            fold.until(recorded.sequence)
        except ActorStoppedError as error:
            turn.stop(error)

    make = RecordedSteps if in_order else UnorderedSteps
    turn.recorded_steps = make(entries, released=released, before_last=before_last)


async def _stay_in_replay() -> None:
    """Do nothing before the last recorded step: a replay never continues for real."""


def _beginning(entries: Sequence[Recorded]) -> int:
    """Return the sequence up to which a turn saw the state when it began."""
    beginning = entries[0].sequence
    for recorded in entries:
        if step_of(recorded) is not None:
            break
        if recorded.kind in (TurnStartedEntry.kind, TurnResumedEntry.kind):
            beginning = recorded.sequence
    return beginning


def _attempts(entries: Sequence[Recorded]) -> tuple[int, int, bool]:
    """Count how often a turn was resumed since its last progress, and tell whether a person retried it since.

    Resumptions by another process than the one before are counted apart: they say nothing about the turn. The next
    resumption uses the permission of that person up: if it is interrupted as well, the turn is in doubt again.
    """
    attempts, takeovers, may_repeat = 0, 0, False
    for recorded in entries:
        if recorded.kind == TurnResumedEntry.kind:
            taken_over = isinstance(recorded.entry, TurnResumedEntry) and recorded.entry.takeover
            attempts, takeovers, may_repeat = attempts + (not taken_over), takeovers + taken_over, False
        elif recorded.kind == TurnRetriedEntry.kind:
            attempts, takeovers, may_repeat = 0, 0, True
        elif step_of(recorded) is not None:
            attempts, takeovers, may_repeat = 0, 0, False
    return attempts, takeovers, may_repeat


def _in_doubt(entries: Sequence[Recorded]) -> str | None:
    """Return the action of an effect that was begun, must not be repeated, and has no result."""
    begun: dict[Step | None, str] = {}
    for recorded in entries:
        entry = recorded.entry
        if isinstance(entry, EffectIntendedEntry) and not entry.repeatable:
            begun[entry.step] = entry.action
        elif isinstance(entry, EffectPerformedEntry):
            begun.pop(entry.step, None)
    return next(iter(begun.values()), None)
