"""Runs a turn from its first line to its end, for every kind of end.

`drive` is the body of the turn's main task, and the only place that ends turns. Before it: the command is queued for
the journal, and the turn has the lock of its actor, or recorded steps that say that it was parked. After it: the
journal holds an end, or the turn is stuck (it waits for a person), or it was interrupted (a later cell resumes it); its
reply is set or refused, and it has left its host. That holds for every way in which the code of the actor ends, also
when it swallows a cancellation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

from pydantic_core import to_json

from loom.actors.keeping import hold_keys_of_command
from loom.actors.lifting import lifting
from loom.actors.protected import NOT_KEPT
from loom.actors.protected_replies import declared_reply, encoded_reply, protected_reply
from loom.actors.stalling import StallWatch, divergence
from loom.actors.turn import NOT_RESUMABLE, Turn, TurnStopped
from loom.actors.turn_context import enter
from loom.actors.unanswerable import deny_unanswerable
from loom.actors.verbs.shared import failure_of, keepable
from loom.errors import (
    ActorFailedError,
    ActorStoppedError,
    DivergenceError,
    ErasedError,
    LoomError,
    NotReplayableError,
    PolicyCodeChangedError,
    TurnAbandonedError,
)
from loom.journal.kinds import TurnCompletedEntry, TurnDivergedEntry, TurnFailedEntry, TurnStartedEntry
from loom.journal.serialisation import EntryText
from loom.sealing.wording import without_words
from loom.spans import span
from loom.telemetry import bind_turn, get_logger

__all__ = ["drive", "turn_failed_error"]

_STEPS_KEPT = 20
"""The number of steps of each side of a divergence that are journaled, from the first unrequested one on."""
_NOT_STUCK = (ActorStoppedError, TurnAbandonedError)

_Reason = Literal["raised", "policy_code_changed", "not_resumable", "erased"]

_log = get_logger("loom.actors")


async def drive(turn: Turn) -> None:
    """Run a turn to its end in the current task; its caller gets a reply or an error in every case."""
    enter(turn)
    about: dict[str, str | bool | float] = {
        "loom.journal": turn.host.journal,
        "loom.turn": turn.command_id,
        "loom.command": turn.received.command_type,
        "loom.correlation": turn.received.correlation_id,
        "loom.policy": turn.policy.version,
        "loom.resumed": turn.recorded_steps is not None,
    }
    with (
        span("loom.turn", about) as under_way,
        bind_turn(journal=turn.host.journal, turn=turn.command_id, correlation_id=turn.received.correlation_id),
    ):
        try:
            await _run(turn)
            under_way.set_attribute("loom.outcome", "replied")
        except BaseException as error:
            await _end_badly(turn, error)
            under_way.set_attribute("loom.outcome", "failed" if turn.stopped is None else "stopped")
            under_way.set_attribute("loom.error", type(turn.stopped or error).__name__)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
        finally:
            _settle(turn)
            turn.host.leave(turn)


async def _run(turn: Turn) -> None:
    await _begin(turn)
    assert turn.actor is not None  # noqa: S101 - a turn that runs has its actor
    if turn.recorded_steps is None:
        reply = await turn.actor.execute(turn.command)
    else:
        watch = StallWatch(turn, turn.recorded_steps, turn.host.services.options.divergence_timeout_s)
        try:
            reply = await turn.actor.execute(turn.command)
        finally:
            watch.stop()
    await _complete(turn, reply)


async def _begin(turn: Turn) -> None:
    """Ensure that the turn's state at its first line can be folded again from the journal."""
    turn.check_open()
    if type(turn.command).subject_field is not None:
        await hold_keys_of_command(turn)
    if turn.recorded_steps is not None:
        if not turn.recorded_steps.parked:  # it ran when it was interrupted: no other turn runs before it
            await turn.host.lock.acquire(turn)
        return
    if turn.attempt:
        await turn.continue_live()
    elif turn.host.sequence != turn.sequence:
        turn.write(turn.draft(TurnStartedEntry()))
    turn.host.fold(turn.host.sequence)


async def _complete(turn: Turn, reply: Any) -> None:
    """Journal the reply, and release it once everything that the turn wrote is durable (law 4)."""
    encoded = encoded_reply(turn.command, reply, limits=turn.host.services.limits)
    if turn.recorded_steps is not None and not turn.recorded_steps.finished:
        reply_text = NOT_KEPT if turn.withholds_words else f"{encoded.value!s:.200}"
        raise turn.halt(divergence(turn, turn.recorded_steps, f"its code replied [{reply_text}]"))
    text = encoded.text
    if declared_reply(type(turn.command)) is not None:
        kept = await protected_reply(
            turn.services,
            turn.command,
            encoded.value,
            journal=turn.host.journal,
            command_id=turn.command_id,
            subject=turn.received.subject,
        )
        text = to_json(kept)
    if not turn.live:
        await turn.continue_live()
    version = type(turn.command).reply_version
    ends = {"reply": text} if version == 1 else {"reply": text, "reply_version": to_json(version)}
    turn.end(EntryText(TurnCompletedEntry, ends), also=() if turn.taken_up is None else lifting(turn))
    await turn.durable()
    turn.host.ended(turn.command_id, turn.receipt)
    hold = turn.host.services.hold_reply
    live = turn.compare is None and not turn.counterfactual
    if hold is None or not live or not turn.gathered.decisions:
        turn.release(encoded.value)
        return
    turn.reply_held = True
    work = _release_later(hold, tuple(turn.gathered.decisions))
    held = turn.host.in_background(work, name=f"loom-hold {turn.command_id[:12]}")
    held.add_done_callback(lambda _: turn.release(encoded.value))  # for every kind of end, also before it began


