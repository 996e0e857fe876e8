"""What a model says of its fields: `Annotated[str, Sealed()]`, and what stands in such a field once it was protected.

A declared field admits, next to its own type, what may stand there instead: `SealedValue` as long as nothing opened
it, `Erased` once its subject was erased, `Withheld` for what was never kept. Its plain value is written as JSON by
`plain_of` alone, and protected then: everything else that writes it, a journal above all, is refused (law 11).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, GetCoreSchemaHandler, JsonValue, SerializationInfo
from pydantic_core import PydanticSerializationUnexpectedValue, core_schema, to_jsonable_python

__all__ = [
    "WITHHELD_AS",
    "Dropped",
    "Erased",
    "Handling",
    "Hashed",
    "Marker",
    "Masked",
    "Placeholder",
    "Sealed",
    "SealedValue",
    "Withheld",
    "is_sealed",
    "marked_plain",
    "placeholder_of",
    "plain_of",
    "worded",
]

Handling: TypeAlias = Literal["keep", "mask", "hash", "drop", "seal"]
"""What becomes of a value before it is written."""

_ERASED = "$erased"
_WITHHELD = "$withheld"
_FORMATS = (1, 2)


def is_sealed(value: object) -> bool:
    """Tell whether a value is one that was sealed."""
    return isinstance(value, Mapping) and value.get("$sealed") in _FORMATS and isinstance(value.get("subject"), str)


@dataclass(frozen=True, slots=True)
class Erased:
    """Takes the place of a value whose subject was erased: it can no longer be read."""

    def as_json(self) -> JsonValue:
        """Return it as it is written."""
        return {_ERASED: 1}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._taken,
            serialization=core_schema.plain_serializer_function_ser_schema(
                cls._written, when_used="json", return_schema=core_schema.dict_schema()
            ),
        )

    @classmethod
    def _written(cls, value: object) -> JsonValue:
        if isinstance(value, cls):
            return value.as_json()
        raise PydanticSerializationUnexpectedValue("expected what stands for an erased value")  # another of a union

    @classmethod
    def _taken(cls, value: object) -> Erased:
        if isinstance(value, cls) or placeholder_of(value) == cls():
            return cls()
        raise ValueError("Input should be what stands for an erased value")


WITHHELD_AS: Mapping[Literal["mask", "hash", "drop"], Literal["masked", "hashed", "dropped"]] = {
    "mask": "masked",
    "hash": "hashed",
    "drop": "dropped",
}
"""Handling → the word for what became of a value that was not kept."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """Stands for a value that was masked, hashed or dropped before anything was written; `digest` tells equal ones."""

    how: Literal["mask", "hash", "drop"]
    digest: str | None = None

    def as_json(self) -> JsonValue:
        """Return it as it is written."""
        return {_WITHHELD: self.how} if self.digest is None else {_WITHHELD: self.how, "digest": self.digest}


@dataclass(frozen=True, slots=True)
class SealedValue:
    """A value as it was sealed for a subject; the vault alone opens it."""

    subject: str
    generation: int
    about: str
    nonce: str
    data: str
    format: int = 2

    def as_json(self) -> JsonValue:
        """Return it as it is written."""
        named: dict[str, JsonValue] = {"$sealed": self.format, "subject": self.subject}
        if self.format != 1:
            named["generation"] = self.generation
        return {**named, "about": self.about, "nonce": self.nonce, "data": self.data}


Placeholder: TypeAlias = Erased | Withheld | SealedValue
"""What may stand in a declared field in the place of its value."""


def placeholder_of(value: object) -> Placeholder | None:
    """Return what a piece of JSON stands for, if it stands for a value that is not there."""
    if not isinstance(value, Mapping):
        return None
    if is_sealed(value):
        generation, rest = value.get("generation", 0), [value.get(name) for name in ("about", "nonce", "data")]
        if type(generation) is int and all(isinstance(each, str) for each in rest):
            about, nonce, data = map(str, rest)
            return SealedValue(value["subject"], generation, about, nonce, data, value["$sealed"])
    if value == {_ERASED: 1}:
        return Erased()
    how, digest = value.get(_WITHHELD), value.get("digest")
    if how in ("mask", "hash", "drop") and (digest is None or isinstance(digest, str)):
        return Withheld(how, digest)
    return None


def worded(value: JsonValue) -> JsonValue:
    """Return JSON for people: what stands for a value that is not there says what became of it, as `[sealed]`."""
    match placeholder_of(value):
        case SealedValue():
            return "[sealed]"
        case Erased():
            return "[erased]"
        case Withheld(how=how):
            return _WORDS[how]
    if isinstance(value, dict):
        return {name: worded(each) for name, each in value.items()}
    return [worded(each) for each in value] if isinstance(value, list) else value


_WORDS = {"mask": "[masked]", "hash": "[hashed]", "drop": "[dropped]"}


@dataclass(frozen=True, slots=True)
class Marker:
    """What is declared of a field; base of the four."""

    handling: ClassVar[Handling]

    @property
    def named_subject(self) -> str | None:
        """The field that holds the subject, where it is not the subject of the whole."""
        return None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        plain = handler(source)
        return core_schema.no_info_wrap_validator_function(
            _admit,
            plain,
            serialization=core_schema.wrap_serializer_function_ser_schema(_write, info_arg=True, schema=plain),
        )


@dataclass(frozen=True, slots=True)
class Sealed(Marker):
    """Encrypt the field for its subject: that of the whole, or the one that a field of the same model names."""

    subject: str | None = None
    handling: ClassVar[Handling] = "seal"

    @property
    def named_subject(self) -> str | None:
        """The field that holds the subject."""
        return self.subject


@dataclass(frozen=True, slots=True)
class Masked(Marker):
    """Write down that there was a value, and nothing of it."""

    handling: ClassVar[Handling] = "mask"


@dataclass(frozen=True, slots=True)
class Hashed(Marker):
    """Write a keyed hash, by which equal values of a subject are recognised until the subject is erased."""

    subject: str | None = None
    handling: ClassVar[Handling] = "hash"

    @property
    def named_subject(self) -> str | None:
        """The field that holds the subject."""
        return self.subject


@dataclass(frozen=True, slots=True)
class Dropped(Marker):
    """Write nothing but that the field was dropped."""

    handling: ClassVar[Handling] = "drop"


def _admit(value: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, Erased | Withheld | SealedValue):
        return value
    placeholder = placeholder_of(value)
    return validate(value) if placeholder is None else placeholder


def _write(value: Any, serialise: core_schema.SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
    if isinstance(value, Erased | Withheld | SealedValue):
        return value.as_json() if info.mode == "json" else value
    if value is not None and info.mode == "json" and isinstance(info.context, _ProtectedNext):
        context = info.context
        context.written += 1
        return serialise(value) if context.mark is None else {context.mark: serialise(value)}
    if value is not None and info.mode == "json":
        raise ValueError(
            "a field that is declared to be protected would be written in clear; expected it to be protected before: "
            "see `loom docs subjects`"
        )
    return serialise(value)


def plain_of(model: BaseModel, *, by_alias: bool | None = None) -> dict[str, JsonValue]:
    """Return a model as plain JSON with its declared fields in clear, to be protected before anything is written."""
    plain: dict[str, JsonValue] = model.model_dump(mode="json", context=_ProtectedNext(), by_alias=by_alias)
    return plain


def marked_plain(value: object) -> tuple[Any, str, int]:
    """Return a value as plain JSON with its declared fields in clear, each within an object under a mark of its own.

    Also return the mark and the number of marks: a caller that removes marks can check that it removed all of them.
    """
    context = _ProtectedNext(mark=secrets.token_hex(16))
    return to_jsonable_python(value, context=context), str(context.mark), context.written


class _ProtectedNext:
    """Says that what is written is protected before it goes anywhere; counts what was written in clear."""

    __slots__ = ("mark", "written")

    def __init__(self, mark: str | None = None) -> None:
        self.mark = mark
        self.written = 0
