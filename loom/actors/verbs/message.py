"""The verbs `ask` and `tell`: send another actor a command, once, however often the turn is resumed."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any

from loom.actors.command import Command, decode_reply, present_reply
from loom.actors.entries import AskedEntry, AskRepliedEntry, ToldEntry
from loom.actors.ports import Decider
from loom.actors.turn import Turn
from loom.actors.verbs.replied import given, given_again, note_sent
from loom.actors.verbs.shared import expect, failure_of, once
from loom.actors.verbs.wait import ends_at
from loom.clock import instant
from loom.decisions.entries import Failure
from loom.errors import ActorFailedError, AskCycleError, LoomClosedError, LoomError, TurnInterruptedError
from loom.identity import derived_id, journal_name
from loom.journal.entry import Step

__all__ = ["ask", "tell"]

_ASK_AGAIN_S = 0.1


async def ask(
    turn: Turn,
    actor: type[Decider],
    actor_key: str,
    command: Command[Any],
    *,
    timeout_s: float | None,
    key: str | None,
) -> Any:
    """See `Actor.ask`."""
    journal = journal_name(actor.actor_type, actor_key)
    if journal in (*turn.received.waiting, turn.host.journal):
        circle = " → ".join((*turn.received.waiting, turn.host.journal, journal))
        raise AskCycleError(
            f"asking would never end [{circle}]; expected actors that do not wait in a circle: tell instead"
        )
    note_sent(turn, command)
    with turn.step("ask", key or f"{journal} {command.command_type}") as step:
        command_id = _derived_command_id(turn, step)
        question = AskedEntry(step=step, journal=journal, command_id=command_id, command_type=command.command_type)
        asked = await once(turn, step, question, "begin")
        if asked is not None:  # where the steps of an earlier turn are taken up, it asked under an id of its own
            command_id = expect(asked.entry, AskedEntry, turn).command_id
        recorded = await turn.take(step)
        if recorded is not None:
            replied = expect(recorded.entry, AskRepliedEntry, turn)
            recorded_reply = present_reply(type(command), replied.reply, version=replied.reply_version)
            reply = await given_again(turn, command, recorded_reply)
        else:
            await turn.durable()
            replied = await _ask(turn, step, actor, actor_key, command, command_id, timeout_s)
            reply = replied.reply
            kept = await given(turn, command, command_id, reply)
            turn.write(turn.draft(replied if kept is reply else replied.model_copy(update={"reply": kept})))
        if replied.failure is not None:
            raise _failed(replied.failure)
        return decode_reply(type(command), reply)


async def _ask(
    turn: Turn,
    step: Step,
    actor: type[Decider],
    actor_key: str,
    command: Command[Any],
    command_id: str,
    timeout_s: float | None,
) -> AskRepliedEntry:
    """Wait for the reply; if the other turn is interrupted, it is resumed, and asked again."""
    ends = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        left_s = None if ends is None else max(0.0, ends - time.monotonic())
        try:
            reply = await turn.host.messenger.ask(
                actor, actor_key, command, command_id=command_id, timeout_s=left_s, sender=turn
            )
        except LoomClosedError as error:
            raise turn.halt(turn.shut_down()) from error
        except TurnInterruptedError:
            await asyncio.sleep(_ASK_AGAIN_S)
        except LoomError as error:
            return AskRepliedEntry(step=step, failure=_failure_of(error))
        else:
            return AskRepliedEntry(step=step, reply=reply, reply_version=type(command).reply_version)


async def tell(
    turn: Turn,
    actor: type[Decider],
    actor_key: str,
    command: Command[Any],
    *,
    at: datetime | None = None,
    key: str | None,
) -> None:
    """See `Actor.tell`. The command is sent first and journaled then: its derived id makes a repetition harmless."""
    journal = journal_name(actor.actor_type, actor_key)
    if at is not None:
        at = ends_at(instant(turn.services.sources.clock), None, at, what="at")
    note_sent(turn, command)
    with turn.step("tell", key or f"{journal} {command.command_type}") as step:
        command_id = _derived_command_id(turn, step)
        sent = ToldEntry(step=step, journal=journal, command_id=command_id, command_type=command.command_type, at=at)
        ready = turn.draft(sent)
        recorded = await turn.take(step)
        if recorded is not None:
            before = expect(recorded.entry, ToldEntry, turn)
            if turn.compare is not None:
                turn.compare(recorded, sent.model_copy(update={"failure": before.failure}))
            sent = before
        else:
            await turn.durable()
            try:
                await turn.host.messenger.tell(actor, actor_key, command, command_id=command_id, at=at, sender=turn)
            except LoomClosedError as error:
                raise turn.halt(turn.shut_down()) from error
            except LoomError as error:
                sent = sent.model_copy(update={"failure": _failure_of(error)})
                ready = turn.draft(sent)
            turn.write(ready)
        if sent.failure is not None:
            raise _failed(sent.failure)


def _failure_of(error: LoomError) -> Failure:
    """Return the failure of another actor: the exception of its own code, if there is one."""
    failure = failure_of(error)
    return failure.model_copy(update={"type_name": error.type_name}) if isinstance(error, ActorFailedError) else failure


def _failed(failure: Failure) -> LoomError:
    """Return the exception that a failed ask or tell raises, live and resumed alike."""
    if failure.type_name == AskCycleError.__name__:
        return AskCycleError(failure.message)
    return ActorFailedError(failure.message, type_name=failure.type_name)


def _derived_command_id(turn: Turn, step: Step) -> str:
    return derived_id(
        "command",
        turn.services.store.workspace,
        turn.host.journal,
        _acts_as(turn, step),
        step.verb,
        step.key,
        str(step.occurrence),
    )


def _acts_as(turn: Turn, step: Step) -> str:
    """Return the id of the turn in whose name a command is sent.

    A new attempt of a failed turn sends what that turn may have sent already under the same id, so it is not done
    twice. What failed is sent under an id of its own.
    """
    earlier = turn.taken_up
    if earlier is None or earlier.is_fork or step in earlier.renewed or not earlier.entry.recovers:
        return turn.command_id
    return earlier.entry.recovers[0]
