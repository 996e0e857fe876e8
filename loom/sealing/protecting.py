"""Plain JSON into JSON that may be written, by what is declared of it, and back; proofs, and free text.

What is written is found again by its path: a sealed value opens at the path that it was sealed at, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic import JsonValue

from loom.errors import AdmissionError, ConfigError, ErasedError
from loom.journal.admission import json_value
from loom.sealing.declaring import Node
from loom.sealing.markers import WITHHELD_AS, Erased, SealedValue, Withheld, is_sealed, marked_plain, placeholder_of
from loom.sealing.naming import check_subject
from loom.sealing.vault import Keys, Vault
from loom.sealing.walking import DeclaredValue, declared_values, rebuilt, texts_of

__all__ = [
    "declared_plain",
    "gone_in",
    "lost_in",
    "open_sealed",
    "paths_in",
    "proofs",
    "protect",
    "protect_with",
    "redacted",
    "subjects_in",
    "texts_in",
]

_SHORTEST_REDACTED = 4
_REDACTED = "[sealed]"


async def protect(
    value: JsonValue,
    declaration: Node,
    *,
    vault: Vault | None,
    subject: str | None = None,
    once: str | None = None,
    names: Collection[str] = (),
) -> JsonValue:
    """Return plain JSON as it may be written; null stays null.

    `once`, such as a command id, makes what is sealed come out the same for the same one. `names` are those that stand
    in headers, such as the journal key and the command id: a declared value must not be one of them, nor its subject.
    Raises `AdmissionError` for such a value, for one that looks protected already (opening it would open
    any sealed value of which the sender has a copy), for one of another shape than declared, and
    where no subject is named; `ConfigError` without a vault; `ErasedError` for a subject that was erased.
    """
    keys: dict[str, Keys] = {}
    found = list(declared_values(value, declaration, subject=subject))
    for each in found:
        _check(each, names)
        if each.leaf.takes_key and (whose := _named(each)) not in keys:
            keys[whose] = await _vault(vault, each.path).keys(whose)
    return _protected(keys, value, declaration, subject=subject, once=once)


def protect_with(
    keys: Mapping[str, Keys],
    value: JsonValue,
    declaration: Node,
    *,
    subject: str | None = None,
    once: str | None = None,
    names: Collection[str] = (),
) -> JsonValue:
    """Return what `protect` does, with the keys of all subjects at hand: for code that cannot wait.

    Raises `KeyError` for a subject whose keys are not among them.
    """
    for each in declared_values(value, declaration, subject=subject):
        _check(each, names)
    return _protected(keys, value, declaration, subject=subject, once=once)


def _protected(
    keys: Mapping[str, Keys], value: JsonValue, declaration: Node, *, subject: str | None, once: str | None
) -> JsonValue:
    def written(each: DeclaredValue) -> JsonValue:
        match each.leaf.handling:
            case "seal":
                return keys[_named(each)].seal(each.value, about=each.path, once=once)
            case "hash":
                return Withheld("hash", keys[_named(each)].hashed(each.value, about=each.path)).as_json()
            case "mask" | "drop":
                return Withheld(each.leaf.handling).as_json()
        return each.value

    return rebuilt(value, declaration, written, subject=subject)


async def open_sealed(
    value: JsonValue, declaration: Node, *, vault: Vault | None, subject: str | None = None, as_named: bool = False
) -> JsonValue:
    """Return protected JSON with its sealed values opened, and `Erased` in the place of erased ones.

    What was masked, hashed or dropped stays so. `as_named` opens each value for the subject and the place that it
    names itself: for what is read out of a journal, where nothing that came in sealed is ever written.

    Raises `ErasedError` for what does not open though it was not erased: the keys are lost, or it was changed, or
    sealed for another subject or place.
    """
    opened: dict[str, JsonValue] = {}
    for each in declared_values(value, declaration, subject=subject):
        sealed = placeholder_of(each.value)
        if not isinstance(sealed, SealedValue):
            continue
        if not as_named and (sealed.about != each.path or sealed.subject != each.subject):
            raise ErasedError(
                f"what was sealed at [{each.path}] does not open; it was sealed for another, or elsewhere"
            )
        holder = _vault(vault, each.path)
        if holder.is_erased(sealed.subject, sealed.generation):
            opened[each.path] = Erased().as_json()
        else:
            opened[each.path] = await holder.open(each.value, subject=sealed.subject)
    return rebuilt(value, declaration, lambda each: opened.get(each.path, each.value), subject=subject)


async def proofs(
    value: JsonValue, declaration: Node, *, vault: Vault | None, subject: str | None = None, about: str
) -> dict[str, str]:
    """Return subject → keyed hash over all of the plain JSON, for each subject that something in it is declared for.

    By it a command that is sent again is compared with the first, whatever was kept of either. `about` is its id. The
    hash is one, nested over the keys of all subjects in the order of their names: once one of them is erased, the keys
    of the others do not suffice to try values at it.
    """
    subjects = sorted(subjects_in(value, declaration, subject=subject))
    digest = value
    for whose in subjects:
        digest = (await _vault(vault, about).keys(whose)).hashed(digest, about=f"proof {about}")
    return {whose: str(digest) for whose in subjects}


def subjects_in(value: JsonValue, declaration: Node, *, subject: str | None = None) -> frozenset[str]:
    """Return the subjects of what is sealed or hashed in plain or protected JSON."""
    return frozenset(
        _named(each) for each in declared_values(value, declaration, subject=subject) if each.leaf.takes_key
    )


def paths_in(value: JsonValue, declaration: Node, *, subject: str | None = None) -> tuple[str, ...]:
    """Return where declared values are in plain or protected JSON, as JSON pointers (RFC 6901); not where null is."""
    return tuple(each.path for each in declared_values(value, declaration, subject=subject))


def lost_in(value: JsonValue, declaration: Node, *, subject: str | None = None) -> str | None:
    """Return why JSON that was protected and opened is not what it was: `masked`, `hashed`, `dropped` or `erased`."""
    for each in declared_values(value, declaration, subject=subject):
        match placeholder_of(each.value):
            case Withheld(how=how):
                return WITHHELD_AS[how]
            case Erased():
                return "erased"
    return None


def gone_in(value: JsonValue, declaration: Node, *, vault: Vault | None, also_withheld: bool = True) -> str | None:
    """Return why protected JSON cannot be opened as it was; None where it can. Nothing is opened, and no key read.

    That is `masked`, `hashed` or `dropped`, unless `also_withheld` is false; `erased`; or `sealed` without a vault.
    """
    sealed = None
    for each in declared_values(value, declaration):
        match placeholder_of(each.value):
            case Withheld(how=how) if also_withheld:
                return WITHHELD_AS[how]
            case Erased():
                return "erased"
            case SealedValue(subject=subject, generation=generation):
                if vault is not None and vault.is_erased(subject, generation):
                    return "erased"
                sealed = "sealed" if vault is None else None
    return sealed


def declared_plain(value: object, declaration: Node) -> JsonValue:
    """Return a value as plain JSON with what is declared of it in clear, to be protected before anything is written.

    Raises `AdmissionError` where something is declared that the declaration does not lead to, as in a field of type
    `Any`: nothing would protect that.
    """
    marked, mark, written = marked_plain(value)
    led_to = 0

    def unmarked(each: DeclaredValue) -> JsonValue:
        nonlocal led_to
        if not isinstance(each.value, dict) or mark not in each.value:  # plain JSON was given, or what stands for it
            return each.value
        led_to += 1
        return each.value[mark]

    plain = rebuilt(marked, declaration, unmarked)
    if led_to != written:
        raise AdmissionError(
            f"[{type(value).__name__}] has a declared value where its type does not say so; expected types that name "
            "every model with declared fields: name it, instead of Any or a base of it"
        )
    return plain


def texts_in(value: JsonValue, declaration: Node, *, subject: str | None = None) -> frozenset[str]:
    """Return the declared values of plain JSON as text, parts of one included; nothing of what stands for one."""
    plain = (
        each.value
        for each in declared_values(value, declaration, subject=subject)
        if placeholder_of(each.value) is None
    )
    return frozenset(text for each in plain for text in texts_of(each))


def redacted(text: str, texts: Collection[str]) -> str:
    """Return text with exact occurrences of others, of 4 characters or more, as `[sealed]`; the longest go first."""
    found = [each for each in texts if len(each) >= _SHORTEST_REDACTED and each in text]
    for each in sorted(found, key=lambda each: (-len(each), each)):
        text = text.replace(each, _REDACTED)
    return text


def _named(found: DeclaredValue) -> str:
    if found.subject is None:
        raise AdmissionError(
            f"field [{found.path}] is {'sealed' if found.leaf.handling == 'seal' else 'hashed'} for a subject, "
            "and none is named; expected one: name the subject"
        )
    return check_subject(found.subject)


def _check(found: DeclaredValue, names: Collection[str]) -> None:
    """Refuse a value that must not be written, or that would be written elsewhere in clear."""
    if is_sealed(found.value) or placeholder_of(found.value) is not None:
        raise AdmissionError(f"field [{found.path}] looks like a protected value; expected a plain one: send that")
    if found.leaf.handling == "keep":
        return
    json_value(found.value)  # what is not written is not looked at by the journal's own gate
    said = {*names} if found.subject is None else {*names, found.subject}
    if not said.isdisjoint(texts_of(found.value)):
        raise AdmissionError(
            f"field [{found.path}] is declared to be protected, and is the name of its subject, journal or command; "
            "expected names that are not personal: they are written in clear"
        )


def _vault(vault: Vault | None, path: str) -> Vault:
    if vault is None:
        raise ConfigError(
            f"field [{path}] is to be sealed or hashed, and there is no vault; expected a master key: fill in sealing: "
            "in the config"
        )
    return vault
