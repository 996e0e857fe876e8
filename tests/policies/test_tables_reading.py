"""Reading tables: what is none is refused with its place, whatever is in the file, and never with another error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.errors import PolicyCodeChangedError, PolicyTableError
from loom.policies import Table, load_table
from loom.policies.tables import lint
from loom.policies.tables.reading import read_table
from tests.policies.test_tables import BOOLEAN, DECIMAL, INTEGER, STRING, row, written

YAML = """
format: loom.table/1
name: small
facts: {x: {type: integer}}
rules:
  - {name: low, when: [[x, "<=", 5]], effect: allow, why: because of low}
otherwise: {name: else, effect: deny, why: nothing else holds}
"""


def file(folder: Path, text: str | bytes, name: str = "table.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(data: Any) -> str:
    with pytest.raises(PolicyTableError) as error:
        Table.of(data)
    return str(error.value)


def test_yaml_and_json_of_the_same_table_are_the_same_version(tmp_path: Path) -> None:
    made = Table.of(written())
    assert load_table(file(tmp_path, YAML)).version_hash == made.version_hash
    assert load_table(file(tmp_path, json.dumps(written()), "table.json")).version_hash == made.version_hash
    assert load_table(str(file(tmp_path, json.dumps(written())))).version_hash == made.version_hash


def test_the_text_of_the_file_is_kept_as_the_source(tmp_path: Path) -> None:
    assert load_table(file(tmp_path, YAML)).about["source"] == YAML


@pytest.mark.parametrize("operator", ["=", '"="', "'!='", "<", "<=", '">"', '">="'])
def test_an_operator_may_be_written_bare_where_yaml_lets_it(tmp_path: Path, operator: str) -> None:
    table = read_table(file(tmp_path, YAML.replace('"<="', operator)))
    assert table.layout.rules[0].when[0].operator == operator.strip("\"'")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "neither YAML nor JSON"),
        ("\t- x", "neither YAML nor JSON"),
        (b"\xff\xfe", "neither YAML nor JSON"),
        ("name: \x00", "neither YAML nor JSON"),
        (YAML + "name: again\n", "key [name] is there twice"),
        (YAML.replace("type: integer", "type: integer, type: decimal"), "key [type] is there twice"),
        (YAML.replace("name: low, when", "name: low, name: low, when"), "key [name] is there twice"),
        (YAML.replace('"<="', "!="), "quote what begins with [!]"),
        (YAML.replace('"<="', ">="), "neither YAML nor JSON"),
        ("a: &a [*a]", "alias [*a] is used"),
        ("&a [*a]", "alias [*a] is used"),
        ("a: &a [1]\nb: *a", "alias [*a] is used"),
        ("<<: {a: 1}", "neither YAML nor JSON"),
        ("a: !!python/object:os.system x", "is used"),
        ("a: !!set {a, b}", "is used"),
        ("a: !!bool maybe", "is used"),
        ("a: 2020-13-45", "neither YAML nor JSON"),
        ("a: " + "1" * 5_000, "neither YAML nor JSON"),
        ("? [a]\n: 1", "neither YAML nor JSON"),
        ("a: " + "[" * 5_000, "neither YAML nor JSON"),
        ("a: " + "[" * 100 + "]" * 100, "too deep"),
        ("", "is not of the format [loom.table/1] at [$]"),
        ("3", "is not of the format [loom.table/1] at [$]"),
        ("[]", "is not of the format [loom.table/1] at [$]"),
        ("just words", "is not of the format [loom.table/1] at [$]"),
        (YAML.replace("5]]", "0.5]]"), "float at [$.rules.0.when.0.2]"),
        (YAML.replace("5]]", ".inf]]"), "float at [$.rules.0.when.0.2]"),
        (YAML.replace("5]]", "2020-01-01]]"), "date at [$.rules.0.when.0.2]"),
        (YAML.replace("why: because of low", 'why: "a\\0b"'), "cannot be kept"),
        (YAML.replace("why: because of low", 'why: "a\\ud800b"'), "rules.0.why"),
    ],
    ids=range(30),
)
def test_a_file_that_is_no_table_is_refused_and_told_why(tmp_path: Path, text: str | bytes, problem: str) -> None:
    with pytest.raises(PolicyTableError) as error:
        read_table(file(tmp_path, text))
    assert problem in str(error.value)


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', '{"a": NaN}', "{", "[" * 100_000, '{"a": 1e999}', "// no", b"\xff"], ids=range(7)
)
def test_a_file_that_is_no_json_is_refused(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(PolicyTableError, match="neither YAML nor JSON"):
        read_table(file(tmp_path, text, "table.json"))


def test_a_float_in_json_is_refused_with_its_place(tmp_path: Path) -> None:
    data = written(parameters={"p": {"type": "decimal", "value": 1.0}})
    with pytest.raises(PolicyTableError, match=r"float at \[\$\.parameters\.p\.value\]"):
        load_table(file(tmp_path, json.dumps(data), "table.json"))


def test_a_file_that_is_too_large_or_not_there_is_refused(tmp_path: Path) -> None:
    full = YAML + "#" * (1_048_576 - len(YAML))
    assert load_table(file(tmp_path, full)).name == "small"
    with pytest.raises(PolicyTableError, match=r"more than \[1048576\] bytes"):
        load_table(file(tmp_path, full + "#"))
    with pytest.raises(PolicyTableError, match="cannot be read"):
        load_table(tmp_path / "none.yaml")
    with pytest.raises(PolicyTableError, match="cannot be read"):
        load_table(tmp_path)


@settings(max_examples=300)
@given(st.text(alphabet=" \n-:[]{}&*!|>'\"%@`#,?=<~.019abxy\t"))
def test_whatever_is_in_a_file_it_is_a_table_or_a_table_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    with pytest.raises(PolicyTableError):
        read_table(file(tmp_path_factory.getbasetemp(), text, "any.yaml"))


# --- what may not be written --------------------------------------------------------------------

LIMIT = {"limit": {**INTEGER, "value": 5}}


def rules(*when: Any, **more: Any) -> dict[str, Any]:
    return written(rules=[row("low", *when)], **more)


REFUSED: list[tuple[dict[str, Any], str]] = [
    (written(format="loom.table/2"), "at [format]"),
    (written(name="no name!"), "name"),
    (written(more=1), "at [more]"),
    (written(hit_policy="any"), "at [hit_policy]"),
    (written(rules=[], otherwise=None), "there is no rule"),
    (written(rules=[row("a"), row("a")]), "rules [a] are there twice"),
    (written(rules=[row("else")]), "rules [else] are there twice"),
    (written(limits=[row("low", effect="deny")]), "rules [low] are there twice"),
    (written(rules=[row("facts")]), "rule name [facts] is taken"),
    (written(rules=[row("none")]), "rule name [none] is taken"),
    (written(rules=[row("error")]), "rule name [error] is taken"),
    (written(rules=[row("")]), "at [rules.0.name]"),
    (written(rules=[row("a" * 65)]), "at [rules.0.name]"),
    (written(rules=[{"name": "a", "effect": "allow"}]), "at [rules.0.why]"),
    (written(rules=[row("a", why="")]), "at [rules.0.why]"),
    (written(rules=[row("a", effect="maybe")]), "at [rules.0.effect]"),
    (written(rules=[row("a", tier="vp")]), "tier [vp] is set for [allow]"),
    (written(rules=[row("a", color="red")]), "at [rules.0.color]"),
    (written(limits=[row("a")]), "limit [a] has the effect [allow]; expected deny"),
    (written(limits=[row("a", effect="require_approval")]), "has the effect [require_approval]"),
    (written(otherwise={**row("e", ["x", "=", 1])}), "otherwise has conditions"),
    (rules(["y", "=", 1]), "is about an unknown fact; expected one of [x]"),
    (rules(["x", "=", {"param": "p"}], parameters=LIMIT), "unknown parameter; expected one of [limit]"),
    (written(limits=[row("a", ["x", "=", {"param": "limit"}], effect="deny")], parameters=LIMIT), "hard limit"),
    (rules(["x", "==", 1]), "operator [==] is unknown; expected one of [=, !=,"),
    (rules(["x", None, 1]), "operator [None] is unknown"),
    (rules(["x", ["="], 1]), "is unknown"),
    (rules(["x", "="]), "is not of the form [fact, operator, value]"),
    (rules("x = 1"), "is not of the form"),
    (rules({"x": 1}), "is not of the form"),
    (rules(["x", "=", 1, 2]), "is not of the form"),
    (rules(["x", "in", 1]), "[in] stands before one value"),
    (rules(["x", "=", [1]]), "[=] stands before a list"),
    (rules(["x", "in", []]), "[in] has [0] values; expected some"),
    (rules(["x", "between", [1]]), "[between] has [1] values; expected 2"),
    (rules(["x", "between", [1, 2, 3]]), "[between] has [3] values; expected 2"),
    (rules(["x", "between", [2, 1]]), "ends before it begins"),
    (rules(["x", "=", True]), "expected a value of type [integer]"),
    (rules(["x", "=", "1"]), "expected a value of type [integer]"),
    (rules(["x", "=", 2**53]), "expected a value of type [integer]"),
    (rules(["x", "in", [1, "1"]]), "expected a value of type [integer]"),
    (rules(["x", "=", None]), "rules.0.when.0"),
    (rules(["x", "=", {"parm": "limit"}]), "rules.0.when.0"),
    (rules(["x", "=", {"param": "limit", "more": 1}], parameters=LIMIT), "rules.0.when.0"),
    (rules(["x", "starts with", "1"]), "looks at the beginning of a integer"),
    (rules(["x", "<", "a"], facts={"x": STRING}), "puts a string in order"),
    (rules(["x", "between", ["a", "b"]], facts={"x": STRING}), "puts a string in order"),
    (rules(["x", ">=", True], facts={"x": BOOLEAN}), "puts a boolean in order"),
    (rules(["x", "=", 1], facts={"x": BOOLEAN}), "expected a value of type [boolean]"),
    (rules(["x", "=", 1], facts={"x": DECIMAL}), "expected a value of type [decimal]"),
    (rules(["x", "=", "1e3"], facts={"x": DECIMAL}), "expected a value of type [decimal]"),
    (rules(["x", "=", {"param": "limit"}], facts={"x": DECIMAL}, parameters=LIMIT), "a parameter of type [integer]"),
    (written(facts={"x": {"type": "float"}}), "at [facts.x.type]"),
    (written(facts={"x": "integer"}), "at [facts.x]"),
    (written(facts={"x": INTEGER, "a b": INTEGER}), "is not a name"),
    (written(facts={"x": INTEGER, "": INTEGER}), "is not a name"),
    (written(facts={"x": INTEGER, "y\n": INTEGER}), "is not a name"),
    (written(facts={"x": {**INTEGER, "min": "0"}}), "min ['0'] does not fit"),
    (written(facts={"x": {**INTEGER, "min": True}}), "min [True] does not fit"),
    (written(facts={"x": {**INTEGER, "min": 2, "max": 1}}), "min [2] is above max [1]"),
    (written(facts={"x": INTEGER, "b": {**BOOLEAN, "max": True}}), "does not fit the type [boolean]"),
    (written(facts={"x": {**INTEGER, "values": ["a"]}}), "values are set for the type [integer]"),
    (written(facts={"x": INTEGER, "s": {**STRING, "values": []}}), "not empty"),
    (written(facts={"x": INTEGER, "s": {**STRING, "values": [True]}}), "at [facts.s.values.0]"),
    (written(facts={"x": INTEGER, "s": {**STRING, "values": {"a", "b"}}}), "a set at [$.facts.s.values]"),
    (written(parameters={"p": {**INTEGER, "value": 5, "max": 4}}), "value [5] is above [4]"),
    (written(parameters={"p": {**INTEGER, "value": True}}), "is not of type [integer]"),
    (written(parameters={"p": INTEGER}), "at [parameters.p.value]"),
    (written(parameters={"p": {**STRING, "value": "a", "values": ["a"]}}), "at [parameters.p.values]"),
]


@pytest.mark.parametrize(("data", "problem"), REFUSED, ids=[problem for _, problem in REFUSED])
def test_what_may_not_be_written_is_refused_and_told(data: dict[str, Any], problem: str) -> None:
    from loom.errors import LoomError

    with pytest.raises(LoomError) as error:
        Table.of(data, checked=False)
    assert problem in str(error.value)


@pytest.mark.parametrize(
    "place",
    ["facts.x.min", "parameters.p.value", "rules.0.when.0.2", "rules.0.why", "otherwise.why", "description"],
)
def test_a_float_anywhere_is_refused_with_its_place(place: str) -> None:
    data: Any = written(parameters={"p": {**INTEGER, "value": 1}}, description="")
    at = data = json.loads(json.dumps(data))
    *path, last = place.split(".")
    for step in path:
        at = at[int(step)] if step.isdigit() else at[step]
    at[int(last) if last.isdigit() else last] = 0.5
    assert f"float at [$.{place}]" in refused(data)


def test_what_the_linter_calls_an_error_is_refused_at_loading_and_can_still_be_read(tmp_path: Path) -> None:
    bad = file(tmp_path, YAML.replace('[[x, "<=", 5]]', '[[x, "<", 1], [x, ">", 1]]'))
    with pytest.raises(PolicyTableError, match=r"rule \[low\]: no facts make all of its conditions hold"):
        load_table(bad)
    assert [each.code for each in lint(read_table(bad).layout)] == ["never_fires"]


def test_the_document_of_other_semantics_another_policy_or_no_table_is_not_run() -> None:
    table = Table.of(written())
    assert table.gives(table.document)
    assert table.departure({**table.document, "semantics": 2}) == "its semantics are of a newer loom"
    assert table.departure({**table.document, "language": "python"}) == "it is not a table"
    assert table.departure({**table.document, "name": "other"}) == "it is another policy"
    with pytest.raises(PolicyCodeChangedError, match="it is another policy"):
        table.under({**table.document, "name": "other"})
    other = Table.of(written(rules=[row("low", ["x", "<=", 7])]))
    assert table.under(other.document).verdict({"x": 6}).rule == "low"
