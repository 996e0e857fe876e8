"""Models of parameters and facts → loom's own stable description of them, which is part of the version hash.

It is never pydantic's JSON schema, which changes with pydantic. What a description cannot express is refused: for
example a validator, which is behaviour that no hash would cover. The order of fields, their titles and their
descriptions do not count.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NoReturn, TypeAlias, Union, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, MaxLen, MinLen, MultipleOf
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from loom.errors import AdmissionError, PolicyRuleError
from loom.policies.canonical import Json, canonical, tagged
from loom.policies.evaluation import Facts, Params
from loom.sealing.markers import Marker

__all__ = ["describe_model", "enum_is_plain", "field_names"]

_SCALARS: dict[object, str] = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    Decimal: "decimal",
    date: "date",
    datetime: "datetime",
}
_BOUNDS: tuple[tuple[type, str], ...] = (
    (Ge, "ge"),
    (Gt, "gt"),
    (Le, "le"),
    (Lt, "lt"),
    (MinLen, "min_length"),
    (MaxLen, "max_length"),
    (MultipleOf, "multiple_of"),
)
# What pydantic adds in addition to bounds: counted, or without effect because the base has the same.
_COUNTED = ("pattern", "max_digits", "decimal_places")
_GIVEN = {"strict": True, "allow_inf_nan": False}
_HOOKS = ("__init__", "__new__", "__getattr__", "__getattribute__", "__eq__", "model_post_init")
_UNSEEN_CONFIG = ("title", "json_schema_extra", "use_attribute_docstrings", "protected_namespaces")

# A journal admits 32 levels, and a description has up to five for each model.
_MAX_DEPTH = 4

_Path: TypeAlias = tuple[type[BaseModel], ...]


def describe_model(model: type[BaseModel]) -> dict[str, Json]:
    """Return the stable description of a `Params` or `Facts` class; raise `PolicyRuleError` for what has none."""
    return _model(model, ())


def field_names(model: type[BaseModel]) -> frozenset[str]:
    """Return the names of all fields of a model and of the models inside it."""
    names: set[str] = set()
    waiting: list[Any] = [model]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names.update(kind.model_fields)
            waiting.extend(field.annotation for field in kind.model_fields.values())
        else:
            waiting.extend(get_args(kind))
    return frozenset(names)


def enum_is_plain(kind: type[Enum]) -> bool:
    """Return whether an enum is data only: values that are text or integers, and no code of its own."""
    own = [vars(base) for base in kind.__mro__ if isinstance(base, type(Enum)) and base.__module__ != "enum"]
    code = (types.FunctionType, property, classmethod, staticmethod)
    written = any(
        isinstance(item, code) and str(getattr(_function_of(item), "__module__", "enum")) != "enum"
        for names in own
        for item in names.values()
    )
    return not written and all(type(member.value) in (str, int) for member in kind)


def _function_of(item: object) -> object:
    return getattr(item, "__func__", getattr(item, "fget", item))


def _model(model: type[BaseModel], path: _Path) -> dict[str, Json]:
    where = model.__name__
    if not issubclass(model, Params | Facts):
        _refuse(where, "is not frozen, strict data", "a subclass of Params or Facts", "derive it from one of them")
    if model in path:
        _refuse(where, "contains itself", "models of bounded depth", "write the levels out")
    if len(path) >= _MAX_DEPTH:
        _refuse(where, f"is nested below {len(path)} models", f"at most {_MAX_DEPTH}", "flatten it")
    _refuse_behaviour(model)
    return {"fields": {name: _field(f"{where}.{name}", field, (*path, model)) for name, field in _fields(model)}}


def _fields(model: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    return sorted(model.model_fields.items())


def _refuse_behaviour(model: type[BaseModel]) -> None:
    where = model.__name__
    decorators = model.__pydantic_decorators__
    for kind in vars(decorators) if hasattr(decorators, "__dict__") else decorators.__slots__:
        if isinstance(found := getattr(decorators, kind), dict) and found:
            _refuse(where, f"has code of its own, {next(iter(found))}", "data only", "move it into the rule")
    for base in model.__mro__[: model.__mro__.index(BaseModel)]:
        for hook in _HOOKS:
            if inspect.isfunction(vars(base).get(hook)):
                _refuse(where, f"has code of its own, {hook}", "data only", "move it into the rule")
    base = Params if issubclass(model, Params) else Facts
    for key in {*model.model_config, *base.model_config} - set(_UNSEEN_CONFIG):
        if model.model_config.get(key) != base.model_config.get(key):
            _refuse(where, f"changes the setting {key}", "the settings of its base", "leave model_config alone")


def _field(where: str, field: FieldInfo, path: _Path) -> Json:
    if field.alias is not None or field.validation_alias is not None or field.serialization_alias is not None:
        _refuse(where, "has an alias", "one name for a field", "use the name itself")
    if field.default_factory is not None:
        _refuse(where, "has a default factory", "a default that is data", "use an immutable default such as ()")
    described = _type(where, field.annotation, path)
    bounds = _bounds(where, field.metadata)
    entry: dict[str, Json] = {"type": described}
    if bounds:
        entry["bounds"] = bounds
    if not field.is_required():
        try:
            entry["default"] = tagged(field.default)
        except AdmissionError as error:
            _refuse(where, f"has a default that is no data ({error})", "a plain default", "change it")
    return entry


def _type(where: str, kind: Any, path: _Path) -> Json:
    if isinstance(kind, type) and kind in _SCALARS:
        return _SCALARS[kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": _enum(where, kind)}
    if isinstance(kind, type) and get_origin(kind) is None and issubclass(kind, BaseModel):
        return {"model": _model(kind, path)}
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        inner, bounds = _type(where, arguments[0], path), _bounds(where, arguments[1:])
        return {"of": inner, "bounds": bounds} if bounds else inner
    if origin is Literal:
        return {"literal": sorted((tagged(value) for value in arguments), key=canonical)}
    if origin is Union or origin is types.UnionType:
        others = [argument for argument in arguments if argument is not types.NoneType]
        if len(others) == 1 < len(arguments):
            return {"optional": _type(where, others[0], path)}
    if origin is list:
        return {"list": _type(where, arguments[0], path)}
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return {"tuple": _type(where, arguments[0], path)}
    if origin is tuple and arguments:
        return {"tuple_of": [_type(where, argument, path) for argument in arguments]}
    shown = kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")
    return _refuse(
        where,
        f"is of type {shown}",
        "bool, int, float, str, Decimal, date, datetime, Literal, an Enum, Optional, list, tuple, Params or Facts",
        "choose one of these",
    )


def _enum(where: str, kind: type[Enum]) -> list[Json]:
    if not enum_is_plain(kind):
        _refuse(where, f"is of the enum {kind.__name__}, which is more than data", "text or integers", "simplify it")
    return sorted((tagged(member.value) for member in kind), key=canonical)


def _bounds(where: str, metadata: Iterable[object]) -> dict[str, Json]:
    bounds: dict[str, Json] = {}
    for name, value in _pairs(where, metadata):
        if name in bounds:
            _refuse(where, f"has two bounds {name}", "one", "drop one of them")
        try:
            bounds[name] = tagged(value)
        except AdmissionError as error:
            _refuse(where, f"has a bound {name} that is no data ({error})", "a plain value", "change it")
    return bounds


def _pairs(where: str, metadata: Iterable[object]) -> Iterator[tuple[str, object]]:
    for item in metadata:
        if isinstance(item, Marker):  # how a fact is kept changes no answer
            continue
        known = next((name for kind, name in _BOUNDS if isinstance(item, kind)), None)
        if known is not None:
            yield known, getattr(item, known)
        elif isinstance(item, FieldInfo):
            yield from _pairs(where, item.metadata)
        elif isinstance(item, GroupedMetadata):
            yield from _pairs(where, typing.cast("Iterable[object]", item))
        elif type(item).__module__.partition(".")[0] == "pydantic" and hasattr(item, "__dict__"):
            yield from _settings(where, vars(item))
        elif not isinstance(item, str):  # a text in Annotated is a remark
            _refuse(where, f"is annotated with {type(item).__name__}", "bounds", "move the check into the rule")


def _settings(where: str, settings: dict[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in settings.items():
        if value is None or (name in _GIVEN and value is _GIVEN[name]):
            continue
        if name not in _COUNTED:
            _refuse(where, f"has the setting {name}={value!r:.40}", "bounds", "move it into the rule")
        yield name, value


def _refuse(where: str, what: str, expected: str, cure: str) -> NoReturn:
    raise PolicyRuleError(f"[{where}] {what}; expected [{expected}]: {cure}")
