"""What a turn notes of the protected values that it handles."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel

from loom.actors.turn_subjects import TurnSubjects
from loom.sealing import Dropped, Erased, Sealed


class Said(BaseModel):
    customer_id: str = "c-7"
    guarantor_id: str = "g-1"
    email: Annotated[str | Erased, Sealed()] = "ada@example.org"
    guarantor: Annotated[str | None, Sealed(subject="guarantor_id")] = None
    pin: Annotated[str, Dropped()] = "abc"


class Plain(BaseModel):
    amount: int = 5


def test_what_a_model_declares_is_taken_out_of_free_text_and_its_subjects_are_known() -> None:
    found = TurnSubjects.of(Said(guarantor="Lord Byron"), subject="c-7")
    assert found.touched
    assert found.subjects == {"c-7", "g-1"}
    assert found.redact("wrote to ada@example.org of Lord Byron, abc, c-7") == "wrote to [sealed] of [sealed], abc, c-7"
    found.add(["c-8"], ["Lord Byron of London"])
    assert found.redact("Lord Byron of London") == "[sealed]", "the longest goes first"
    assert found.subjects == {"c-7", "c-8", "g-1"}


def test_a_model_without_declared_fields_touches_nothing() -> None:
    found = TurnSubjects.of(Plain(), subject=None)
    assert (found.touched, found.subjects, found.texts, found.redact("5")) == (False, frozenset(), frozenset(), "5")


def test_what_stands_for_an_erased_value_is_no_text_of_anybody() -> None:
    found = TurnSubjects.of(Said.model_validate({"email": {"$erased": 1}}), subject="c-7")
    assert found.texts == {"abc"}
