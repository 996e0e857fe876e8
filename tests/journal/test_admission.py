"""The admission gate: what passes is the same to every reader of JSON, what does not is named with its place."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, JsonValue

from loom.errors import AdmissionError
from loom.journal.admission import (
    MAX_INTEGER,
    NOTHING,
    Limits,
    Written,
    _short_repr,
    _Walk,
    admit,
    admit_written,
    json_value,
    parse_json,
    written,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
NUMBERS = st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=30,
)

OFFENDERS: list[Any] = [
    math.nan,
    math.inf,
    -math.inf,
    Decimal("NaN"),
    Decimal("Infinity"),
    2**53,
    -(2**53),
    10**5_000,
    "\ud800",
    "x\udfff",
    "\x00",
    b"bytes",
    bytearray(b"x"),
    {1, 2},
    frozenset({1}),
    {1: "x"},
    {None: "x"},
    {(1, 2): "x"},
    {10**5_000: "x"},
    {"\x00": 1},
    {"\ud800": 1},
    object(),
    1j,
    range(3),
    iter([1]),
    int,
]


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Pair(NamedTuple):
    left: int
    right: str


@dataclasses.dataclass
class Account:
    name: str
    since: datetime


class Model(BaseModel):
    ratio: float
    account: Account | None = None


@given(JSON)
def test_what_is_admitted_round_trips_through_json_and_is_admitted_again(value: JsonValue) -> None:
    plain = json_value(value)
    assert plain == value
    body = json.dumps(plain).encode()
    assert json.loads(body) == plain
    assert json_value(json.loads(body)) == plain
    assert admit(body) == body
    written = json.dumps(plain, ensure_ascii=False).encode()
    assert parse_json(admit(written)) == plain


@given(JSON)
def test_the_result_is_fresh_and_does_not_change_with_what_was_given(value: JsonValue) -> None:
    before = json.dumps(value)
    plain = json_value(value)
    if isinstance(plain, list):
        plain.append("changed")
    elif isinstance(plain, dict):
        plain["changed"] = True
    assert json.dumps(value) == before


@given(
    st.sampled_from(range(len(OFFENDERS))),
    st.lists(st.integers(0, 3) | st.sampled_from(["key", "a.b", "é"]), max_size=6),
)
def test_an_offending_value_is_refused_with_its_place_however_deep_it_lies(which: int, way: list[int | str]) -> None:
    value: object = OFFENDERS[which]
    for step in reversed(way):
        value = [0] * step + [value] if isinstance(step, int) else {"other": 1, step: value}
    place = "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in way)
    with pytest.raises(AdmissionError) as refused:
        json_value(value)
    assert refused.value.path == place
    assert f"[{place}]" in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("value", OFFENDERS, ids=lambda value: f"{type(value).__name__}")
def test_every_offender_is_refused_by_itself_and_in_a_list(value: object) -> None:
    for wrong, place in ((value, "$"), ([0, value], "$[1]")):
        for gate in (json_value, written):
            with pytest.raises(AdmissionError) as refused:
                gate(wrong)
            assert refused.value.path == place


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (2**53, "9007199254740992"),
        (-(2**53), "-9007199254740992"),
        (10**40 - 1, "9" * 40),
        (1 - 10**40, "-" + "9" * 40),
        (10**40, "an integer of more than 40 digits"),
        (-(10**40), "an integer of more than 40 digits"),
    ],
)
def test_an_integer_that_is_refused_is_shown_where_it_is_not_too_long(number: int, shown: str) -> None:
    with pytest.raises(AdmissionError) as refused:
        json_value([number])
    assert f"value at [$[0]] is [{shown}]" in str(refused.value)


@pytest.mark.parametrize("value", ["plain", "\u00e9", 1, 0.5, True, None, "", -MAX_INTEGER, MAX_INTEGER])
def test_a_single_value_comes_out_as_it_is(value: JsonValue) -> None:
    assert json_value(value) == written(value).value == _Walk(Limits()).value(value, "$", 1) == value
    assert json.loads(written(value).text) == value


def test_the_limits_and_the_text_of_nothing_are_as_they_are_written_down() -> None:
    assert Limits() == Limits(max_bytes=1_048_576, max_depth=32, max_nodes=10_000)
    assert written(None) == NOTHING == Written(None, b"null")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("ab", "'ab'"),
        (b"ab", "b'ab'"),
        (7, "7"),
        ((1, 2), "(1, 2)"),
        ([1, 2], "[1, 2]"),
        ("x" * 38, f"'{'x' * 38}'"),
        ("x" * 39, f"'{'x' * 39}…"),
        (10**50, f"1{'0' * 39}…"),
    ],
)
def test_what_is_shown_of_a_value_is_short(value: object, shown: str) -> None:
    assert _short_repr(value) == shown


class Odd(str):
    """Text that is equal to nothing else, as a key that a dict has twice."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def test_a_key_that_is_there_twice_is_named() -> None:
    with pytest.raises(AdmissionError, match=r"value at \[\$\[0\]\] has the key \['a'\] twice"):
        json_value([{Odd("a"): 1, "a": 2}])
    with pytest.raises(AdmissionError, match=r"has the key \['b'\] twice"):
        parse_json('{"a":1,"b":2,"c":3,"b":4}')


