"""The verbs that reach out: `perform`, `ask` and `tell`; and those that draw: `now`, `new_id`, `random`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import JsonValue

from loom.actors.command import Command, decode_reply
from loom.actors.entries import (
    AskedEntry,
    AskRepliedEntry,
    EffectIntendedEntry,
    EffectPerformedEntry,
    ToldEntry,
    ValueDrawnEntry,
)
from loom.actors.lookups import attempt, expect, failure_of, typed
from loom.actors.turn import Turn
from loom.clock import datetime_from_us
from loom.decisions.entries import Failure
from loom.errors import (
    ActorFailedError,
    AdmissionError,
    AskCycleError,
    EffectFailedError,
    LoomClosedError,
    LoomError,
    TurnInterruptedError,
    TurnStuckError,
)
from loom.identity import derived_id, journal_name
from loom.journal.entry import Step

if TYPE_CHECKING:
    from loom.actors.actor import Actor

T = TypeVar("T")

_ASK_AGAIN_S = 0.1


async def perform(
    turn: Turn,
    *,
    action: str,
    effect: Callable[[str], Awaitable[Any] | Any],
    key: str,
    repeatable: bool,
    returns: type[T] | None,
) -> Any:
    """See `Actor.perform`."""
    with turn.step("perform", key) as step:
        intent = EffectIntendedEntry(step=step, action=action, key=key, repeatable=repeatable)
        ready = turn.draft(intent)
        intended = await turn.take(step, "begin")
        if intended is None:
            turn.write(ready)
        elif turn.compare is not None:
            turn.compare(intended, intent)
        recorded = await turn.take(step)
        if recorded is not None:
            performed = expect(recorded.entry, EffectPerformedEntry, turn)
        else:
            if intended is not None and not turn.may_repeat:
                _check_repeatable(turn, expect(intended.entry, EffectIntendedEntry, turn))
            performed = await _perform(turn, step, action, effect, key)
        if performed.failure is not None:
            raise EffectFailedError(performed.failure.type_name, performed.failure.message)
        return typed(performed.result, returns)


def in_doubt(turn: str, action: str) -> TurnStuckError:
    """Return the error of a turn that stops for a person, as nobody knows whether an effect has happened."""
    return TurnStuckError(
        f"turn [{turn}] was cut short while it performed [{action}], which is not repeatable; expected a person to "
        "look whether it happened: then `loom turns retry` (it is done again) or `loom turns abandon`"
    )


def _check_repeatable(turn: Turn, intended: EffectIntendedEntry) -> None:
    """Stop for a person where an effect may have happened and must not happen twice."""
    if not intended.repeatable:
        raise turn.halt(in_doubt(str(turn), intended.action))


async def _perform(
    turn: Turn, step: Step, action: str, effect: Callable[[str], Awaitable[Any] | Any], key: str
) -> EffectPerformedEntry:
    """Do it, once the intent is durable (law 4), and write down what came of it."""
    await turn.durable()
    began = time.perf_counter()
    result, failure = await attempt(lambda: effect(key), timeout_s=None, limits=turn.services.limits)
    duration_ms = round((time.perf_counter() - began) * 1000, 3)
    performed = EffectPerformedEntry(
        step=step, action=action, key=key, result=result, failure=failure, duration_ms=duration_ms
    )
    try:
        ready = turn.draft(performed)
    except AdmissionError as error:
        performed = performed.model_copy(update={"result": None, "failure": failure_of(error)})
        ready = turn.draft(performed)
    turn.write(ready)
    return performed


async def ask(
    turn: Turn,
    actor: type[Actor[Any]],
    actor_key: str,
    command: Command[Any],
    *,
    timeout_s: float | None,
    key: str | None,
) -> Any:
    """See `Actor.ask`."""
    journal = journal_name(actor.actor_type, actor_key)
    if journal in (*turn.received.waiting, turn.cell.journal):
        circle = " → ".join((*turn.received.waiting, turn.cell.journal, journal))
        raise AskCycleError(
            f"asking would never end [{circle}]; expected actors that do not wait in a circle: tell instead"
        )
    with turn.step("ask", key or f"{journal} {command.command_type}") as step:
        command_id = _derived_command_id(turn, step)
        question = AskedEntry(step=step, journal=journal, command_id=command_id, command_type=command.command_type)
        ready = turn.draft(question)
        asked = await turn.take(step, "begin")
        if asked is None:
            turn.write(ready)
        elif turn.compare is not None:
            turn.compare(asked, question)
        recorded = await turn.take(step)
        if recorded is not None:
            replied = expect(recorded.entry, AskRepliedEntry, turn)
        else:
            await turn.durable()
            replied = await _ask(turn, step, actor, actor_key, command, command_id, timeout_s)
            turn.write(turn.draft(replied))
        if replied.failure is not None:
            raise _failed(replied.failure)
        return decode_reply(type(command), replied.reply)


async def _ask(
    turn: Turn,
    step: Step,
    actor: type[Actor[Any]],
    actor_key: str,
    command: Command[Any],
    command_id: str,
    timeout_s: float | None,
) -> AskRepliedEntry:
    """Wait for the reply; that the other turn was cut short is not an answer: it is resumed, and asked for again."""
    ends = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        left_s = None if ends is None else max(0.0, ends - time.monotonic())
        try:
            reply = await turn.cell.system.ask(
                actor, actor_key, command, command_id=command_id, timeout_s=left_s, sender=turn
            )
        except LoomClosedError as error:
            raise turn.halt(turn.shut_down()) from error
        except TurnInterruptedError:
            await asyncio.sleep(_ASK_AGAIN_S)
        except LoomError as error:
            return AskRepliedEntry(step=step, failure=_failure_of(error))
        else:
            return AskRepliedEntry(step=step, reply=reply)


async def tell(turn: Turn, actor: type[Actor[Any]], actor_key: str, command: Command[Any], *, key: str | None) -> None:
    """See `Actor.tell`. Told first and journaled then: the derived id makes telling twice once."""
    journal = journal_name(actor.actor_type, actor_key)
    with turn.step("tell", key or f"{journal} {command.command_type}") as step:
        command_id = _derived_command_id(turn, step)
        told = ToldEntry(step=step, journal=journal, command_id=command_id, command_type=command.command_type)
        ready = turn.draft(told)
        recorded = await turn.take(step)
        if recorded is not None:
            before = expect(recorded.entry, ToldEntry, turn)
            if turn.compare is not None:
                turn.compare(recorded, told.model_copy(update={"failure": before.failure}))
            told = before
        else:
            await turn.durable()
            try:
                await turn.cell.system.tell(actor, actor_key, command, command_id=command_id, sender=turn)
            except LoomClosedError as error:
                raise turn.halt(turn.shut_down()) from error
            except LoomError as error:
                told = told.model_copy(update={"failure": _failure_of(error)})
                ready = turn.draft(told)
            turn.write(ready)
        if told.failure is not None:
            raise _failed(told.failure)


def _failure_of(error: LoomError) -> Failure:
    """Return how another actor failed: by the exception that its own code raised, if that is what it was."""
    failure = failure_of(error)
    return failure.model_copy(update={"type_name": error.type_name}) if isinstance(error, ActorFailedError) else failure


def _failed(failure: Failure) -> LoomError:
    """Return what a failed ask or tell raises, live and resumed alike."""
    if failure.type_name == AskCycleError.__name__:
        return AskCycleError(failure.message)
    return ActorFailedError(failure.message, type_name=failure.type_name)


def _derived_command_id(turn: Turn, step: Step) -> str:
    return derived_id(
        "command", turn.services.store.workspace, turn.cell.journal, turn.command_id, step.verb, step.key,
        str(step.occurrence),
    )  # fmt: skip


# --- drawing ------------------------------------------------------------------------------------


async def now(turn: Turn, *, key: str | None) -> datetime:
    """See `Actor.now`."""
    drawn = await _draw(turn, "now", turn.services.sources.clock.now_us, key)
    assert isinstance(drawn, int)  # noqa: S101 - what was journaled is what was drawn
    return datetime_from_us(drawn)


async def new_id(turn: Turn, *, key: str | None) -> str:
    """See `Actor.new_id`."""
    return str(await _draw(turn, "new_id", turn.services.sources.new_id, key))


async def random(turn: Turn, *, key: str | None) -> float:
    """See `Actor.random`."""
    drawn = await _draw(turn, "random", turn.services.sources.random, key)
    assert isinstance(drawn, float | int)  # noqa: S101 - what was journaled is what was drawn
    return float(drawn)


async def _draw(
    turn: Turn, source: Literal["now", "new_id", "random"], draw: Callable[[], JsonValue], key: str | None
) -> JsonValue:
    with turn.step(source, key or source) as step:
        recorded = await turn.take(step)
        if recorded is not None:
            return expect(recorded.entry, ValueDrawnEntry, turn).value
        drawn = ValueDrawnEntry(step=step, source=source, value=draw())
        turn.write(turn.draft(drawn))
        return drawn.value
