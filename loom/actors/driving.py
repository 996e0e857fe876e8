"""How a turn is driven from its first line to its end, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import JsonValue

from loom.actors.command import encode_reply
from loom.actors.current import enter
from loom.actors.lookups import failure_of, keepable
from loom.actors.stalling import StallWatch, divergence
from loom.actors.turn import NOT_RESUMABLE, Turn, TurnStopped
from loom.errors import (
    ActorFailedError,
    ActorStoppedError,
    DivergenceError,
    LoomError,
    NotReplayableError,
    PolicyCodeChangedError,
    TurnAbandonedError,
)
from loom.journal.kinds import TurnCompletedEntry, TurnDivergedEntry, TurnFailedEntry, TurnStartedEntry
from loom.spans import span
from loom.telemetry import bind_turn, get_logger

if TYPE_CHECKING:
    from loom.actors.cell import Cell

__all__ = ["drive", "failure_told"]

_STEPS_KEPT = 20
"""So many steps of each side of a divergence are journaled: they begin at the one that nobody asks for."""
_NOT_STUCK = (ActorStoppedError, TurnAbandonedError)

_Reason = Literal["raised", "policy_code_changed", "not_resumable"]

_log = get_logger("loom.actors")


async def drive(cell: Cell, turn: Turn) -> None:
    """Run a turn to its end in the current task; its caller is told, whatever happens."""
    enter(turn)
    about: dict[str, str | bool | float] = {
        "loom.journal": cell.journal, "loom.turn": turn.command_id, "loom.command": turn.received.command_type,
        "loom.correlation": turn.received.correlation_id, "loom.policy": turn.policy.version,
        "loom.resumed": turn.script is not None,
    }  # fmt: skip
    with (
        span("loom.turn", about) as under_way,
        bind_turn(journal=cell.journal, turn=turn.command_id, correlation_id=turn.received.correlation_id),
    ):
        try:
            await _run(cell, turn)
            under_way.set_attribute("loom.outcome", "replied")
        except BaseException as error:
            await _end_badly(cell, turn, error)
            under_way.set_attribute("loom.outcome", "failed" if turn.stopped is None else "stopped")
            under_way.set_attribute("loom.error", type(turn.stopped or error).__name__)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
        finally:
            _tell(turn)
            cell.leave(turn)


async def _run(cell: Cell, turn: Turn) -> None:
    await _begin(cell, turn)
    assert turn.actor is not None  # noqa: S101 - a turn that runs has its actor
    if turn.script is None:
        reply = await turn.actor.execute(turn.command)
    else:
        watch = StallWatch(turn, turn.script, cell.services.options.divergence_timeout_s)
        try:
            reply = await turn.actor.execute(turn.command)
        finally:
            watch.stop()
    await _complete(cell, turn, reply)


async def _begin(cell: Cell, turn: Turn) -> None:
    """See to it that the turn's state at its first line can be told again from the journal."""
    turn.check_open()
    if turn.script is not None:
        if not turn.script.parked:  # it ran when it was cut short: nobody else runs before it
            await cell.slot.acquire(turn)
        return
    if turn.attempt:
        await turn.go_live()
    elif cell.sequence != turn.sequence:
        turn.write(turn.draft(TurnStartedEntry()))
    cell.fold(cell.sequence)


async def _complete(cell: Cell, turn: Turn, reply: Any) -> None:
    """Journal the reply, and let it out once everything that the turn wrote is durable (law 4)."""
    plain = encode_reply(turn.command, reply, limits=cell.services.limits)
    if turn.script is not None and not turn.script.finished:
        raise turn.halt(divergence(turn, turn.script, f"its code replied [{plain!s:.200}]"))
    await turn.go_live()
    turn.end(TurnCompletedEntry(reply=plain))
    await turn.durable()
    cell.ended(turn.command_id, turn.receipt)
    hold = cell.services.hold_reply
    live = turn.compare is None and not turn.counterfactual
    if hold is None or not live or not turn.gathered.decisions:
        _let_out(turn, plain)
        return
    turn.held = True
    held = cell.system.in_background(_held(hold, tuple(turn.gathered.decisions)))
    held.add_done_callback(lambda _: _let_out(turn, plain))  # however it ended, also before it began