def nested(depth: int) -> JsonValue:
    value: JsonValue = []
    for level in range(depth - 1):
        value = [value] if level % 2 else {"x": value}
    return value


def test_nesting_is_bounded_in_values_and_in_bytes() -> None:
    assert admit(json.dumps(json_value(nested(32))).encode())
    for depth in (31, 32):
        assert _Walk(Limits()).value(nested(depth), "$", 32) == nested(depth)
    for top in ([nested(32)], {"x": nested(32)}):
        with pytest.raises(AdmissionError, match="nested too deeply") as refused:
            _Walk(Limits()).value(top, "$", 32)
        assert (refused.value.path or "").count("x") + (refused.value.path or "").count("[0]") == 32
    for deep in (nested(33), nested(500)):
        with pytest.raises(AdmissionError, match="nested too deeply"):
            json_value(deep)
        with pytest.raises(AdmissionError, match="nested too deeply"):
            admit(json.dumps(deep).encode())


def test_a_circle_is_refused_like_anything_too_deep() -> None:
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(AdmissionError, match="nested too deeply"):
        json_value(circle)


def test_the_number_of_values_is_bounded_in_values_and_in_bytes() -> None:
    assert admit(json.dumps(json_value([0] * 9_999)).encode())
    assert json_value((0,) * 9_999) == [0] * 9_999
    assert json_value([Decimal(1)] * 2, limits=Limits(max_nodes=3)) == ["1", "1"]
    with pytest.raises(AdmissionError, match="number \\[4\\]"):
        json_value([Decimal(1)] * 3, limits=Limits(max_nodes=3))
    with pytest.raises(AdmissionError, match="10001"):
        json_value([0] * 10_000)
    with pytest.raises(AdmissionError, match=r"value at \[\$\[9999\]\] is value number \[10001\]"):
        json_value((0,) * 10_000)
    with pytest.raises(AdmissionError, match="10001"):
        admit(json.dumps([0] * 10_000).encode())


def test_the_size_is_bounded_before_anything_is_parsed() -> None:
    limits = Limits(max_bytes=100)
    for gate in (admit, admit_written):
        assert gate(b'"' + b"x" * 98 + b'"', limits=limits)
        with pytest.raises(AdmissionError, match=r"\[101\] bytes"):
            gate(b'"' + b"x" * 99 + b'"', limits=limits)
    with pytest.raises(AdmissionError, match="bytes"):
        admit(b"\xff" * (50 * 1024 * 1024))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nul",
        b'{"a":1}x',
        b'{"a":1,"a":2}',
        b'[{"b":{"a":1,"a":1}}]',
        b"[NaN]",
        b"[-Infinity]",
        b"[1e400]",
        b"[-1e999]",
        b"9007199254740992",
        b"[-9007199254740992]",
        b"1" * 5_000,
        b'"\\u0000"',
        b'{"\\u0000":1}',
        b'"\\ud800"',
        b'"\\uDC00\\ud800"',
        b'"\x00"',
        b'"\n"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf1",
        "[1]".encode("utf-16"),
        b"[" * 100_000,
    ],
)
def test_bytes_that_another_reader_could_read_differently_are_refused(body: bytes) -> None:
    with pytest.raises(AdmissionError):
        admit(body)


@pytest.mark.parametrize("body", [b'"NaN"', b'"Infinity"', b'"0000000000000000000"', b'"\\u00e9"', b"9007199254740991"])
def test_a_suspect_that_is_innocent_is_let_through(body: bytes) -> None:
    assert admit(body) == body
    assert admit_written(body) == body


