"""What a person may change in a request for approval: fields with bounds, as the request has them in its entry.

The bounds are data, taken from a model. So any process can check values against them, and the record says what was
permitted.
"""

from __future__ import annotations

import enum
import math
import types
import typing
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, TypeAlias

import annotated_types
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.fields import FieldInfo
from pydantic.types import Strict

from loom.absent import is_empty, is_none
from loom.errors import AdmissionError
from loom.policies.evaluation import Evaluation

__all__ = ["AdjustableField", "adjustable_fields", "checked_changes", "following_approver"]

FieldType: TypeAlias = Literal["integer", "number", "decimal", "boolean", "text"]
_Value: TypeAlias = bool | int | float | str

_TYPES: Mapping[object, FieldType] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    Decimal: "decimal",
    str: "text",
}
_BOUNDS = {
    annotated_types.Ge: ("minimum", "ge"),
    annotated_types.Gt: ("above", "gt"),
    annotated_types.Le: ("maximum", "le"),
    annotated_types.Lt: ("below", "lt"),
    annotated_types.MinLen: ("min_length", "min_length"),
    annotated_types.MaxLen: ("max_length", "max_length"),
}
_SAID = {"true": True, "yes": True, "false": False, "no": False}
_MAX_TEXT = 2_000
_MAX_FIELDS = 50


class AdjustableField(BaseModel):
    """One value that a person may change: its type, its bounds and the value that is asked for.

    A `decimal` and its bounds are text, as JSON has no exact numbers. `choices` are the only values, where there are
    any. Lengths are in characters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    name: str
    type: FieldType
    asked: JsonValue = None
    """The value that is asked for."""
    description: str | None = Field(default=None, exclude_if=is_none)
    minimum: int | float | str | None = Field(default=None, exclude_if=is_none)
    above: int | float | str | None = Field(default=None, exclude_if=is_none)
    maximum: int | float | str | None = Field(default=None, exclude_if=is_none)
    below: int | float | str | None = Field(default=None, exclude_if=is_none)
    min_length: int | None = Field(default=None, exclude_if=is_none)
    max_length: int | None = Field(default=None, exclude_if=is_none)
    choices: tuple[_Value, ...] = Field(default=(), exclude_if=is_empty)
    nullable: bool = Field(default=False, exclude_if=is_empty)

    @property
    def bounds(self) -> str:
        """What a value must be, in words."""
        said = [" or ".join(str(each) for each in self.choices)] if self.choices else []
        said += [
            f"{word} {bound}"
            for word, bound in (
                ("at least", self.minimum),
                ("above", self.above),
                ("at most", self.maximum),
                ("below", self.below),
            )
            if bound is not None
        ]
        said += [f"{self.min_length} characters or more"] if self.min_length is not None else []
        said += [f"{self.max_length} characters at most"] if self.max_length is not None else []
        return ", ".join([self.type, *said, *(["or nothing"] if self.nullable else [])])

    def checked(self, value: JsonValue) -> JsonValue:
        """Return a value as it is journaled; raise `AdmissionError` for one that is not permitted."""
        if value is None and self.nullable:
            return None
        found = _typed(self.type, value)
        if found is None or not self._permits(found):
            raise AdmissionError(
                f"value of [{self.name}] is [{value!r:.80}]; expected [{self.bounds}]: give one that is permitted"
            )
        return str(found) if isinstance(found, Decimal) else found

    def read(self, text: str) -> JsonValue:
        """Return a value that a person wrote, as JSON of its type; `checked` says whether it is permitted."""
        if not text and self.nullable:
            return None
        if self.type == "boolean":
            return _SAID.get(text.strip().lower(), text)
        try:
            return int(text) if self.type == "integer" else float(text) if self.type == "number" else text
        except ValueError:
            return text

    def _permits(self, found: _Value | Decimal) -> bool:
        if self.choices:
            return any(type(each) is type(found) and each == found for each in self.choices)
        if isinstance(found, str):
            return (self.min_length or 0) <= len(found) <= (_MAX_TEXT if self.max_length is None else self.max_length)
        if isinstance(found, bool):
            return True
        minimum, above, maximum, below = (
            None if each is None else Decimal(str(each))
            for each in (self.minimum, self.above, self.maximum, self.below)
        )
        number = Decimal(str(found))
        return (
            (minimum is None or number >= minimum)
            and (above is None or number > above)
            and (maximum is None or number <= maximum)
            and (below is None or number < below)
        )


def adjustable_fields(model: type[BaseModel], asked: Mapping[str, JsonValue]) -> tuple[AdjustableField, ...]:
    """Return the fields of a model that a person may change; `asked` are the values that are asked for, by name.

    Fields are integers, numbers, decimals, booleans, texts or choices of them, with bounds. Raises `AdmissionError` for
    a shape that cannot be written down, for validators, and for a name that is not among `asked`.
    """
    decorated = model.__pydantic_decorators__
    if decorated.field_validators or decorated.model_validators or decorated.root_validators or decorated.validators:
        raise _refused(model, "validators of its own", "bounds that the request can say: use Field(ge=, le=)")
    if not 0 < len(model.model_fields) <= _MAX_FIELDS:
        raise _refused(model, f"{len(model.model_fields)} fields", f"1 to {_MAX_FIELDS}: name what may be changed")
    found = []
    for name, info in model.model_fields.items():
        if name not in asked:
            raise _refused(
                model,
                f"a field [{name}] that the request does not have",
                f"names of facts or arguments [{', '.join(sorted(asked))}]: name one of them",
            )
        found.append(_field(model, name, info, asked[name]))
    return tuple(found)


def checked_changes(fields: Sequence[AdjustableField], changes: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the changes that differ from what is asked for, checked; raise `AdmissionError` for others than permitted.

    No fields permit no change.
    """
    known = {each.name: each for each in fields}
    for name in changes:
        if name not in known:
            raise AdmissionError(
                f"value of [{name:.80}] is changed; expected changes of [{', '.join(known) or 'nothing'}]: grant the "
                "request as it is, deny it, or send it back"
            )
    checked = {name: known[name].checked(value) for name, value in changes.items()}
    return {name: value for name, value in checked.items() if not _same(value, known[name])}


