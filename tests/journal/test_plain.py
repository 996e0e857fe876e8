"""Which models are written by pydantic without a second look, and which are not: what could lose a value is not."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    RootModel,
    computed_field,
    create_model,
    field_serializer,
    model_serializer,
)

from loom.journal.plain import is_plain_model

Shown = Annotated[int, PlainSerializer(str)]
"""A number that is written as text."""


class Colour(Enum):
    RED = "red"


class Pair(NamedTuple):
    left: Annotated[int, Field(ge=0)]
    right: str


class Shows(NamedTuple):
    left: Shown


class Node(BaseModel):
    name: str
    below: list[Node] = []


class Whole(BaseModel):
    number: int


class Loses(BaseModel):
    ratio: float


class Keeps(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants")

    ratio: float


class KeepsInside(BaseModel):
    keeps: Keeps


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


RENAMED = create_model("RENAMED", __config__=ConfigDict(alias_generator=str.upper), number=int)


class Root(RootModel[int]):
    pass


class Given(BaseModel):
    number: int = Field(alias="n")


class Written(BaseModel):
    number: int = Field(serialization_alias="n")


class Read(BaseModel):
    number: int = Field(validation_alias="n")


class OfField(BaseModel):
    number: int

    @field_serializer("number")
    def shown(self, value: int) -> str:
        return str(value)


class OfModel(BaseModel):
    number: int

    @model_serializer
    def shown(self) -> str:
        return ""


class Computed(BaseModel):
    number: int

    @computed_field
    def double(self) -> int:
        return 2 * self.number


@pytest.mark.parametrize("model", [Node, Whole, Keeps, Read])
def test_a_model_of_plain_fields_is_plain(model: type[BaseModel]) -> None:
    assert is_plain_model(model)


@pytest.mark.parametrize(
    "model", [Open, RENAMED, Root, Given, Written, OfField, OfModel, Computed, Loses, KeepsInside], ids=repr
)
def test_a_model_with_a_say_in_how_it_is_written_is_not(model: type[BaseModel]) -> None:
    assert not is_plain_model(model)


@pytest.mark.parametrize(
    "field",
    [
        *(str, int, bool, None, datetime, Whole, Node, Pair, list[int], int | None),
        tuple[int, ...],
        dict[str, int],
        list[dict[str, tuple[int | None, str]]],
        Literal["a", 1, None],
        Annotated[int, Field(ge=0)],
        list[Annotated[list[int], Field(min_length=1)]],
    ],
    ids=repr,
)
def test_a_field_is_plain_that_has_one_form(field: Any) -> None:
    assert is_plain_model(create_model("Model", field=field))


@pytest.mark.parametrize(
    "field",
    [
        *(float, JsonValue, Any, bytes, Decimal, timedelta, Colour, tuple, Loses, KeepsInside, Shows, Shown),
        set[int],
        Literal[Colour.RED],
        dict[int, str],
        dict[str, bytes],
        tuple[int, bytes],
        int | bytes,
        list[Shown],
        list[Annotated[bytes, Field(min_length=1)]],
        Annotated[Shown, Field(ge=0)],
    ],
    ids=repr,
)
def test_a_field_that_could_lose_something_is_not(field: Any) -> None:
    assert not is_plain_model(create_model("Model", field=field))


@pytest.mark.parametrize("field", [float, JsonValue, list[float], Keeps])
def test_floats_are_plain_where_those_that_are_no_number_are_written(field: Any) -> None:
    config = ConfigDict(ser_json_inf_nan="constants")
    assert is_plain_model(create_model("Model", __config__=config, field=field))
