"""What a turn protects with: whose its values are, the keys that it holds, and digests that nobody can guess.

A verb that may not wait, as `evaluate`, has the keys at hand that the turn holds: those of its command's subjects from
its first line on, and those of what its look-ups name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, JsonValue

from loom.actors.turn import Turn, TurnStopped
from loom.errors import AdmissionError, ConfigError, ErasedError, InvalidNameError, NotReplayableError
from loom.identity import parse_journal_name
from loom.sealing import Subjects, Vault, plain_of
from loom.sealing.markers import Erased, SealedValue, Withheld, placeholder_of
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
    "vault_of",
    "why_lost",
    "without_texts",
]

_LOST = {"mask": "masked", "hash": "hashed", "drop": "dropped"}


def subject_of_turn(turn: Turn) -> str | None:
    """Return whose the values of a turn are where nothing else is named: the subject that its command names."""
    name = type(turn.command).subject_field
    if turn.received.subject is not None or name is None:
        return turn.received.subject
    named = getattr(turn.command, name, None)
    return named if isinstance(named, str) else None


def vault_of(turn: Turn) -> Vault | None:
    """Return the vault that a turn seals with; None where there is none."""
    subjects = turn.services.subjects
    return None if subjects is None else subjects.vault


def names_of(turn: Turn) -> tuple[str, ...]:
    """Return the names that stand in the headers of a turn's entries: no protected value may be one of them."""
    return parse_journal_name(turn.host.journal).key, turn.host.journal, turn.command_id


async def hold_keys_of_command(turn: Turn) -> None:
    """Have the keys of the subjects at hand that a command names; one that was erased, or has no vault, is left out."""
    vault = vault_of(turn)
    if vault is None:
        return
    for subject in {subject_of_turn(turn), *turn.received.proofs} - {None, *turn.keys}:
        try:
            keys = await _keys(turn, vault, str(subject))
        except (ErasedError, InvalidNameError):
            continue  # whatever would seal something for it is refused there
        if keys is not None:
            turn.keys[str(subject)] = keys


async def hold_keys(turn: Turn, subjects: Collection[str]) -> None:
    """Have the keys of some subjects at hand.

    Raises `ConfigError` without a vault and `ErasedError` for a subject that was erased; a turn that is driven again
    stops there instead, as `sealed` or `erased`.
    """
    missing = [subject for subject in subjects if subject not in turn.keys]
    if not missing:
        return
    vault = vault_of(turn)
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
            subjects_of = turn.services.subjects
            if subjects_of is None or subjects_of.vault is None:
                raise _without_vault(turn)
            if turn.compare is not None:
                raise lost(turn, "sealed" if subjects_of.erasures.get(subject) is None else "erased")
            try:
                subjects_of.erasures.check(subject)
            except ErasedError as error:
                raise _erased(turn, error) from error
            raise AdmissionError(
                f"keys of subject [{subject:.80}] are not at hand in turn [{turn}]; expected one that its command or a "
                "look-up has named before: name it there"
            )
        try:
            keys.check()
        except ErasedError as error:
            raise _erased(turn, error) from error
        found[subject] = keys
    return found


def keyed_digest(keys: Mapping[str, Keys], value: JsonValue, *, about: str) -> str:
    """Return a digest of a value of some subjects: whoever lacks the key of one of them cannot try values at it."""
    digest = value
    for subject in sorted(keys):
        digest = keys[subject].hashed(digest, about=about)
    if isinstance(digest, str):
        return digest
    raise AdmissionError("a digest of protected values needs a subject; expected one: name whose they are")


def lost(turn: Turn, why: str, *, replayed: bool = False) -> TurnStopped:
    """Return what to raise where a turn would have to go on, or be replayed, from a value that is not there."""
    if turn.compare is None and not replayed:
        return turn.halt(turn.not_resumable(why))
    return turn.halt(
        NotReplayableError(
            f"turn [{turn}] was given something that is [{why}]; expected a value that can be read: replay it where it "
            "can be opened, if it can be",
            reason=why,
        )
    )


def why_lost(value: JsonValue, subjects: Subjects | None) -> str | None:
    """Return why a protected value cannot be had again: `masked`, `hashed`, `dropped`, `erased`, or `sealed`.

    The last says that there is no vault to open it with; None where it opens.
    """
    match placeholder_of(value):
        case Withheld(how=how):
            return _LOST[how]
        case Erased():
            return "erased"
        case SealedValue() as sealed:
            if subjects is not None and subjects.erasures.is_ended(sealed.subject, sealed.generation):
                return "erased"
            return "sealed" if subjects is None or subjects.vault is None else None
    return None


def plain_result(value: Any) -> Any:
    """Return what code handed over with models in it as plain JSON, declared fields in clear, to be protected next."""
    if isinstance(value, BaseModel):
        return plain_of(value, by_alias=True)
    if isinstance(value, Mapping):
        return {name: plain_result(each) for name, each in value.items()}
    return [plain_result(each) for each in value] if isinstance(value, list | tuple) else value


def without_texts(turn: Turn, said: Any) -> Any:
    """Return free text, alone or within lists, mappings and models, with the turn's protected values as `[sealed]`."""
    if not turn.protected.texts:
        return said
    if isinstance(said, str):
        return turn.protected.redact(said)
    if isinstance(said, BaseModel):
        return type(said).model_validate({name: without_texts(turn, each) for name, each in said})
    if isinstance(said, Mapping):
        return {name: without_texts(turn, each) for name, each in said.items()}
    return [without_texts(turn, each) for each in said] if isinstance(said, list | tuple) else said


def _without_vault(turn: Turn) -> Exception | TurnStopped:
    if turn.recorded_steps is not None:
        return lost(turn, "sealed")
    return ConfigError(
        f"something in turn [{turn}] is to be sealed or hashed, and there is no vault; expected a master key: fill in "
        "sealing: in the config"
    )


def _erased(turn: Turn, error: ErasedError) -> Exception | TurnStopped:
    return error if turn.recorded_steps is None else lost(turn, "erased")
