"""How an entry becomes the bytes of its body: serialised once, by pydantic, and then let through the admission gate.

Pydantic writes some values in a way that loses them without a word: NaN in a nested model as null, two keys of
different types as the same text. So an entry whose fields are not plain is dumped a second time and looked through.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo

from loom.errors import AdmissionError
from loom.journal.admission import Limits, admit, admit_written, json_value
from loom.journal.entry import KINDS, Entry

__all__ = ["serialise"]

_PLAIN = frozenset({str, int, float, bool, NoneType, datetime})


def serialise(entry: Entry, *, limits: Limits) -> bytes:
    """Return the body of an entry as it will be stored and hashed; raise `AdmissionError` if it may not be."""
    cls = type(entry)
    plain = _checked(cls)
    try:
        body = cls.__pydantic_serializer__.to_json(entry, warnings="error")
        if plain:
            return admit_written(body, limits=limits)
        json_value(entry.model_dump(mode="json"), limits=limits)
    except AdmissionError:
        raise
    except Exception as error:  # fields may bring serialisers of their own
        raise AdmissionError(
            f"entry of kind [{cls.kind}] cannot be written as JSON [{type(error).__name__}: {error}]; "
            "expected [plain JSON values]: mend the value"
        ) from error
    return admit(body, limits=limits)


@lru_cache(maxsize=4_096)
def _checked(cls: type[Entry]) -> bool:
    """Tell whether what pydantic writes of a class can be trusted; refuse one that could not be read back."""
    kind = getattr(cls, "kind", None)
    known = None if kind is None else KINDS.get(kind)
    if known is None or (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise AdmissionError(
            f"entry class [{cls.__qualname__}] has no kind of its own, only [{kind}]; expected one to be read back by: "
            "give the class a `kind`"
        )
    return _is_plain_model(cls, frozenset())


def _is_plain_model(cls: type[BaseModel], above: frozenset[type]) -> bool:
    config, custom = cls.model_config, cls.__pydantic_decorators__
    if config.get("ser_json_inf_nan") != "constants" or config.get("extra") == "allow":
        return False
    if config.get("serialize_by_alias") or custom.field_serializers or custom.model_serializers:
        return False
    return not custom.computed_fields and all(
        _are_constraints(field.metadata) and _is_plain(field.annotation, above | {cls})
        for field in cls.model_fields.values()
    )


def _is_plain(annotation: Any, above: frozenset[type]) -> bool:
    if annotation is JsonValue:
        return True
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _are_constraints(arguments[1:]) and _is_plain(arguments[0], above)
    if origin is Literal:
        return all(type(value) in _PLAIN for value in arguments)
    if origin in (Union, UnionType, tuple, list):
        return all(argument is Ellipsis or _is_plain(argument, above) for argument in arguments)
    if origin is dict:
        return arguments[0] is str and _is_plain(arguments[1], above)
    if not isinstance(annotation, type):
        return False
    if annotation in _PLAIN:
        return True
    if issubclass(annotation, tuple) and hasattr(annotation, "_fields"):  # a named tuple is written as an array
        return all(_is_plain(hint, above) for hint in get_type_hints(annotation, include_extras=True).values())
    return issubclass(annotation, BaseModel) and (annotation in above or _is_plain_model(annotation, above))


def _are_constraints(metadata: Iterable[object]) -> bool:
    """Tell whether annotations only narrow what a field takes, as `ge=0` does, and have no say in how it is written."""
    return all(
        _are_constraints(item.metadata)
        if isinstance(item, FieldInfo)
        else not hasattr(item, "__get_pydantic_core_schema__")
        for item in metadata
    )
