"""The verbs that reach out: `perform`, `ask` and `tell`; and those that draw: `now`, `new_id`, `random`."""

from __future__ import annotations

import inspect
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
from loom.actors.lookups import expect, failure_of, typed
from loom.actors.turn import Turn, TurnStopped
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
from loom.journal.admission import json_value
from loom.journal.entry import Step

if TYPE_CHECKING:
    from loom.actors.actor import Actor

T = TypeVar("T")


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
        intended = await turn.take(step, "begin")
        if intended is None:
            turn.write(EffectIntendedEntry(step=step, action=action, key=key, repeatable=repeatable))
        recorded = await turn.take(step)
        if recorded is not None:
            performed = expect(recorded.entry, EffectPerformedEntry, turn)
        else:
            if intended is not None:
                _check_repeatable(turn, expect(intended.entry, EffectIntendedEntry, turn))
            performed = await _perform(turn, step, action, effect, key)
        if performed.failure is not None:
            raise EffectFailedError(performed.failure.type_name, performed.failure.message)
        return typed(performed.result, returns)


async def _perform(
    turn: Turn, step: Step, action: str, effect: Callable[[str], Awaitable[Any] | Any], key: str
) -> EffectPerformedEntry:
    """Do it, once the intent is durable (law 4), and write down what came of it."""
    await turn.durable()
    began = time.perf_counter()
    result: JsonValue = None
    failure: Failure | None = None
    try:
        raw = effect(key)
        if inspect.isawaitable(raw):
            raw = await raw
        result = json_value(raw, limits=turn.host.services.limits)
    except Exception as error:  # noqa: BLE001 - whatever it raises is what it came to
        failure = failure_of(error)
    duration_ms = round((time.perf_counter() - began) * 1000, 3)
    performed = EffectPerformedEntry(
        step=step, action=action, key=key, result=result, failure=failure, duration_ms=duration_ms
    )
    try:
        turn.write(performed)
    except AdmissionError as error:
        performed = performed.model_copy(update={"result": None, "failure": failure_of(error)})
        turn.write(performed)
    return performed


def _check_repeatable(turn: Turn, intended: EffectIntendedEntry) -> None:
    """Stop for a person where an effect may have happened and must not happen twice."""
    if intended.repeatable or turn.retried:
        return
    raise TurnStopped(
        TurnStuckError(
            f"turn [{turn}] was cut short while it performed [{intended.action}] with key [{intended.key}], which is not "
            "repeatable; expected a person to look whether it happened: then `loom turns retry` (it is done again) or "
            "`loom turns abandon`"
        )
    )


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
    if journal in (*turn.waiting, turn.host.journal):
        circle = " → ".join((*turn.waiting, turn.host.journal, journal))
        raise AskCycleError(f"asking would never end [{circle}]; expected actors that do not wait in a circle: tell instead")
    with turn.step("ask", key or f"{journal} {command.command_type}") as step:
        asked = await turn.take(step, "begin")
        command_id = _derived_command_id(turn, step)
        if asked is None:
            turn.write(AskedEntry(step=step, journal=journal, command_id=command_id, command_type=command.command_type))
        recorded = await turn.take(step)
        if recorded is not None:
            replied = expect(recorded.entry, AskRepliedEntry, turn)
        else:
            await turn.durable()
            replied = await _ask(turn, step, actor, actor_key, command, command_id, timeout_s)
            turn.write(replied)
        if replied.failure is not None:
            raise ActorFailedError(replied.failure.message, type_name=replied.failure.type_name)
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
    try:
        reply = await turn.host.ask(
            actor, actor_key, command, command_id=command_id, timeout_s=timeout_s, sender=turn
        )
    except (TurnInterruptedError, LoomClosedError) as error:
        raise TurnStopped(error) from error  # not an answer: this turn is cut short as well
    except ActorFailedError as error:
        return AskRepliedEntry(step=step, failure=Failure(type_name=error.type_name, message=str(error)))
    except LoomError as error:
        return AskRepliedEntry(step=step, failure=failure_of(error))
    return AskRepliedEntry(step=step, reply=reply)


async def tell(
    turn: Turn, actor: type[Actor[Any]], actor_key: str, command: Command[Any], *, key: str | None
) -> None:
    """See `Actor.tell`."""
    journal = journal_name(actor.actor_type, actor_key)
    with turn.step("tell", key or f"{journal} {command.command_type}") as step:
        recorded = await turn.take(step)
        command_id = _derived_command_id(turn, step)
        if recorded is None:
            turn.write(ToldEntry(step=step, journal=journal, command_id=command_id, command_type=command.command_type))
            await turn.durable()
        if not turn.replaying:  # told again when resumed: the derived id makes that harmless
            await turn.host.tell(actor, actor_key, command, command_id=command_id, sender=turn)


def _derived_command_id(turn: Turn, step: Step) -> str:
    return derived_id(
        "command", turn.host.services.store.workspace, turn.host.journal, turn.command_id, step.verb, step.key,
        str(step.occurrence),
    )  # fmt: skip


# --- drawing ------------------------------------------------------------------------------------


async def now(turn: Turn) -> datetime:
    """See `Actor.now`."""
    drawn = await _draw(turn, "now", lambda: turn.host.services.sources.clock.now_us())
    assert isinstance(drawn, int)  # noqa: S101 - what was journaled is what was drawn
    return datetime_from_us(drawn)


async def new_id(turn: Turn) -> str:
    """See `Actor.new_id`."""
    return str(await _draw(turn, "new_id", turn.host.services.sources.new_id))


async def random(turn: Turn) -> float:
    """See `Actor.random`."""
    drawn = await _draw(turn, "random", turn.host.services.sources.random)
    assert isinstance(drawn, float | int)  # noqa: S101 - what was journaled is what was drawn
    return float(drawn)


async def _draw(turn: Turn, source: Literal["now", "new_id", "random"], draw: Callable[[], JsonValue]) -> JsonValue:
    with turn.step(source, source) as step:
        recorded = await turn.take(step)
        if recorded is not None:
            return expect(recorded.entry, ValueDrawnEntry, turn).value
        drawn = ValueDrawnEntry(step=step, source=source, value=draw())
        turn.write(drawn)
        return drawn.value
