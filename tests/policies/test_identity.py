"""What counts as behaviour, and changes the version, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.policies.sources import HEADER, PLAIN, load, plain, rule

SAME = {
    "a docstring": ('"""Say something."""', '"""Say something else,\n    on two lines."""'),
    "no docstring": ('    """Say something."""\n', ""),
    "a comment": ("# a remark", "# another remark"),
    "layout": ("y = double(facts.x) + LIMIT", "y = (\n        double(\n            facts.x)\n        + LIMIT)"),
    "an annotation": ("    y = double", "    y: float = double"),
    "an annotation of the function": ("def plain(params: P, facts: F) -> Evaluation:", "def plain(params, facts: F):"),
    "the function's name": ("def plain(params", "def renamed(params"),
    "a helper's name": ("double", "twice"),
    "quotes": ('"large"', "'large'"),
    "how a number is spelled": ("LIMIT = 5", "LIMIT = 0x5"),
    "an f-string cut in two": ('f"{y} is large"', 'f"{y}" " is" f" large"'),
    "where a name was imported from": ("LIMIT = 5", "from loom.policies.cases import case as case\nLIMIT = 5"),
}
CHANGED = {
    "a literal": ("x * 2", "x * 3"),
    "an operator": ("y <= params", "y < params"),
    "a captured constant": ("LIMIT = 5", "LIMIT = 6"),
    "the type of a captured constant": ("LIMIT = 5", "LIMIT = 5.0"),
    "a helper's body": ("return x * 2", "return x + 2"),
    "a parameter's value": ("P()", "P(limit=11)"),
    "a parameter's float": ("P()", "P(rate=0.25)"),
    "an effect": ("deny()", "indeterminate()"),
    "a tier": ("deny()", "require_approval('boss')"),
    "a reason": ('why="large"', 'why="too large"'),
    "an example": ("F(x=50)", "F(x=51)"),
    "the order of the cases": ("allow(), why", "deny(), why"),
    "the policy's name": ('@policy("plain"', '@policy("other"'),
}
CHANGED_MODELS = {
    "a bound": ("le=100", "le=101"),
    "a kind of bound": ("ge=0", "gt=-1"),
    "a default": ("Field(10,", "Field(11,"),
    "a type": ("x: int", "x: int | None"),
    "a default of a fact": ('name: str = "a"', 'name: str = "b"'),
    "another fact": ("    x: int\n", "    x: int\n    z: int = 0\n"),
    "another parameter": ("    rate: float", "    extra: bool = False\n    rate: float"),
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> str:
    return plain(tmp_path_factory.mktemp("rules")).version_hash


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize("what", SAME)
def test_what_cannot_change_an_answer_does_not_change_the_version(what: str, tmp_path: Path, original: str) -> None:
    module = load(tmp_path, HEADER + changed(PLAIN, *SAME[what]))
    found = vars(module).get("renamed") or module.plain
    assert found.version_hash == original


def test_an_augmented_assignment_means_what_it_means_written_out(tmp_path: Path) -> None:
    short = plain(tmp_path, changed(PLAIN, "+ LIMIT\n", "\n    y += LIMIT\n"))
    long = plain(tmp_path, changed(PLAIN, "+ LIMIT\n", "\n    y = y + LIMIT\n"))
    assert short.version_hash == long.version_hash


@pytest.mark.parametrize("what", CHANGED)
def test_what_can_change_an_answer_changes_the_version(what: str, tmp_path: Path, original: str) -> None:
    assert plain(tmp_path, changed(PLAIN, *CHANGED[what])).version_hash != original


@pytest.mark.parametrize("what", CHANGED_MODELS)
def test_what_changes_the_models_changes_the_version(what: str, tmp_path: Path, original: str) -> None:
    header = changed(HEADER, *CHANGED_MODELS[what])
    assert plain(tmp_path, header=header).version_hash != original


def test_the_order_titles_and_descriptions_of_fields_do_not_count(tmp_path: Path, original: str) -> None:
    header = changed(HEADER, "le=100)", "le=100, title='T', description='D')")
    header = changed(header, '    x: int\n    name: str = "a"\n', '    name: str = "a"\n    x: int\n')
    assert plain(tmp_path, header=header).version_hash == original


def test_description_and_author_do_not_count(tmp_path: Path, original: str) -> None:
    policy = plain(tmp_path, changed(PLAIN, "P(), uses", 'P(), description="d", author="a", uses'))
    assert policy.version_hash == original
    assert policy.about["description"] == "d"
    assert policy.about["author"] == "a"
    assert "# a remark" in str(policy.about["source"])
    assert "about" not in policy.document


def test_a_rule_inside_a_function_is_the_same_as_one_in_a_module(tmp_path: Path, original: str) -> None:
    inner = "\n".join("    " + line for line in PLAIN.splitlines())
    module = load(tmp_path, f"{HEADER}\ndef make():\n{inner}\n    return plain\nplain = make()\n")
    assert module.plain.version_hash == original


def test_text_over_several_lines_is_kept_as_it_is_inside_a_function(tmp_path: Path) -> None:
    text = rule('z = """one\n        two"""\nreturn first_match(otherwise("r", allow(), why=z))', examples="F(x=1)")
    inner = "\n".join(line if "two" in line else "    " + line for line in text.splitlines())
    nested = load(tmp_path, f"{HEADER}\ndef make():\n{inner}\n    return plain\nplain = make()\n").plain
    assert nested.document["rule"] == plain(tmp_path, text).document["rule"]


def test_helpers_and_constants_are_in_the_document_without_their_modules(tmp_path: Path) -> None:
    first: Any = plain(tmp_path, PLAIN).document
    assert first["helpers"] == [
        {"parameters": ["x"], "defaults": {}, "body": ["return (mul x 2)"], "constants": {}},
    ]
    assert first["rule"]["constants"] == {"LIMIT": 5}


def test_a_default_of_a_helper_counts(tmp_path: Path) -> None:
    one = plain(tmp_path, changed(changed(PLAIN, "(x: int)", "(x: int, k: int = 2)"), "x * 2", "x * k"))
    two = plain(tmp_path, changed(changed(PLAIN, "(x: int)", "(x: int, k: int = 3)"), "x * 2", "x * k"))
    assert one.version_hash != two.version_hash
    assert one.evaluate({"x": 1}).rule == "small"


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        ("a = b = 1", ["(set a b 1)"]),
        ("a, (b, c) = 1, (2, 3)", ["(set (tuple a (tuple b c)) (tuple 1 (tuple 2 3)))"]),
        ("a: int = 1\nb: int", ["(set a 1)"]),
        ("for a in (1,):\n    pass\nelse:\n    a = 2", ["for a (tuple 1)", "  pass", "else", "  (set a 2)"]),
        ("return", ["return None"]),
        ("return facts.x in {1, 2}", ["return (compare (get facts x) in (set-of 1 2))"]),
        ("return f'{facts.x!r:>{1}}' '}'", ['return (format (show (get facts x) !r (format ">" (show 1))) "}")']),
        ("return max(*(1, 2), default=3)", ["return (call builtin:max *(tuple 1 2) default=3)"]),
        ("return [x for x in (1,) if x]", ["return (list-of x (for x (tuple 1) x))"]),
        ("return (y := 1) if not 2 else -y", ["return (if (not 2) (let y 1) (neg y))"]),
    ],
)
def test_each_construct_has_one_text(body: str, lines: list[str], tmp_path: Path) -> None:
    document: Any = plain(tmp_path, rule(body)).document
    assert document["rule"]["body"] == lines
