"""Replies with declared fields: protected before they are journaled, and opened again for the requester only.

A reply is sealed for the subject of its command, or for those that its fields name. Sealing gives the same result for
the same command id, so that an actor which asked for the reply journals the same values.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pydantic import JsonValue

from loom.actors.command import COMMANDS, Command, encode_reply, reply_type
from loom.actors.protected import check_values, header_names
from loom.actors.services import Services
from loom.errors import AdmissionError, ConfigError, UnknownActorError
from loom.journal.admission import Limits, Written
from loom.journal.kinds import CommandReceivedEntry
from loom.sealing import Node, Subjects, Vault, declaration_of_type, declared_plain, gone_in, open_sealed, protect
from loom.sealing.declaring import leaves_of

__all__ = [
    "declared_reply",
    "encoded_reply",
    "gone_in_reply",
    "protected_reply",
    "reply_again",
]


@lru_cache(maxsize=4_096)
def declared_reply(cls: type[Command[Any]]) -> Node | None:
    """Return the declarations of the reply type of a class of commands; None where there are none.

    Raises `ConfigError` for declarations that cannot be applied, and where a field is for the subject of the command
    and the command names none.
    """
    declared = declaration_of_type(reply_type(cls))
    if cls.subject_field is None and any(each.takes_key and each.subject is None for each in leaves_of(declared)):
        raise ConfigError(
            f"reply to [{cls.command_type}] has fields that are sealed or hashed for the subject of the command, which "
            "names none; expected subject_field on the command, or Sealed(subject=…): name it"
        )
    return declared


def encoded_reply(command: Command[Any], reply: object, *, limits: Limits) -> Written:
    """Return a reply as plain JSON with its text, as its caller gets it; one with declared fields must not be written.

    Raises `AdmissionError` if it is not of the command's reply type.
    """
    declared = declared_reply(type(command))
    if declared is None:
        return encode_reply(command, reply, limits=limits)
    try:
        plain = declared_plain(reply, declared)
    except AdmissionError:
        raise
    except ValueError as error:
        raise AdmissionError(
            f"reply to [{command.command_type}] cannot be written as JSON [{type(error).__name__}]; expected plain "
            "JSON values: correct the value"
        ) from error
    return encode_reply(command, plain, limits=limits)


async def protected_reply(
    services: Services, command: Command[Any], plain: JsonValue, *, journal: str, command_id: str, subject: str | None
) -> JsonValue:
    """Return the plain JSON of a reply as it may be journaled; the result is the same for the same command id.

    `journal` is the journal for which it is meant. Raises what `loom.sealing.protect` does.
    """
    declared = declared_reply(type(command))
    if declared is None:
        return plain
    names = header_names(journal, command_id)
    return await protect(
        plain, declared, vault=services.vault, subject=subject, once=f"reply {command_id}", names=names
    )


async def reply_again(
    subjects: Subjects | None,
    command: Command[Any],
    reply: JsonValue,
    *,
    first: CommandReceivedEntry,
    again: CommandReceivedEntry,
) -> JsonValue:
    """Return a journaled reply for a repeated command: opened only for the same name from the same source.

    Other callers get it sealed. Raises `ErasedError` where a value in it is of a subject who was erased.
    """
    declared = declared_reply(type(command))
    if declared is None or subjects is None:
        return reply
    check_values(subjects, reply)
    if subjects.vault is None or not same_asker(first, again):
        return reply
    return await open_sealed(reply, declared, vault=subjects.vault, as_named=True)


def same_asker(first: CommandReceivedEntry, again: CommandReceivedEntry) -> bool:
    """Tell whether two commands have the same sender, by name and source."""
    return (first.by, first.identity_source) == (again.by, again.identity_source)


def gone_in_reply(
    vault: Vault | None, command_type: str, reply: JsonValue, *, also_withheld: bool = True
) -> str | None:
    """Return why a turn cannot continue from a reply that it got, None where it can; see `loom.sealing.gone_in`.

    The code that asks handles a command type that is unknown here, or known more than once.
    """
    try:
        declared = declared_reply(COMMANDS.class_of(command_type))
    except UnknownActorError:
        return None
    return None if declared is None else gone_in(reply, declared, vault=vault, also_withheld=also_withheld)