def _let_out(turn: Turn, reply: JsonValue) -> None:
    if not turn.reply.done():
        turn.reply.set_result(reply)


async def _held(hold: Callable[[Sequence[str]], Awaitable[None]], decisions: Sequence[str]) -> None:
    """Wait for what a reply is held for. Its turn has ended: whatever goes wrong here, the reply is let out."""
    try:
        await hold(decisions)
    except LoomError as error:
        _log.warning("reply_not_held", error=str(error))


async def _end_badly(cell: Cell, turn: Turn, error: BaseException) -> None:
    """Tell apart what ended a turn: it was stopped, cut short, or its code does not do what it did; or it failed."""
    task = asyncio.current_task()
    if turn.stopped is None and isinstance(error, KeyboardInterrupt | SystemExit):
        turn.halt(turn.shut_down())
    if turn.stopped is None and isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        turn.halt(turn.shut_down())
    if turn.stopped is None and turn.script is not None and not turn.script.finished:
        turn.halt(divergence(turn, turn.script, f"its code raised [{_shown(error)}]"))
    stopped = turn.stopped
    if stopped is None:
        await _fail(cell, turn, error, "raised")
    elif isinstance(stopped, PolicyCodeChangedError) and (turn.script is None or turn.script.finished):
        await _fail(cell, turn, stopped, "policy_code_changed")
    elif isinstance(stopped, NotReplayableError) and stopped.reason.startswith(NOT_RESUMABLE):
        await _fail(cell, turn, stopped, "not_resumable")
    elif cell.dead is None and not cell.system.closing and not isinstance(stopped, _NOT_STUCK):
        cell.stuck[turn.command_id] = stopped
        _log.error("turn_stuck", why=type(stopped).__name__, error=str(stopped))
        if isinstance(stopped, DivergenceError):
            await _keep_divergence(cell, turn, stopped)


async def _keep_divergence(cell: Cell, turn: Turn, error: DivergenceError) -> None:
    """Journal that a turn diverged, and in what; once, however often it is driven again and does the same."""
    entry = TurnDivergedEntry(
        what=keepable(error.what, 500), expected=_shortened(error.expected), found=_shortened(error.found)
    )
    if entry == turn.diverged:
        return
    try:
        await cell.write_and_wait(cell.draft(entry, command_id=turn.command_id, policy_hash=turn.policy.hash_bytes))
    except LoomError as failed:
        _log.warning("divergence_not_journaled", error=str(failed))
    else:
        turn.diverged = entry


def _shortened(steps: Sequence[str]) -> tuple[str, ...]:
    return tuple(keepable(step, 300) for step in steps[:_STEPS_KEPT])


async def _fail(cell: Cell, turn: Turn, error: BaseException, reason: _Reason) -> None:
    """Journal the failure: the turn's entries stand, and the actor is rebuilt from its journal."""
    failure = failure_of(error)
    turn.stopped = None
    try:
        await turn.go_live()
        turn.end(TurnFailedEntry(type_name=failure.type_name, message=failure.message, reason=reason))
        await turn.durable()
        cell.ended(turn.command_id, turn.receipt)
        _log.warning("turn_failed", error=failure.type_name, message=failure.message)
        await cell.failed()
    except (TurnStopped, asyncio.CancelledError):
        return
    told = failure_told(cell.journal, turn.received.command_type, type_name=failure.type_name, message=failure.message)
    told.__cause__ = error if isinstance(error, Exception) else None
    turn.refuse(told)


def _tell(turn: Turn) -> None:
    """Tell whoever waits why there is no reply; that a turn was abandoned is said by whoever has journaled it."""
    if turn.held:
        return
    if not isinstance(turn.stopped, TurnAbandonedError):
        turn.refuse(turn.stopped or turn.shut_down())


def failure_told(journal: str, command_type: str, *, type_name: str, message: str) -> ActorFailedError:
    """Return what a caller is told of a turn that failed: the same words now and whenever it is asked for again."""
    return ActorFailedError(
        f"actor [{journal}] failed on [{command_type}] with [{type_name}: {message}]; expected a reply: what it had "
        "written stands; mend the cause and send a new command",
        type_name=type_name,
    )


def _shown(error: BaseException) -> str:
    failure = failure_of(error)
    return f"{failure.type_name}: {failure.message:.200}"
