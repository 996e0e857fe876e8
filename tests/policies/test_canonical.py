"""The canonical form, version hashes, ids of versions, and the text of rules."""

from __future__ import annotations

import ast
import hashlib
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.errors import AdmissionError, InvalidNameError
from loom.policies import VersionRef, canonical, parse_version, version_hash, version_id
from loom.policies.canonical import implicit_document, tagged, untagged
from loom.policies.layout import laid_out
from loom.policies.names import Names, Place
from loom.policies.syntax import Writer


class Colour(Enum):
    RED = "red"


HASH = "9af01c22" + "0" * 56
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).filter(lambda key: key[:1] != "$")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | KEYS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_tagged_values_have_one_canonical_form_also_after_pythons_json(value: Any) -> None:
    form = canonical(tagged(value))
    assert canonical(json.loads(form)) == form
    assert canonical(json.loads(json.dumps(tagged(value)))) == form


@given(VALUES)
def test_tagged_values_come_back_with_their_types(value: Any) -> None:
    assert repr(untagged(json.loads(json.dumps(tagged(value))))) == repr(value)


@pytest.mark.parametrize(
    ("left", "right"),
    [(1, 1.0), (0.0, -0.0), (1, True), ("1", 1), (1.0, Decimal("1.0")), (Decimal("1.0"), Decimal("1.00"))],
)
def test_values_that_python_takes_for_equal_have_different_forms(left: object, right: object) -> None:
    assert canonical(tagged(left)) != canonical(tagged(right))


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), Decimal("NaN"), "\ud800", "a\0", b"x", {1}, {"$a": 1}, object()]
)
def test_what_has_no_form_is_refused_with_its_place(value: object) -> None:
    with pytest.raises(AdmissionError, match=r"value at \[\$\.here\[0\]\]") as caught:
        tagged({"here": [value]})
    assert caught.value.path == "$.here[0]"


@pytest.mark.parametrize("value", [1.5, 2**53, -(2**53), "\ud800", (1,), {1: 2}, Decimal(1)])
def test_what_could_be_read_two_ways_is_not_hashed(value: object) -> None:
    with pytest.raises(AdmissionError):
        version_hash({"x": value})


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (Colour.RED, "red"),
        (2**53 - 1, 2**53 - 1),
        (-(2**53 - 1), -(2**53 - 1)),
        (2**53, {"$int": "9007199254740992"}),
        (0.5, {"$float": "0.5"}),
        (Decimal("1.50"), {"$decimal": "1.50"}),
        (datetime(2026, 5, 1, 12, tzinfo=UTC), {"$datetime": "2026-05-01T12:00:00+00:00"}),
        (date(2026, 5, 1), {"$date": "2026-05-01"}),
        (frozenset({"b", "a"}), {"$set": ["a", "b"]}),
        ({"a": (1, True, None)}, {"a": [1, True, None]}),
    ],
)
def test_a_value_of_each_type_has_the_form_that_hashes_of_versions_are_made_of(value: object, form: object) -> None:
    assert tagged(value) == form
    assert canonical(tagged(value)) == json.dumps(form, separators=(",", ":")).encode()


def test_what_is_tagged_is_read_back_as_plain_json() -> None:
    assert untagged({"$int": str(2**53)}) == 2**53
    assert untagged({"$float": "0.5"}) == 0.5
    assert untagged([{"$decimal": "1.50"}, {"$date": "2026-05-01"}]) == ["1.50", "2026-05-01"]
    assert untagged({"$set": ["a"]}) == {"$set": ["a"]}
    assert untagged({"$int": "1", "b": 2}) == {"$int": "1", "b": 2}


def test_hashes_of_documents_are_what_they_always_were() -> None:
    assert implicit_document("desk") == {
        "format": "loom.policy/1",
        "language": "none",
        "semantics": 1,
        "name": "desk",
    }
    written = b'loom/policy/v1\n{"format":"loom.policy/1","language":"none","name":"desk","semantics":1}'
    assert version_hash(implicit_document("desk")) == hashlib.sha256(written).hexdigest()


@pytest.mark.parametrize(
    ("value", "path", "seen"),
    [
        (2**53, "$", "is [9.0072e+15]"),
        ([0, 2**53], "$[1]", "is [9.0072e+15]"),
        ({"a": ["\udfff"]}, "$.a[0]", "is the text"),
        ({"a": {1: 2}}, "$.a", "has the key [1]"),
        ({"a": {"\0": 2}}, "$.a", "is the text"),
        ({"a": {"b": 1.5}}, "$.a.b", "is of type [float]"),
    ],
)
def test_what_cannot_be_hashed_is_refused_with_its_place(value: object, path: str, seen: str) -> None:
    with pytest.raises(AdmissionError) as caught:
        canonical(value)
    assert caught.value.path == path
    assert f"value at [{path}] {seen}" in str(caught.value)