async def _release_later(hold: Callable[[Sequence[str]], Awaitable[None]], decisions: Sequence[str]) -> None:
    """Wait for the hook that a reply waits for. Its turn has ended: after an error here the reply is released too."""
    try:
        await hold(decisions)
    except LoomError as error:
        _log.warning("reply_not_held", error=str(error))


async def _end_badly(turn: Turn, error: BaseException) -> None:
    """Handle the end of a turn by its cause: it was stopped, interrupted, diverged from its journal, or failed."""
    if turn.let_go:
        return
    task = asyncio.current_task()
    if turn.stopped is None and isinstance(error, KeyboardInterrupt | SystemExit):
        turn.halt(turn.shut_down())
    if turn.stopped is None and isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        turn.halt(turn.shut_down())
    if turn.stopped is None and turn.recorded_steps is not None and not turn.recorded_steps.finished:
        turn.halt(divergence(turn, turn.recorded_steps, f"its code raised [{_in_words(turn, error)}]"))
    stopped = turn.stopped
    if stopped is None:
        await _fail(turn, error, "erased" if isinstance(error, ErasedError) else "raised")
    elif isinstance(stopped, PolicyCodeChangedError) and (turn.recorded_steps is None or turn.recorded_steps.finished):
        await _fail(turn, stopped, "policy_code_changed")
    elif isinstance(stopped, NotReplayableError) and stopped.reason.startswith(NOT_RESUMABLE):
        await _fail(turn, stopped, "not_resumable")
    elif isinstance(stopped, ErasedError):
        await _fail(turn, stopped, "erased")
    elif turn.host.invalidated_by is None and not turn.host.closing and not isinstance(stopped, _NOT_STUCK):
        turn.host.stuck[turn.command_id] = stopped
        _log.error("turn_stuck", why=type(stopped).__name__, error=str(stopped))
        if isinstance(stopped, DivergenceError):
            await _keep_divergence(turn, stopped)


async def _keep_divergence(turn: Turn, error: DivergenceError) -> None:
    """Journal a divergence of a turn; only once, even if the turn is resumed again and diverges in the same way."""
    entry = TurnDivergedEntry(
        what=keepable(error.what, 500), expected=_shortened(error.expected), found=_shortened(error.found)
    )
    if entry == turn.diverged:
        return
    try:
        await turn.host.write_and_wait(
            turn.host.draft(entry, command_id=turn.command_id, policy_hash=turn.policy.hash_bytes)
        )
    except LoomError as failed:
        _log.warning("divergence_not_journaled", error=str(failed))
    else:
        turn.diverged = entry


def _shortened(steps: Sequence[str]) -> tuple[str, ...]:
    return tuple(keepable(step, 300) for step in steps[:_STEPS_KEPT])


async def _fail(turn: Turn, error: BaseException, reason: _Reason) -> None:
    """Journal the failure: the turn's entries remain, and the actor is rebuilt from its journal."""
    failure = failure_of(error)
    if reason == "raised" and turn.withholds_words:  # words repeat what they are about
        failure = failure.model_copy(update={"message": NOT_KEPT})
    turn.stopped = None
    try:
        await turn.continue_live()
        erased = isinstance(error, ErasedError | NotReplayableError) and _is_erased(error)
        if erased:
            await deny_unanswerable(turn)
        turn.end(TurnFailedEntry(type_name=failure.type_name, message=failure.message, reason=reason))
        await turn.durable()
        turn.host.ended(turn.command_id, turn.receipt)
        _log.warning("turn_failed", error=failure.type_name, message=failure.message)
        await turn.host.failed(counts=not erased)  # an erasure of many turns is no fault of their actor
    except (TurnStopped, asyncio.CancelledError):
        return
    failed = turn_failed_error(
        turn.host.journal, turn.received.command_type, type_name=failure.type_name, message=failure.message
    )
    cause = without_words(error) if turn.withholds_words else error
    failed.__cause__ = cause if isinstance(error, Exception) else None
    turn.refuse(failed)


def _is_erased(error: ErasedError | NotReplayableError) -> bool:
    return isinstance(error, ErasedError) or error.reason == f"{NOT_RESUMABLE}: erased"


def _settle(turn: Turn) -> None:
    """Raise for the callers why there is no reply; the code that journaled an abandonment raises that one itself."""
    if turn.reply_held:
        return
    if not isinstance(turn.stopped, TurnAbandonedError):
        turn.refuse(turn.stopped or turn.shut_down())


def turn_failed_error(journal: str, command_type: str, *, type_name: str, message: str) -> ActorFailedError:
    """Return the error that callers of a failed turn get: the message is the same now and for a repeated command."""
    return ActorFailedError(
        f"actor [{journal}] failed on [{command_type}] with [{type_name}: {message}]; expected a reply: its entries "
        "remain; correct the cause and send a new command",
        type_name=type_name,
    )


def _in_words(turn: Turn, error: BaseException) -> str:
    failure = failure_of(error)
    if turn.withholds_words:
        return f"{failure.type_name}: {NOT_KEPT}"
    return f"{failure.type_name}: {failure.message:.200}"
