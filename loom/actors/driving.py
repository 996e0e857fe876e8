"""How a turn is driven from its first line to its end, however it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from loom.actors.command import encode_reply
from loom.actors.lookups import failure_of
from loom.actors.script import Script
from loom.actors.turn import Turn, TurnStopped, enter
from loom.errors import (
    ActorFailedError,
    DivergenceError,
    LoomError,
    PolicyCodeChangedError,
    TurnInterruptedError,
)
from loom.journal.kinds import TurnCompletedEntry, TurnFailedEntry, TurnStartedEntry
from loom.telemetry import bind_turn, get_logger

if TYPE_CHECKING:
    from loom.actors.cell import Cell

__all__ = ["cut_short", "drive", "found_in", "refuse"]

_log = get_logger("loom.actors")


async def drive(cell: Cell, turn: Turn) -> None:
    """Run a turn to its end in the current task; never raises."""
    enter(turn)
    with bind_turn(journal=cell.journal, turn=turn.command_id, correlation_id=turn.correlation_id):
        try:
            await _begin(cell, turn)
            reply = await _execute(cell, turn)
            await _complete(cell, turn, reply)
        except BaseException as error:  # noqa: BLE001 - whatever ends a turn is told to whoever asked
            await _end_badly(cell, turn, error)
        finally:
            cell.turns.pop(turn.command_id, None)
            turn.close()
            cell.system.turn_ended(cell, turn)


def refuse(turn: Turn, error: LoomError) -> None:
    """Tell whoever waits for the reply that there is none."""
    turn.closed = True
    if not turn.reply.done():
        turn.reply.set_exception(error)
        turn.reply.exception()  # a turn that was told, not asked, has nobody waiting


def cut_short(turn: Turn) -> LoomError:
    """Return the error of a turn that will be resumed."""
    return TurnInterruptedError(
        f"turn [{turn}] was cut short; expected a loom that stays open until its end: it is resumed when the journal is next "
        "opened; ask again with the same id for its reply"
    )


async def _begin(cell: Cell, turn: Turn) -> None:
    """See to it that the turn's state at its first line can be told again from the journal."""
    script = turn.script
    if script is None:
        if cell.sequence != turn.received_sequence:
            turn.put(TurnStartedEntry())
        cell.fold(cell.sequence)
    elif script.finished:  # nothing was recorded: it begins anew
        await turn.take_slot()
        cell.fold(cell.sequence)


async def _execute(cell: Cell, turn: Turn) -> Any:
    assert turn.actor is not None  # noqa: S101 - a turn that runs has its actor
    if turn.script is None or turn.script.finished:
        return await turn.actor.execute(turn.command)
    watch = _StallWatch(turn, turn.script, cell.services.options.divergence_timeout_s)
    try:
        return await turn.actor.execute(turn.command)
    finally:
        watch.stop()


async def _complete(cell: Cell, turn: Turn, reply: Any) -> None:
    """Journal the reply, and let it out once everything that the turn wrote is durable (law 4)."""
    plain = encode_reply(turn.command, reply, limits=cell.services.limits)
    if turn.script is not None and not turn.script.finished:
        raise TurnStopped(_divergence(turn, turn.script, f"its code replied [{str(plain):.200}]"))
    if cell.slot.owner is not turn:
        await turn.take_slot()
    turn.put(TurnCompletedEntry(reply=plain))
    cell.fold(cell.sequence)
    await turn.durable()
    _reply(turn, plain)


async def _end_badly(cell: Cell, turn: Turn, error: BaseException) -> None:
    stopped = found_in(error, TurnStopped)
    if stopped is not None:
        assert isinstance(stopped, TurnStopped)  # noqa: S101 - that is what was looked for
        if not isinstance(stopped.error, TurnInterruptedError) and cell.dead is None:
            cell.stuck[turn.command_id] = stopped.error
            _log.error("turn_stuck", error=str(stopped.error))
        refuse(turn, stopped.error)
    elif turn.diverged is not None:
        cell.stuck[turn.command_id] = turn.diverged
        _log.error("turn_diverged", error=str(turn.diverged))
        refuse(turn, turn.diverged)
    elif isinstance(error, asyncio.CancelledError) and (cell.dead or cell.system.closing or turn.closed):
        refuse(turn, cut_short(turn))
    elif isinstance(error, KeyboardInterrupt | SystemExit):
        refuse(turn, cut_short(turn))
        raise error
    elif turn.script is not None and not turn.script.finished and not isinstance(error, PolicyCodeChangedError):
        divergence = _divergence(turn, turn.script, f"its code raised [{error!r:.200}]")
        cell.stuck[turn.command_id] = divergence
        _log.error("turn_diverged", error=str(divergence))
        refuse(turn, divergence)
    else:
        await _fail(cell, turn, error)


async def _fail(cell: Cell, turn: Turn, error: BaseException) -> None:
    """Journal the failure: the turn's entries stand, and the actor is rebuilt from its journal."""
    failure = failure_of(error)
    try:
        if cell.slot.owner is not turn:
            await turn.take_slot()
        turn.put(
            TurnFailedEntry(
                type_name=failure.type_name,
                message=failure.message,
                reason="policy_code_changed" if isinstance(error, PolicyCodeChangedError) else "raised",
            )
        )
        await turn.durable()
    except TurnStopped as stopped:
        refuse(turn, stopped.error)
        return
    except asyncio.CancelledError:
        refuse(turn, cut_short(turn))
        return
    _log.warning("turn_failed", error=failure.type_name, message=failure.message)
    failed = ActorFailedError(
        f"actor [{cell.journal}] failed on [{turn.command.command_type}] with [{failure.type_name}: {failure.message}]; "
        "expected a reply: what it had written stands; mend the cause and send a new command",
        type_name=failure.type_name,
    )
    failed.__cause__ = error if isinstance(error, Exception) else None
    await cell.system.turn_failed(cell)
    refuse(turn, failed)


def _reply(turn: Turn, plain: JsonValue) -> None:
    if not turn.reply.done():
        turn.reply.set_result(plain)


def _divergence(turn: Turn, script: Script, what: str) -> DivergenceError:
    expected, found = script.expected(), script.found()
    asked = f", asking for [{', '.join(found)}]" if found else ""
    return DivergenceError(
        f"turn [{turn}] does not do what its journal says: {what}{asked}; expected it to ask next for "
        f"[{', '.join(expected[:5])}{', …' if len(expected) > 5 else ''}]: nothing was done; bring back the code that "
        "recorded it and `loom turns retry`, or `loom turns abandon`",
        expected=expected,
        found=found,
    )


def found_in(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """Return the first error of a kind, looking into the groups that task groups raise."""
    if isinstance(error, kind):
        return error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            found = found_in(inner, kind)
            if found is not None:
                return found
    return None


class _StallWatch:
    """Ends a resumed turn that does not get any further through what it once did."""

    def __init__(self, turn: Turn, script: Script, patience_s: float) -> None:
        self._turn = turn
        self._script = script
        self._patience_s = patience_s
        self._seen = -1
        self._timer: asyncio.TimerHandle | None = None
        self._look()

    def stop(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        if self._script.finished:
            return
        if self._script.progress == self._seen and not self._script.going_live:
            self._turn.diverged = _divergence(self._turn, self._script, f"it stalled for {self._patience_s} s")
            if self._turn.task is not None:
                self._turn.task.cancel()
            return
        self._seen = self._script.progress
        self._timer = asyncio.get_running_loop().call_later(self._patience_s, self._look)
