"""Entries written from texts that are there already: byte for byte what their models would be written as."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, JsonValue
from pydantic_core import to_json

from loom.actors.dispatch import _in_text
from loom.decisions.entries import EvaluatedEntry
from loom.errors import AdmissionError
from loom.journal.admission import Limits, _Walk, json_value, parse_json, written
from loom.journal.entry import KINDS, Entry, Step
from loom.journal.kinds import CommandReceivedEntry, TurnCompletedEntry
from loom.journal.plain import is_plain_model
from loom.journal.serialisation import EntryText, json_text, model_text, serialise, step_text
from loom.policies.evaluation import Evaluation, RuleMiss
from tests.journal.test_admission import JSON, TEXT

LIMITS = Limits()
WORDS = TEXT.filter(bool)
STEPS = st.builds(Step, TEXT, TEXT, st.integers(0, 5))
EVALUATIONS = st.builds(
    Evaluation,
    effect=st.just("deny"),
    rule=WORDS,
    why=WORDS,
    why_not=st.lists(st.builds(RuleMiss, rule=WORDS, why=WORDS), max_size=2).map(tuple),
    details=st.dictionaries(st.just("key"), st.floats(allow_nan=False, allow_infinity=False) | TEXT, max_size=1),
)


def check(model: Entry, entry: EntryText) -> None:
    """Hold what is written from texts against what the model is written as, and against what reads it."""
    body = serialise(entry, limits=LIMITS)
    assert body == serialise(model, limits=LIMITS)
    assert KINDS.decode(model.kind, model.schema_version, body) == model


@given(JSON, TEXT, st.none() | TEXT, st.lists(TEXT, max_size=3).map(tuple), st.none() | TEXT)
def test_a_command_is_written_as_its_model(
    payload: Any, name: str, by: str | None, waiting: tuple[str, ...], run: str | None
) -> None:
    who: Any = {} if by is None else {"by": by, "identity_source": "claimed", "via": name}
    model = CommandReceivedEntry(
        command_type=name, payload=payload, **who, correlation_id=name, causation_id=by, waiting=waiting, run_id=run
    )
    check(model, _in_text(model, to_json(payload)))


@given(JSON, STEPS)
def test_a_reply_is_written_as_its_model(reply: Any, step: Step) -> None:
    texts = {"reply": written(reply).text, "step": step_text(step)}
    check(TurnCompletedEntry(step=step, reply=reply), EntryText(TurnCompletedEntry, texts))


@given(st.dictionaries(TEXT, JSON, max_size=4), STEPS, EVALUATIONS)
def test_an_evaluation_is_written_as_its_model(facts: dict[str, Any], step: Step, evaluation: Evaluation) -> None:
    texts = {"step": step_text(step), "facts": written(facts).text, "evaluation": to_json(evaluation)}
    check(EvaluatedEntry(step=step, facts=facts, evaluation=evaluation), EntryText(EvaluatedEntry, texts))


class ShareEntry(Entry):
    kind: ClassVar[str] = "test.share"

    share: str = "10 %d of 100 %"
    name: str = ""


def test_a_default_with_a_sign_of_percent_is_written_as_it_is() -> None:
    check(ShareEntry(name="5 %"), EntryText(ShareEntry, {"step": b"null", "name": b'"5 %"'}))


def test_a_model_of_looms_own_is_written_as_pydantic_does() -> None:
    assert model_text(Inner(note="é")) == '{"note":"é","parts":[]}'.encode()


@pytest.mark.parametrize("text", ["\ud800", "\x00", "a\x00b"])
def test_what_may_not_be_journaled_is_refused_in_a_text_too(text: str) -> None:
    with pytest.raises(AdmissionError):
        serialise(EntryText(TurnCompletedEntry, {"reply": json_text(text)}), limits=LIMITS)
    with pytest.raises(AdmissionError):
        json_value(text)


class Inner(BaseModel):
    note: str
    parts: list[dict[str, int | None]] = []


class Plain(BaseModel):
    inner: Inner
    flag: bool = False


class Floats(BaseModel):
    ratio: float


class Anything(BaseModel):
    value: JsonValue


class Nested(BaseModel, ser_json_inf_nan="constants"):
    floats: Floats


@given(st.builds(Plain, inner=st.builds(Inner, note=st.text(), parts=st.just([{"a": 1, "b": None}]))))
def test_a_plain_model_comes_out_as_the_walk_would_give_it(model: Plain) -> None:
    assert is_plain_model(Plain)
    try:
        expected = _Walk(LIMITS).value(model, "$", LIMITS.max_depth)
    except AdmissionError:
        with pytest.raises(AdmissionError):
            written(model)
    else:
        assert written(model).value == expected
        assert parse_json(written(model).text) == expected


@pytest.mark.parametrize(
    "model", [Floats(ratio=math.nan), Anything(value=math.inf), Nested(floats=Floats(ratio=math.nan))]
)
def test_a_float_that_pydantic_would_write_as_null_is_refused(model: BaseModel) -> None:
    assert not is_plain_model(type(model))
    with pytest.raises(AdmissionError):
        written(model)