def following_approver(before: Evaluation | None, now: Evaluation, approver: str) -> str | None:
    """Return who else has to approve a case with changes that `approver` granted; None if no one else has to."""
    tier, earlier = now.tier, None if before is None else before.tier
    return None if not now.needs_approval or tier in (None, earlier, approver) else tier


def _same(value: JsonValue, field: AdjustableField) -> bool:
    if field.type == "decimal" and value is not None:
        asked = _typed("decimal", field.asked)
        return asked is not None and Decimal(str(value)) == asked
    return type(value) is type(field.asked) and value == field.asked


def _typed(wanted: FieldType, value: JsonValue) -> _Value | Decimal | None:
    """Return a value of JSON as one of a type; None where it is none."""
    if wanted == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool):
        return None
    if wanted == "text":
        return value if isinstance(value, str) else None
    if wanted == "integer":
        return value if isinstance(value, int) else None
    if wanted == "number":
        return value if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)) else None
    if not isinstance(value, int | str):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _field(model: type[BaseModel], name: str, info: FieldInfo, asked: JsonValue) -> AdjustableField:
    annotation, nullable = _without_none(info.annotation)
    said: dict[str, Any] = {"description": info.description, "nullable": nullable}
    if typing.get_origin(annotation) is Literal:
        said["choices"] = typing.get_args(annotation)
    elif isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        said["choices"] = tuple(each.value for each in annotation)
    kinds = {type(each) for each in said.get("choices", ())} or {annotation}
    kind = _TYPES.get(kinds.pop()) if len(kinds) == 1 else None
    if kind is None or info.alias is not None or info.validation_alias is not None:
        raise _refused(
            model,
            f"a field [{name}] of a type that the request cannot say",
            "an integer, number, decimal, boolean, text or choice of one of them: change its type",
        )
    for each in info.metadata:
        if type(each) in _BOUNDS:
            bound, attribute = _BOUNDS[type(each)]
            value = getattr(each, attribute)
            said[bound] = str(value) if isinstance(value, Decimal) or kind == "decimal" else value
        elif not isinstance(each, Strict):
            raise _refused(
                model,
                f"a field [{name}] with the bound [{each!r:.80}]",
                "bounds that the request can say: use ge, gt, le, lt, min_length or max_length",
            )
    return AdjustableField(name=name, type=kind, asked=asked, **said)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        inner = [each for each in typing.get_args(annotation) if each is not type(None)]
        if len(inner) == 1:
            return inner[0], True
    return annotation, False


def _refused(model: type[BaseModel], found: str, expected: str) -> AdmissionError:
    return AdmissionError(f"adjustable [{model.__name__}] has {found}; expected {expected}")