@pytest.mark.parametrize("body", [b"[NaN]", b"[Infinity]", b"[-Infinity]", b'["\\u0000"]', b"[9007199254740992]"])
def test_a_culprit_that_a_serialiser_wrote_is_refused(body: bytes) -> None:
    with pytest.raises(AdmissionError):
        admit_written(body)


def outcome(gate: Any, body: bytes, limits: Limits) -> str:
    try:
        gate(body, limits=limits)
    except AdmissionError:
        return "refused"
    return "admitted"


def slowly(body: bytes, *, limits: Limits) -> None:
    if len(body) > limits.max_bytes:
        raise AdmissionError("too large")
    json_value(parse_json(body), limits=limits)


WILD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | TEXT
    | st.sampled_from(["\x00", "\ud800", "NaN", "Infinity", '\\":', "9" * 20, "[[[[", ",,,,"]),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXT, inner, max_size=6),
    max_leaves=20,
)


@given(st.dictionaries(TEXT | st.integers(0, 3) | st.none(), WILD, max_size=4) | st.lists(WILD, max_size=4))
def test_what_is_plain_already_comes_out_as_the_walk_would_give_it(value: Any) -> None:
    def outcome(work: Callable[[], JsonValue]) -> str:
        try:
            return json.dumps(work())
        except AdmissionError as error:
            return str(error)

    limits = Limits()
    assert outcome(lambda: json_value(value)) == outcome(lambda: _Walk(limits).value(value, "$", limits.max_depth))


@given(WILD, st.integers(1, 200), st.integers(1, 4), st.integers(1, 20))
@example({"a": [math.nan]}, 200, 4, 20)
def test_the_quick_check_agrees_with_the_slow_walk(value: object, size: int, depth: int, nodes: int) -> None:
    limits = Limits(max_bytes=size, max_depth=depth, max_nodes=nodes)
    body = json.dumps(value).encode()
    assert outcome(admit, body, limits) == outcome(slowly, body, limits)
    assert outcome(admit_written, body, limits) == outcome(slowly, body, limits)


@given(st.binary(max_size=40))
def test_any_bytes_at_all_are_either_admitted_or_refused(body: bytes) -> None:
    assert outcome(admit, body, Limits()) == outcome(slowly, body, Limits())


def test_models_dataclasses_and_the_like_become_what_pydantic_writes_for_them() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    identity = UUID(int=7)
    account = Account("acme", moment)
    assert json_value(
        {
            "model": Model(ratio=0.5, account=account),
            "account": account,
            "pair": Pair(1, "x"),
            "ordered": OrderedDict(x=1),
            "colour": Colour.RED,
            "level": Level.HIGH,
            "money": Decimal("1.50"),
            "identity": identity,
            "day": moment.date(),
            "while": timedelta(seconds=90),
            Colour.RED: 1,
        }
    ) == {
        "model": {"ratio": 0.5, "account": {"name": "acme", "since": "2026-01-02T03:04:05Z"}},
        "account": {"name": "acme", "since": "2026-01-02T03:04:05Z"},
        "pair": [1, "x"],
        "ordered": {"x": 1},
        "colour": "red",
        "level": 3,
        "money": "1.50",
        "identity": str(identity),
        "day": "2026-01-02",
        "while": "PT1M30S",
        "red": 1,
    }


def test_a_model_is_written_by_the_names_that_it_is_read_by() -> None:
    class Named(BaseModel):
        number: int = Field(alias="n")

    assert json_value([Named(n=1)]) == [{"n": 1}]


def test_nan_in_a_model_is_refused_and_does_not_become_null() -> None:
    with pytest.raises(AdmissionError) as refused:
        json_value({"m": [Model(ratio=math.nan)]})
    assert refused.value.path == "$.m[0].ratio"


def test_a_model_that_cannot_be_dumped_is_refused_with_its_place() -> None:
    class Strange(BaseModel):
        thing: Any

    with pytest.raises(AdmissionError) as refused:
        json_value([Strange(thing=object())])
    assert refused.value.path == "$[0]"


def test_a_value_whose_repr_fails_is_refused_all_the_same() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    with pytest.raises(AdmissionError, match="a Broken"):
        json_value(Broken())