@pytest.mark.parametrize("value", [2**53 - 1, -(2**53 - 1), [], {"a": []}])
def test_what_every_reader_agrees_about_has_its_form(value: object) -> None:
    assert canonical(value) == json.dumps(value, separators=(",", ":")).encode()


def test_the_order_of_keys_does_not_count() -> None:
    assert version_hash({"a": 1, "b": 2}) == version_hash({"b": 2, "a": 1})


def test_a_version_is_called_by_its_number_and_the_beginning_of_its_hash() -> None:
    assert version_id(3, HASH) == "policy_v3_9af01c22"


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("policy_v3_9af01c22", VersionRef(3, "9af01c22")),
        ("v3_9af01c22", VersionRef(3, "9af01c22")),
        (f"v3_{HASH}", VersionRef(3, HASH)),
        ("v3_9a", VersionRef(3, "9a")),
        ("9af0", VersionRef(None, "9af0")),
        (HASH, VersionRef(None, HASH)),
    ],
)
def test_every_way_to_name_a_version_is_read(text: str, ref: VersionRef) -> None:
    assert parse_version(text) == ref
    assert ref.matches(number=3, full_hash=HASH)
    assert not ref.matches(number=3, full_hash="8" + HASH[1:])
    assert ref.matches(number=4, full_hash=HASH) == (ref.number is None)


@pytest.mark.parametrize("text", ["v3", "policy_v3", "v3_"])
def test_a_number_alone_names_a_version_of_any_hash(text: str) -> None:
    assert parse_version(text) == VersionRef(3, "")


@pytest.mark.parametrize(
    "text",
    ["", "v", "v3-9af01c22", "v0_9af01c22", "policy_3_9af01c22", "9af", "xyz1", "v3_9AF01C22", HASH + "0", "9af0\n"],
)
def test_what_names_no_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidNameError, match=r"expected \[policy_v<n>_<hex>"):
        parse_version(text)


def atom(kind: st.DrawFn) -> str:
    return kind(
        st.sampled_from(["a", "b", "c", "1", "1.0", "-1", "True", "None", "'a b'", "'(x \"y\\\\'", "f'{a}b'", "''"])
    )


@st.composite
def expressions(draw: st.DrawFn, depth: int = 4) -> str:
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return atom(draw)
    inner = [draw(expressions(depth=depth - 1)) for _ in range(3)]
    form = draw(
        st.sampled_from(
            [
                "({} + {})",
                "({} - {})",
                "({} < {} <= {})",
                "({} and {} and {})",
                "(({} and {}) or {})",
                "(not {})",
                "(-{})",
                "({} if {} else {})",
                "[{}, {}]",
                "({}, {}, {})",
                "({},)",
                "{{{}: {}}}",
                "{}[{}:{}]",
                "{}[{}]",
                "[x for x in {} if {}]",
                "[{} for x in {} for y in x]",
                "({}).strip({})",
                "f'x{{a}}y{{b!r:>{{c}}}}'",
                "(y := {})",
                "({} in ({}, {}))",
                "({}).split(sep={})",
            ]
        )
    )
    return str(form.format(*inner))


def lines_of(expression: str) -> list[str]:
    definition = ast.parse(f"def f(a, b, c):\n    return {expression}").body[0]
    assert isinstance(definition, ast.FunctionDef)
    space: dict[str, Any] = {}
    exec("def f(a, b, c): return None", space)
    names = Names(space["f"], Place("f"), frozenset(), lambda helper, node: ("", helper))
    return Writer(names, definition).body(definition.body)


@given(expressions(), expressions())
def test_two_rules_have_one_text_only_if_they_are_one_tree(left: str, right: str) -> None:
    same_tree = ast.dump(ast.parse(plainly(left))) == ast.dump(ast.parse(plainly(right)))
    assert (lines_of(left) == lines_of(right)) == same_tree


def plainly(expression: str) -> str:
    """Return the expression without the spelling that the text of a rule does not keep."""
    return ast.unparse(ast.parse(expression))


@given(expressions())
def test_the_layout_of_a_rule_loses_nothing(expression: str) -> None:
    lines = lines_of(expression)
    joined = " ".join(line.strip(" ") for line in lines)
    assert all(line == line.rstrip() for line in lines)
    assert laid_out(joined) == lines


@pytest.mark.parametrize(
    "line",
    [
        "for (tuple a b) (call builtin:zip " + "x " * 60 + "y)",
        'return "' + "(a " * 50 + '"',
        "(format " + '"(" ' * 30 + ")",
        'return (call f "a \\" ( b" ' + "(get x y) " * 12 + "z)",
    ],
)
def test_a_long_line_of_any_kind_is_kept_whole(line: str) -> None:
    assert " ".join(part.strip(" ") for part in laid_out(line)) == line
