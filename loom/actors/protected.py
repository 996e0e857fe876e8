"""Commands with declared fields: protected before they are journaled, opened before an interrupted turn is resumed.

A class may name the subject of its commands, by `subject_field`. The subject is then journaled with each of them, also
where the command itself declares nothing: the reply, records and look-ups of its turn are for that subject by default.

Sealing gives the same result for the same command id. Values that are not kept are compared by proofs, which need the
keys of all subjects. So an id that is sent again with other contents is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import JsonValue

from loom.actors.command import COMMANDS, Command, present_payload
from loom.actors.services import Services
from loom.errors import AdmissionError, ErasedError
from loom.identity import parse_journal_name
from loom.journal.kinds import CommandReceivedEntry
from loom.sealing import Subjects, Vault, declaration_of, declared_plain, lost_in, open_sealed, proofs, protect
from loom.sealing.concerning import sealed_values
from loom.sealing.declaring import Parts
from loom.sealing.naming import check_subject
from loom.sealing.wording import NOT_KEPT

__all__ = ["NOT_KEPT", "Protected", "check_not_erased", "declared_of", "is_protected", "opened_payload", "protected"]


class Protected(NamedTuple):
    """A command as it is journaled: its payload, its subject and proofs of the whole; and its JSON in clear."""

    payload: JsonValue
    subject: str | None
    proofs: Mapping[str, str]
    plain: str


def declared_of(cls: type[Command[Any]]) -> Parts:
    """Return the declarations of a class of commands; raise `ConfigError` for those that cannot be applied."""
    return declaration_of(cls)


def is_protected(cls: type[Command[Any]]) -> bool:
    """Tell whether commands of a class are journaled with their subject, or with protected values."""
    return cls.subject_field is not None or bool(declaration_of(cls))


async def protected(services: Services, command: Command[Any], *, journal: str, command_id: str) -> Protected:
    """Return a command with declared fields as it may be journaled.

    Raises `AdmissionError` where it names no subject, or has a declared value in clear elsewhere; `ErasedError` for a
    subject that was erased; `ConfigError` where there is no vault.
    """
    declared = declared_of(type(command))
    try:
        plain: Any = declared_plain(command, declared)
    except ValueError as error:
        raise AdmissionError(
            f"command [{command.command_type}] cannot be written as JSON [{type(error).__name__}]; expected plain JSON "
            "values: correct the value"
        ) from error
    subject = subject_of(command, plain)
    vault = services.vault
    if subject is not None:
        check_subject(subject)
        if vault is not None:
            vault.check_taken(subject)
    names = header_names(journal, command_id)
    payload = await protect(plain, declared, vault=vault, subject=subject, once=command_id, names=names)
    found = await proofs(plain, declared, vault=vault, subject=subject, about=command_id)
    return Protected(payload, subject, found, json.dumps(plain, ensure_ascii=False))


def subject_of(command: Command[Any], plain: Mapping[str, JsonValue]) -> str | None:
    """Return the subject of a command, by the field that its class names; None where it names none."""
    return named_subject(type(command).subject_field, plain, what=f"command [{command.command_type}]")


def named_subject(field: str | None, plain: Mapping[str, JsonValue], *, what: str) -> str | None:
    """Return the subject that a field names; None without a field. `what` is whose field it is, for the message."""
    if field is None:
        return None
    subject = plain.get(field)
    if not isinstance(subject, str):
        raise AdmissionError(
            f"{what} names no subject in [{field}] [{subject!r:.40}]; expected the name of one: fill in the field"
        )
    return subject


def header_names(journal: str, command_id: str) -> tuple[str, ...]:
    """Return the names in the headers of a turn's entries: no protected value may be equal to one of them."""
    return parse_journal_name(journal).key, journal, command_id


def check_not_erased(subjects: Subjects | None, received: object) -> None:
    """Raise `ErasedError` for an earlier command with values of a subject who was erased since."""
    if subjects is not None and isinstance(received, CommandReceivedEntry):
        check_values(subjects, received.payload)


def check_values(subjects: Subjects, value: JsonValue) -> None:
    """Raise `ErasedError` where something in JSON is sealed for a subject who was erased since."""
    for sealed in sealed_values(value):
        subjects.erasures.check(sealed.subject, generation=sealed.generation)


async def opened_payload(
    vault: Vault | None, received: CommandReceivedEntry, among: tuple[type[Command[Any]], ...]
) -> tuple[JsonValue, str | None]:
    """Return the payload of a recorded command, opened, and the reason if a turn cannot continue from it.

    The reason is `masked`, `hashed`, `dropped` or `erased`, or `sealed` where there is no vault to open it with.
    """
    cls = COMMANDS.class_of(received.command_type, among=among)
    declared = declared_of(cls)
    if not declared:
        return present_payload(cls, received.payload, version=received.command_version), None
    payload, closed = received.payload, False
    try:
        if vault is not None:
            payload = await open_sealed(payload, declared, vault=vault, subject=received.subject)
    except ErasedError:
        closed = True
    why = lost_in(payload, declared, subject=received.subject)
    if why is None and (closed or vault is None) and any(sealed_values(payload)):
        why = "sealed"
    return present_payload(cls, payload, version=received.command_version), why
