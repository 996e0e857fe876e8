"""Commands from outside: decoded among those that an actor takes, and the end of their turns in plain JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue, ValidationError

from loom.actors.actor import Actor, commands_of
from loom.actors.command import COMMANDS, Command
from loom.actors.protected import is_protected
from loom.errors import ActorFailedError, AdmissionError, LoomError, TurnAbandonedError, TurnStuckError
from loom.sealing.wording import problems, without_words

__all__ = ["ENDED_BADLY", "command_of", "ending_of"]

ENDED_BADLY: Mapping[type[LoomError], str] = {
    ActorFailedError: "failed",
    TurnAbandonedError: "abandoned",
    TurnStuckError: "stuck",
}
"""The errors by which `ask` says that a turn has no reply, and the status that each stands for."""


def command_of(cls: type[Actor[Any]], command_type: str, payload: Mapping[str, JsonValue]) -> Command[Any]:
    """Return the command that a name and a payload stand for: one that the actor takes, or a message.

    Raises `AdmissionError` for one that it does not take, that is not sent by hand, or that has other fields.
    """
    takes = commands_of(cls)
    known = sorted(each.command_type for each in takes)
    if takes and command_type not in known and not _is_message(command_type):
        raise AdmissionError(
            f"actor type [{cls.actor_type}] takes no command [{command_type}]; expected one of "
            f"[{', '.join(known)}]: name one of these"
        )
    try:
        command = COMMANDS.decode(command_type, dict(payload), among=takes)
    except ValidationError as error:
        hides = any(is_protected(each) for each in COMMANDS.classes_of(command_type))
        raise AdmissionError(
            f"command [{command_type}] does not take this payload [{problems(error, hides=hides)}]; expected its "
            "fields: correct the JSON"
        ) from (without_words(error) if hides else error)
    if not command.by_hand:
        raise AdmissionError(f"command [{command_type}] is not sent by hand; expected what prepares it to do so")
    return command


def _is_message(command_type: str) -> bool:
    return any(each.is_message for each in COMMANDS.classes_of(command_type))


def ending_of(asked: asyncio.Future[JsonValue]) -> dict[str, JsonValue]:
    """Return the end of a turn that was asked for; an error that says nothing of the turn itself is raised."""
    error = asked.exception()
    if error is None:
        return {"status": "completed", "reply": asked.result(), "error": None, "approvals": []}
    status = next((word for cls, word in ENDED_BADLY.items() if isinstance(error, cls)), None)
    if status is None:
        raise error
    said: dict[str, JsonValue] = {"type": type(error).__name__, "message": str(error)}
    return {"status": status, "reply": None, "error": said, "approvals": []}
