"""The reply of another actor, as the turn journals it: protected as in that actor's own journal."""

from __future__ import annotations

from typing import Any

from pydantic import JsonValue

from loom.actors.command import Command
from loom.actors.protected import declared_of, subject_of
from loom.actors.protected_replies import declared_reply, protected_reply
from loom.actors.turn import Turn
from loom.sealing import Node, gone_in, open_sealed, plain_of, subjects_in, texts_in

__all__ = ["given", "given_again", "note_sent"]


def note_sent(turn: Turn, command: Command[Any]) -> None:
    """Note the declared values of a command that the turn sends."""
    if declared_of(type(command)):
        turn.protected.add_model(command, subject=subject_of(command, plain_of(command)))


async def given(turn: Turn, command: Command[Any], command_id: str, reply: JsonValue) -> JsonValue:
    """Return a reply as the turn may journal it. An earlier reply with values that are gone stops the turn."""
    declared = declared_reply(type(command))
    if declared is None or reply is None:
        return reply
    subject = subject_of(command, plain_of(command))
    lost = gone_in(reply, declared, vault=turn.services.vault)
    if lost is not None:
        raise turn.halt(turn.gone(lost))
    _note(turn, declared, reply, subject)
    return await protected_reply(
        turn.services, command, reply, journal=turn.host.journal, command_id=command_id, subject=subject
    )


async def given_again(turn: Turn, command: Command[Any], reply: JsonValue) -> JsonValue:
    """Return a reply that the turn has journaled, opened; one that does not open any more stops the turn."""
    declared = declared_reply(type(command))
    if declared is None or reply is None:
        return reply
    lost = gone_in(reply, declared, vault=turn.services.vault)
    if lost is not None:
        raise turn.halt(turn.gone(lost))
    opened = await open_sealed(reply, declared, vault=turn.services.vault, as_named=True)
    _note(turn, declared, opened, subject_of(command, plain_of(command)))
    return opened


def _note(turn: Turn, declared: Node, plain: JsonValue, subject: str | None) -> None:
    texts = texts_in(plain, declared, subject=subject)
    if texts:
        turn.protected.add(subjects_in(plain, declared, subject=subject), texts)
