"""The verb `perform`: performs an effect; the intent is durable before it, and the result is journaled after it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

from pydantic_core import to_json

from loom.actors.entries import EffectIntendedEntry, EffectPerformedEntry
from loom.actors.retrying import Retry
from loom.actors.turn import Turn
from loom.actors.verbs.attempts import Attempts
from loom.actors.verbs.binding import arguments_of, check_approved
from loom.actors.verbs.shared import Came, attempt, expect, once, result_written, typed
from loom.decisions.decision import ApprovalGiven
from loom.errors import AdmissionError, EffectFailedError, NoTurnError, TurnStuckError
from loom.journal.entry import Step
from loom.journal.serialisation import json_text, step_text

__all__ = ["effect_key", "in_doubt", "perform"]

T = TypeVar("T")

_key: ContextVar[str] = ContextVar("loom_effect_key")


async def perform(
    turn: Turn,
    *,
    action: str,
    effect: Callable[[str], Awaitable[Any] | Any],
    key: str,
    repeatable: bool,
    returns: type[T] | None,
    arguments: Mapping[str, object] | None = None,
    under: ApprovalGiven | None = None,
    retry: Retry | None = None,
) -> Any:
    """See `Actor.perform`."""
    _check_retry(action, repeatable=repeatable, retry=retry)
    action = turn.protected.redact(action)
    named = arguments_of(turn, arguments)
    if under is not None:
        check_approved(turn, under, action=action, arguments=named, key=key)
    with turn.step("perform", key) as step:
        own_key = _own_key(turn, step, action, key)
        intent = EffectIntendedEntry(
            step=step,
            action=action,
            key=own_key,
            repeatable=repeatable,
            arguments=None if named is None else named.written,
            under=None if under is None else under.approval_id,
        )
        intended = await once(turn, step, intent, "begin")
        attempts = None
        if retry is not None or turn.recorded_steps is not None:
            attempts = await Attempts.begin(turn, step, retry)
        recorded = await turn.take(step)
        if recorded is not None:
            performed = expect(recorded.entry, EffectPerformedEntry, turn)
            value, text, failure = performed.result, None, performed.failure
        else:
            if intended is not None and not turn.may_repeat:
                _check_repeatable(turn, expect(intended.entry, EffectIntendedEntry, turn))
            came = await _perform(turn, step, action, effect, own_key, attempts)
            (value, text), failure = came.result, came.failure
        if failure is not None:
            raise EffectFailedError(failure.type_name, failure.message)
        return typed(value, returns, text=text)


def _own_key(turn: Turn, step: Step, action: str, key: str) -> str:
    """Return the key of an effect: a forked turn has keys of its own, and effects only where a person said so."""
    earlier = turn.taken_up
    if earlier is None or not earlier.is_fork or step in earlier.steps:
        return key
    if not earlier.entry.perform:
        raise AdmissionError(
            f"effect [{action:.200}] of turn [{turn}] is not performed, as the turn is a fork; expected a person who "
            "wants its effects: fork the turn with --perform"
        )
    return f"{key}:{turn.command_id}"


def effect_key() -> str:
    """Return the key of the effect that runs, so that the other side can recognise a repetition.

    Raises `NoTurnError` outside an effect.
    """
    key = _key.get(None)
    if key is None:
        raise NoTurnError(
            "effect_key() was called outside an effect; expected it within the effect of perform: call it there"
        )
    return key


def in_doubt(turn: str, action: str) -> TurnStuckError:
    """Return the error of a turn that waits for a person, as it is unknown whether an effect happened."""
    return TurnStuckError(
        f"turn [{turn}] was cut short while it performed [{action}], which is not repeatable; expected a person to "
        "check whether it happened: then `loom turns retry` (it is done again) or `loom turns abandon`"
    )


def _check_retry(action: str, *, repeatable: bool, retry: Retry | None) -> None:
    """Refuse to repeat an effect that may have happened and must not happen twice."""
    if retry is not None and not repeatable and retry.on is None:
        raise AdmissionError(
            f"effect [{action:.200}] is not repeatable, and is to be retried on every exception; expected on= with the "
            "exceptions that say that nothing was done: name them, or leave out retry="
        )


def _check_repeatable(turn: Turn, intended: EffectIntendedEntry) -> None:
    """Stop for a person where an effect may have happened and must not happen twice."""
    if not intended.repeatable:
        raise turn.halt(in_doubt(str(turn), intended.action))


async def _perform(
    turn: Turn,
    step: Step,
    action: str,
    effect: Callable[[str], Awaitable[Any] | Any],
    key: str,
    attempts: Attempts | None,
) -> Came:
    """Perform it, once the intent is durable (law 4), and write the result."""
    await turn.durable()
    while True:
        began = time.perf_counter()
        token = _key.set(key)
        try:
            came = await attempt(lambda: effect(key), timeout_s=None, limits=turn.services.limits)
        finally:
            _key.reset(token)
        duration_ms = round((time.perf_counter() - began) * 1000, 3)
        if attempts is None or came.error is None or not await attempts.again(came.error, came.failure):
            break
    texts = {
        "step": step_text(step),
        "action": json_text(action),
        "key": json_text(key),
        "duration_ms": to_json(duration_ms),
        **(attempts.text if attempts else {}),
    }
    return result_written(turn, EffectPerformedEntry, texts, came)[0]
