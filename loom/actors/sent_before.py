"""Commands that came before: answered by the turn under way, by its recorded end, or with why there is no reply."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from pydantic import JsonValue

from loom.actors.cell import Cell
from loom.actors.command import Command, present_reply
from loom.actors.protected_replies import declared_reply, protected_reply, reply_again, same_asker
from loom.actors.recovery import receipt_of
from loom.actors.services import Services
from loom.actors.turn import Turn
from loom.actors.turn_runner import turn_failed_error
from loom.errors import LoomError, TurnAbandonedError, TurnStuckError
from loom.journal.entry import Recorded
from loom.journal.kinds import ENDINGS, CommandReceivedEntry, TurnAbandonedEntry, TurnCompletedEntry, TurnFailedEntry
from loom.journal.store import Receipt

__all__ = ["Sent", "reply_of", "sent_before"]


class Sent(NamedTuple):
    """A command that its actor has."""

    reply: Callable[[], Awaitable[JsonValue]]
    """Waits for the reply; each wait belongs to one caller."""
    accepted: asyncio.Future[Receipt]
    sequence: int
    cell: Cell


def reply_of(services: Services, turn: Turn, again: CommandReceivedEntry) -> Callable[[], Awaitable[JsonValue]]:
    """Return what waits for the reply of a turn in progress; a caller other than its requester gets it sealed."""
    if declared_reply(type(turn.command)) is None or same_asker(turn.received, again):
        return turn.reply
    command, received, turn_id = turn.command, turn.received, (turn.host.journal, turn.command_id)

    async def sealed() -> JsonValue:
        return await _sealed(services, command, await turn.reply(), received, turn_id)

    return sealed


async def sent_before(
    services: Services, cell: Cell, received: Recorded, command: Command[Any], again: CommandReceivedEntry
) -> Sent:
    """Answer from the journal with the end of a turn; one without an end waits, is stuck, or is not resumed here."""
    accepted: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
    accepted.set_result(receipt_of(received))
    known = await _ended(services, received, command, again)

    async def reply() -> JsonValue:
        ended = known
        if ended is None:
            command_id, first = str(received.command_id), received.entry
            if (turn := cell.turns.get(command_id)) is not None:  # it was woken meanwhile
                return await reply_of(services, turn, again)()
            if command_id in cell.asleep and isinstance(first, CommandReceivedEntry):
                plain = await cell.asleep.reply(command_id)
                if declared_reply(type(command)) is None or same_asker(first, again):
                    return plain
                return await _sealed(services, command, plain, first, (cell.journal, command_id))
            ended = await _ended(services, received, command, again)
        if ended is not None and ended.error is None:
            return ended.reply
        named = f"turn [{received.journal}#{received.command_id}]"
        raise (ended and ended.error) or _stuck(cell, str(received.command_id)) or _not_resumed(named)

    return Sent(reply, accepted, received.sequence, cell)


class _Ended(NamedTuple):
    reply: JsonValue
    error: LoomError | None = None


async def _ended(
    services: Services, received: Recorded, command: Command[Any], again: CommandReceivedEntry
) -> _Ended | None:
    """Return what a turn ended with, None without an end."""
    ending: object = None
    async for recorded in services.store.read(received.journal, after=received.sequence):
        if recorded.command_id == received.command_id and recorded.kind in ENDINGS:
            ending = recorded.entry
            break
    if ending is None:
        return None
    if isinstance(ending, TurnFailedEntry) and (attempt := await _attempt(services, received)) is not None:
        return await _ended(services, attempt, command, again)
    if not isinstance(ending, TurnCompletedEntry):
        return _Ended(None, _no_reply(ending, received, f"turn [{received.journal}#{received.command_id}]"))
    if not isinstance(received.entry, CommandReceivedEntry):
        return _Ended(None)
    reply = present_reply(type(command), ending.reply, version=ending.reply_version)
    return _Ended(await reply_again(services.subjects, command, reply, first=received.entry, again=again))


async def _attempt(services: Services, received: Recorded) -> Recorded | None:
    """Return the command of the attempt that succeeded where its turn had failed; None where none has."""
    for mark in reversed(await services.store.marks([(received.journal, str(received.command_id))])):
        if isinstance(mark.entry, TurnCompletedEntry) and mark.entry.attempt is not None:
            return await services.store.find_command(received.journal, mark.entry.attempt)
    return None


async def _sealed(
    services: Services, command: Command[Any], plain: JsonValue, received: CommandReceivedEntry, turn: tuple[str, str]
) -> JsonValue:
    journal, command_id = turn
    return await protected_reply(
        services, command, plain, journal=journal, command_id=command_id, subject=received.subject
    )


def _no_reply(ending: object, received: Recorded, turn: str) -> LoomError:
    if isinstance(ending, TurnFailedEntry) and isinstance(received.entry, CommandReceivedEntry):
        return turn_failed_error(
            received.journal, received.entry.command_type, type_name=ending.type_name, message=ending.message
        )
    if isinstance(ending, TurnAbandonedEntry):
        return TurnAbandonedError(f"{turn} was abandoned by [{ending.identity}]: {ending.reason}")
    return TurnStuckError(f"the end of {turn} was erased; expected its reply: there is none")


def _stuck(cell: Cell, command_id: str) -> LoomError | None:
    stuck = cell.stuck.get(command_id)
    return (
        None if stuck is None else stuck.with_traceback(None)
    )  # it was raised before, and may be raised several times


def _not_resumed(turn: str) -> TurnStuckError:
    return TurnStuckError(f"{turn} has no end yet and is not resumed here; expected its reply: see `loom turns`")
