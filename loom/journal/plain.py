"""Find the models that pydantic writes as JSON without a loss, so that their text needs no second check.

Pydantic writes some values in a way that loses them without a word: NaN in a nested model as null, two keys of
different types as the same text. A model of plain fields has none of those.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, JsonValue, RootModel
from pydantic.fields import FieldInfo

__all__ = ["is_plain_model"]

_PLAIN = frozenset({str, int, float, bool, NoneType, datetime})


@lru_cache(maxsize=4_096)
def is_plain_model(cls: type[BaseModel]) -> bool:
    """Tell whether what pydantic writes of a class, by its field names, can be trusted."""
    return _is_plain_model(cls, frozenset(), floats=True)


def _is_plain_model(cls: type[BaseModel], above: frozenset[type], *, floats: bool) -> bool:
    config, custom = cls.model_config, cls.__pydantic_decorators__
    if config.get("extra") == "allow" or config.get("alias_generator") or issubclass(cls, RootModel):
        return False
    if custom.field_serializers or custom.model_serializers or custom.computed_fields:
        return False
    if any(field.serialization_alias or field.alias for field in cls.model_fields.values()):
        return False
    floats = floats and config.get("ser_json_inf_nan") == "constants"
    return all(
        _are_constraints(field.metadata) and _is_plain(field.annotation, above | {cls}, floats=floats)
        for field in cls.model_fields.values()
    )


def _is_plain(annotation: Any, above: frozenset[type], *, floats: bool) -> bool:
    """Tell whether values of a type are; where NaN would be written as null, nothing that may hold a float is."""
    if annotation is JsonValue or annotation is float:
        return floats
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _are_constraints(arguments[1:]) and _is_plain(arguments[0], above, floats=floats)
    if origin is Literal:
        return all(type(value) in _PLAIN for value in arguments)
    if origin in (Union, UnionType, tuple, list):
        return all(argument is Ellipsis or _is_plain(argument, above, floats=floats) for argument in arguments)
    if origin is dict:
        return arguments[0] is str and _is_plain(arguments[1], above, floats=floats)
    if not isinstance(annotation, type):
        return False
    if annotation in _PLAIN:
        return True
    if issubclass(annotation, tuple) and hasattr(annotation, "_fields"):  # a named tuple is written as an array
        hints = get_type_hints(annotation, include_extras=True).values()
        return all(_is_plain(hint, above, floats=floats) for hint in hints)
    return issubclass(annotation, BaseModel) and (
        annotation in above or _is_plain_model(annotation, above, floats=floats)
    )


def _are_constraints(metadata: Iterable[object]) -> bool:
    """Tell whether annotations only narrow what a field takes, as `ge=0` does, and have no say in how it is written."""
    return all(
        _are_constraints(item.metadata)
        if isinstance(item, FieldInfo)
        else not hasattr(item, "__get_pydantic_core_schema__")
        for item in metadata
    )
