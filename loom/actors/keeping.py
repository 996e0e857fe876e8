"""How a turn protects values: their subjects, the keys that it holds, and keyed digests that cannot be guessed.

A verb that must not wait, as `evaluate`, uses the keys that the turn holds: those of its command's subjects from the
first line on, and those of the subjects that its look-ups name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, JsonValue

from loom.actors.protected import header_names
from loom.actors.turn import Turn, TurnStopped
from loom.errors import AdmissionError, ConfigError, ErasedError, InvalidNameError
from loom.sealing import Subjects, Vault, plain_of
from loom.sealing.markers import WITHHELD_AS, Erased, SealedValue, Withheld, placeholder_of
from loom.sealing.vault import Keys

__all__ = [
    "hold_keys",
    "hold_keys_of_command",
    "keyed_digest",
    "keys_at_hand",
    "lost",
    "names_of",
    "plain_result",
    "subject_of_turn",
    "why_lost",
    "without_texts",
]


def subject_of_turn(turn: Turn) -> str | None:
    """Return the default subject of the values of a turn: the subject that its command names."""
    name = type(turn.command).subject_field
    if turn.received.subject is not None or name is None:
        return turn.received.subject
    named = getattr(turn.command, name, None)
    return named if isinstance(named, str) else None


def names_of(turn: Turn) -> tuple[str, ...]:
    """Return the names in the headers of a turn's entries: no protected value may be equal to one of them."""
    return header_names(turn.host.journal, turn.command_id)


async def hold_keys_of_command(turn: Turn) -> None:
    """Load the keys of the subjects that a command names; erased ones are left out, and all of them without a vault."""
    vault = turn.services.vault
    if vault is None:
        return
    for subject in {subject_of_turn(turn), *turn.received.proofs} - {None, *turn.keys}:
        try:
            keys = await _keys(turn, vault, str(subject))
        except (ErasedError, InvalidNameError):
            continue  # a verb that would seal something for it refuses that
        if keys is not None:
            turn.keys[str(subject)] = keys


async def hold_keys(turn: Turn, subjects: Collection[str]) -> None:
    """Load the keys of some subjects for the turn.

    Raises `ConfigError` without a vault and `ErasedError` for a subject that was erased; a resumed or replayed turn
    stops there instead, as `sealed` or `erased`.
    """
    missing = [subject for subject in subjects if subject not in turn.keys]
    if not missing:
        return
    vault = turn.services.vault
    if vault is None:
        raise _without_vault(turn)
    for subject in missing:
        try:
            keys = await _keys(turn, vault, subject)
        except ErasedError as error:
            raise _erased(turn, error) from error
        if keys is None:
            raise lost(turn, "sealed")
        turn.keys[subject] = keys


async def _keys(turn: Turn, vault: Vault, subject: str) -> Keys | None:
    """Return the keys of a subject; a replay makes none (law 5)."""
    return await vault.keys(subject) if turn.compare is None else await vault.known(subject)


def keys_at_hand(turn: Turn, subjects: Collection[str]) -> Mapping[str, Keys]:
    """Return the keys of some subjects without waiting; see `hold_keys` for what it raises.

    Raises `AdmissionError` for a subject that neither the command nor a look-up of the turn has named.
    """
    found: dict[str, Keys] = {}
    for subject in subjects:
        keys = turn.keys.get(subject)
        if keys is None:
            raise _not_held(turn, subject)
        try:
            keys.check()
        except ErasedError as error:
            raise _erased(turn, error) from error
        found[subject] = keys
    return found


def keyed_digest(keys: Mapping[str, Keys], value: JsonValue, *, about: str) -> str:
    """Return a keyed digest of a value of some subjects: without all of their keys no value can be tried against it."""
    digest = value
    for subject in sorted(keys):
        digest = keys[subject].hashed(digest, about=about)
    if isinstance(digest, str):
        return digest
    raise AdmissionError("a digest of protected values needs a subject; expected one: name the subject")


def lost(turn: Turn, why: str, *, replayed: bool = False) -> TurnStopped:
    """Return the error for a turn that cannot continue, or be replayed, because a value is not there."""
    return turn.halt(turn.gone(why, replayed=replayed))


def why_lost(value: JsonValue, subjects: Subjects | None) -> str | None:
    """Return why a protected value cannot be read again: `masked`, `hashed`, `dropped`, `erased`, or `sealed`.

    `sealed` means that there is no vault to open it with; None where it opens.
    """
    match placeholder_of(value):
        case Withheld(how=how):
            return WITHHELD_AS[how]
        case Erased():
            return "erased"
        case SealedValue() as sealed:
            if subjects is not None and subjects.erasures.is_ended(sealed.subject, sealed.generation):
                return "erased"
            return "sealed" if subjects is None or subjects.vault is None else None
    return None


def plain_result(value: Any) -> Any:
    """Return a value of user code, models included, as plain JSON with declared fields in clear."""
    if isinstance(value, BaseModel):
        return plain_of(value, by_alias=True)
    if isinstance(value, Mapping):
        return {name: plain_result(each) for name, each in value.items()}
    return [plain_result(each) for each in value] if isinstance(value, list | tuple) else value


def without_texts(turn: Turn, value: Any) -> Any:
    """Return free text, alone or within lists, mappings and models, with the turn's protected values as `[sealed]`."""
    if not turn.protected.texts:
        return value
    if isinstance(value, str):
        return turn.protected.redact(value)
    if isinstance(value, BaseModel):
        return type(value).model_validate({name: without_texts(turn, each) for name, each in value})
    if isinstance(value, Mapping):
        return {name: without_texts(turn, each) for name, each in value.items()}
    return [without_texts(turn, each) for each in value] if isinstance(value, list | tuple) else value


def _not_held(turn: Turn, subject: str) -> Exception | TurnStopped:
    """Return the error for a subject whose keys the turn does not hold, and may not wait for."""
    subjects = turn.services.subjects
    if subjects is None or subjects.vault is None:
        return _without_vault(turn)
    if turn.compare is not None:
        return lost(turn, "sealed" if subjects.erasures.get(subject) is None else "erased")
    try:
        subjects.erasures.check(subject)
    except ErasedError as error:
        return _erased(turn, error)
    return AdmissionError(
        f"keys of subject [{subject:.80}] are not held by turn [{turn}]; expected one that its command or a look-up "
        "has named before: name it there"
    )


def _without_vault(turn: Turn) -> Exception | TurnStopped:
    if turn.recorded_steps is not None:
        return lost(turn, "sealed")
    return ConfigError(
        f"something in turn [{turn}] is to be sealed or hashed, and there is no vault; expected a master key: fill in "
        "sealing: in the config"
    )


def _erased(turn: Turn, error: ErasedError) -> Exception | TurnStopped:
    return error if turn.recorded_steps is None else lost(turn, "erased")
