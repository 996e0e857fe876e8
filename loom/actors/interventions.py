"""Interventions on a turn, by people or by a deadline: answer a request, retry the turn, abandon it.

Each is journaled before it is reported to a caller (law 4), and runs to its end even when its caller is cancelled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from loom.actors.answers import Intervention
from loom.actors.cell import Cell
from loom.actors.system import ActorSystem
from loom.background import finished
from loom.clock import datetime_from_us
from loom.decisions.entries import ends_approval
from loom.errors import (
    ActorStoppedError,
    ApprovalAnsweredError,
    LoomError,
    TurnAbandonedError,
    TurnNotFoundError,
    UnknownActorError,
)
from loom.identity import short
from loom.journal.appending import append_last
from loom.journal.entry import Entry, StepReference
from loom.journal.kinds import TurnAbandonedEntry, TurnRetriedEntry
from loom.journal.store import draft

__all__ = ["abandon", "answer", "note", "retry"]


async def answer(system: ActorSystem, journal: str, command_id: str, entry: Intervention) -> None:
    """Journal the answer to a request for approval; it lets the turn continue, if it decides."""

    async def in_cell(cell: Cell) -> None:
        turn = cell.turns.get(command_id)
        if turn is not None and turn.parking.ended(entry.approval_id):
            raise ApprovalAnsweredError(
                f"approval [{short(entry.approval_id)}] was answered just now; expected one that is pending: see "
                "`loom approvals`"
            )
        ready = cell.draft(entry, command_id=command_id)
        if turn is not None and ends_approval(entry):
            # It must not be let go now: it would be asleep, by an entry after its answer.
            turn.parking.ends_soon(entry.approval_id)
        receipt = await cell.write_and_wait(ready)
        turn = cell.turns.get(command_id)
        if not ends_approval(entry):
            return
        if turn is not None:
            answered_at = datetime_from_us(receipt.recorded_at_us)
            answer_step = StepReference(receipt.sequence, ready.body_digest.hex())
            turn.parking.end(entry.approval_id, (entry, answered_at, answer_step))
        else:
            cell.asleep.wake(command_id)

    await _do(system, journal, command_id, entry, in_cell)


async def note(system: ActorSystem, journal: str, command_id: str, entry: Entry) -> None:
    """Journal an entry for a turn that lets nothing continue."""

    async def in_cell(cell: Cell) -> None:
        await cell.write_and_wait(cell.draft(entry, command_id=command_id))

    await _do(system, journal, command_id, entry, in_cell)


async def retry(system: ActorSystem, journal: str, command_id: str, entry: TurnRetriedEntry) -> None:
    """Retry a stuck turn."""

    async def in_cell(cell: Cell) -> None:
        if command_id in cell.turns or command_id in cell.asleep:
            raise TurnNotFoundError(
                f"turn [{journal}#{command_id}] is under way; expected a stuck one: wait for its end"
            )
        await cell.write_and_wait(cell.draft(entry, command_id=command_id))
        cell.stuck.pop(command_id, None)
        if system.resumes:
            entries = cell.services.store.read(journal, after=cell.open[command_id] - 1)
            mine = [recorded async for recorded in entries if recorded.command_id == command_id]
            cell.resume(await cell.resumable([mine]))
            cell.inbox.match()

    await _do(system, journal, command_id, entry, in_cell)


async def abandon(system: ActorSystem, journal: str, command_id: str, entry: TurnAbandonedEntry) -> None:
    """Abandon a turn in any state; callers that wait for its reply get a `TurnAbandonedError`."""
    error = TurnAbandonedError(f"turn [{journal}#{command_id}] was abandoned by [{entry.identity}]: {entry.reason}")

    async def in_cell(cell: Cell) -> None:
        turn = cell.turns.get(command_id)
        ready = cell.draft(entry, command_id=command_id)
        if turn is None:
            await cell.write_and_wait(ready)
            cell.asleep.refuse(command_id, error)
        elif turn.closed:
            raise _has_ended(journal, command_id)
        else:
            turn.stop(error)  # from here on the turn can write nothing
            try:
                await cell.write_and_wait(ready)
            except LoomError as failed:
                turn.refuse(turn.cut_short(failed))
                raise
            finally:
                cell.leave(turn)
            turn.refuse(error)
        cell.ended(command_id, None)

    await _do(system, journal, command_id, entry, in_cell)


async def _do(
    system: ActorSystem, journal: str, command_id: str, entry: Entry, in_cell: Callable[[Cell], Awaitable[None]]
) -> None:
    """Intervene in the actor's cell, one at a time; without code, or while it is stopped, only append the entry."""
    try:
        cell = await system.cell(journal)
    except (UnknownActorError, ActorStoppedError):
        ready = draft(entry, command_id=command_id)
        await finished(system.spawn(append_last(system.services.store, journal, (ready,))))
        return

    async def one_at_a_time() -> None:
        async with cell.operator_lock:
            if command_id not in cell.open:
                raise _has_ended(journal, command_id)
            await in_cell(cell)

    await finished(cell.keep_awake_for(one_at_a_time()))


def _has_ended(journal: str, command_id: str) -> TurnNotFoundError:
    return TurnNotFoundError(
        f"turn [{journal}#{command_id}] has ended; expected one without an end: ask with its id for its reply"
    )
