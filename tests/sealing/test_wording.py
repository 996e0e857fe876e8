"""What is wrong with some input is said without the input, and where fields are declared without validators' words."""

from __future__ import annotations

import traceback
from typing import Literal

import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from loom.sealing.wording import NOT_KEPT, problems, without_words

SECRET = "sk-live-0123456789"


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Given(BaseModel):
    name: str
    pet: Cat | Dog | None = Field(default=None, discriminator="kind")

    @field_validator("name")
    @classmethod
    def _is_fit(cls, name: str) -> str:
        if name == SECRET:
            raise ValueError(f"{name} is not fit")
        return name


@pytest.mark.parametrize("given", [{"name": SECRET}, {"name": "a", "pet": {"kind": SECRET}}, {"name": {SECRET: 1}}])
def test_neither_the_input_nor_what_a_validator_says_of_it_is_repeated(given: object) -> None:
    with pytest.raises(ValidationError) as caught:
        Given.model_validate(given)
    said = problems(caught.value, hides=True)
    assert SECRET not in said
    assert said.startswith(("name: ", "pet: "))


def test_where_nothing_is_declared_a_validator_is_quoted() -> None:
    with pytest.raises(ValidationError) as caught:
        Given.model_validate({"name": SECRET})
    assert problems(caught.value, hides=False) == f"name: Value error, {SECRET} is not fit"


def test_what_takes_the_place_of_an_exception_has_its_type_and_its_place_only() -> None:
    def fails() -> None:
        raise KeyError("".join(("sk-live-", "0123456789")))

    with pytest.raises(KeyError) as caught:
        fails()
    text = "".join(traceback.format_exception(without_words(caught.value)))
    assert SECRET not in text
    assert f"RuntimeError: KeyError: {NOT_KEPT}" in text
    assert "in fails" in text
