"""Models of parameters and facts, described in loom's own words or refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal, Optional
from uuid import UUID

import annotated_types
import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    computed_field,
    create_model,
    field_validator,
)

from loom.errors import PolicyRuleError
from loom.policies import Facts, Params, describe_model
from loom.policies.describe import enum_is_plain, field_names


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Size(IntEnum):
    S = 1
    L = 2


class Talking(Enum):
    A = "a"

    def __str__(self) -> str:
        return "A!"


class Missing(Enum):
    A = "a"

    @classmethod
    def _missing_(cls, value: object) -> Missing:
        return cls.A


class Inner(Facts):
    depth: int


def field(kind: Any, default: Any = ...) -> Any:
    model = create_model("M", __base__=Facts, x=(kind, default))
    return describe_model(model)["fields"]["x"]  # type: ignore[index, call-overload]


@pytest.mark.parametrize(
    ("kind", "described"),
    [
        (bool, "bool"),
        (int, "int"),
        (float, "float"),
        (str, "str"),
        (Decimal, "decimal"),
        (date, "date"),
        (datetime, "datetime"),
        (Literal["b", "a", 1], {"literal": ["a", "b", 1]}),
        (Colour, {"enum": ["blue", "red"]}),
        (Size, {"enum": [1, 2]}),
        (int | None, {"optional": "int"}),
        (Optional[int], {"optional": "int"}),  # noqa: UP045 — the older spelling means the same
        (list[int], {"list": "int"}),
        (tuple[int, ...], {"tuple": "int"}),
        (tuple[int, str], {"tuple_of": ["int", "str"]}),
        (Inner, {"model": {"fields": {"depth": {"type": "int"}}}}),
        (list[Inner | None], {"list": {"optional": {"model": {"fields": {"depth": {"type": "int"}}}}}}),
        (tuple[Annotated[int, Field(ge=0)], ...], {"tuple": {"of": "int", "bounds": {"ge": 0}}}),
        (Annotated[int, "a remark"] | None, {"optional": "int"}),
    ],
)
def test_a_type_has_one_description(kind: Any, described: object) -> None:
    assert field(kind) == {"type": described}


@pytest.mark.parametrize(
    ("kind", "bounds"),
    [
        (Annotated[int, Field(ge=0, lt=9)], {"ge": 0, "lt": 9}),
        (Annotated[float, Field(gt=0.5)], {"gt": {"$float": "0.5"}}),
        (Annotated[Decimal, Field(le=Decimal("1.50"))], {"le": {"$decimal": "1.50"}}),
        (Annotated[int, annotated_types.Interval(ge=1, le=2)], {"ge": 1, "le": 2}),
        (Annotated[int, Field(multiple_of=5)], {"multiple_of": 5}),
        (
            Annotated[str, Field(min_length=1, max_length=2, pattern="a+")],
            {"min_length": 1, "max_length": 2, "pattern": "a+"},
        ),
        (Annotated[str, StringConstraints(max_length=3)], {"max_length": 3}),
        (Annotated[Decimal, Field(max_digits=5, decimal_places=2)], {"max_digits": 5, "decimal_places": 2}),
        (Annotated[int, Field(strict=True)], None),
    ],
)
def test_bounds_are_described_however_they_are_written(kind: Any, bounds: object) -> None:
    assert field(kind).get("bounds") == bounds


@pytest.mark.parametrize(
    ("kind", "default", "described"),
    [
        (int, 3, 3),
        (float, 3.0, {"$float": "3.0"}),
        (int | None, None, None),
        (Colour, Colour.RED, "red"),
        (tuple[int, ...], (1, 2), [1, 2]),
        (Inner, Inner(depth=1), {"depth": 1}),
        (datetime, datetime(2026, 1, 1, tzinfo=UTC), {"$datetime": "2026-01-01T00:00:00+00:00"}),
        (int, 2**53, {"$int": "9007199254740992"}),
    ],
)
def test_defaults_are_described_with_their_type(kind: Any, default: object, described: object) -> None:
    assert field(kind, default)["default"] == described


def test_a_default_of_none_is_not_the_same_as_no_default() -> None:
    assert field(int | None) != field(int | None, None)


class Plain(BaseModel):
    x: int


@pytest.mark.parametrize(
    "kind",
    [
        bytes,
        UUID,
        time,
        complex,
        dict[str, int],
        set[int],
        frozenset[int],
        int | str,
        int | str | None,
        Any,
        object,
        list,
        Plain,
        Talking,
        Missing,
        Annotated[int, AfterValidator(lambda value: value + 1)],
        Annotated[str, StringConstraints(to_lower=True)],
        Annotated[int, Field(strict=False)],
        Annotated[float, Field(allow_inf_nan=True)],
        Annotated[int, Field(alias="y")],
        Annotated[int, Field(ge=0), Field(ge=1)],
    ],
)
def test_what_has_no_stable_description_is_refused_with_the_place(kind: Any) -> None:
    with pytest.raises(PolicyRuleError, match=r"\[(M\.x|Plain)\] .*; expected \[.+\]: \w"):
        field(kind)


def test_a_default_factory_is_refused() -> None:
    with pytest.raises(PolicyRuleError, match="has a default factory"):
        field(list[int], Field(default_factory=list))


def test_a_validator_is_refused_as_no_hash_would_see_it() -> None:
    class Sly(Params):
        x: int = 1

        @field_validator("x")
        @classmethod
        def double(cls, value: int) -> int:
            return value * 2

    with pytest.raises(PolicyRuleError, match=r"\[Sly\] has code of its own, double"):
        describe_model(Sly)


def test_a_computed_field_is_refused() -> None:
    class Sly(Facts):
        x: int = 1

        @computed_field  # type: ignore[prop-decorator]
        @property
        def double(self) -> int:
            return self.x * 2

    with pytest.raises(PolicyRuleError, match="has code of its own, double"):
        describe_model(Sly)


def test_a_constructor_is_refused() -> None:
    class Sly(Facts):
        x: int = 1

        def model_post_init(self, context: object) -> None:
            pass

    with pytest.raises(PolicyRuleError, match="has code of its own, model_post_init"):
        describe_model(Sly)


def test_loosened_settings_are_refused() -> None:
    class Lax(Params):
        model_config = ConfigDict(strict=False)

    with pytest.raises(PolicyRuleError, match="changes the setting strict"):
        describe_model(Lax)


class Tree(Facts):
    inner: Tree | None = None


def test_a_model_that_contains_itself_is_refused() -> None:
    with pytest.raises(PolicyRuleError, match=r"\[Tree\] contains itself"):
        describe_model(Tree)


def test_models_nested_too_deeply_are_refused() -> None:
    model: Any = Inner
    for level in range(4):
        model = create_model(f"L{level}", __base__=Facts, inner=(model, ...))
    with pytest.raises(PolicyRuleError, match="is nested below 4 models"):
        describe_model(model)


def test_the_names_of_all_fields_are_found_in_nested_models_too() -> None:
    class Outer(Facts):
        inner: tuple[Inner, ...] | None = None
        colour: Colour

    assert field_names(Outer) == {"inner", "colour", "depth"}


def test_an_enum_with_code_or_odd_values_is_not_plain() -> None:
    class Odd(Enum):
        A = 1.5

    assert [enum_is_plain(kind) for kind in (Colour, Size, Talking, Missing, Odd)] == [True, True, False, False, False]
