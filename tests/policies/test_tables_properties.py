"""What holds for every table and all facts: an interpreter that knows nothing of the compiled one says the same."""

from __future__ import annotations

import copy
import json
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from loom.policies import Table, version_hash
from loom.policies.tables.table import table_of

FACTS = {
    "n": {"type": "integer", "min": -3},
    "d": {"type": "decimal", "max": "2.5"},
    "b": {"type": "boolean"},
    "s": {"type": "string"},
    "v": {"type": "string", "values": ["red", "green"]},
}
PARAMETERS: dict[str, dict[str, Any]] = {
    "pn": {"type": "integer", "value": 2, "min": -9, "max": 9},
    "pd": {"type": "decimal", "value": "0.50"},
    "pb": {"type": "boolean", "value": True},
    "ps": {"type": "string", "value": "ab"},
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "n": st.integers(-3, 5),
    "d": st.sampled_from(["-1", "-0", "0.0", "0.5", "0.50", "1", "2.5"]),
    "b": st.booleans(),
    "s": st.sampled_from(["", "a", "ab", "abc", "b", "é"]),
    "v": st.sampled_from(["red", "green"]),
}


@st.composite
def conditions(draw: st.DrawFn, *, tunable: bool = True) -> list[Any]:
    fact = draw(st.sampled_from(sorted(FACTS)))
    operators = ["=", "!=", "in", "not in"]
    operators += ["<", "<=", ">", ">=", "between"] if fact in "nd" else ["starts with"] if fact in "sv" else []
    operator = draw(st.sampled_from(operators))
    value = VALUES[fact]
    if operator == "between":
        return [fact, operator, sorted([draw(value), draw(value)], key=Decimal)]
    if tunable:
        value = st.one_of(value, st.just({"param": "ps" if fact == "v" else f"p{fact}"}))
    return [fact, operator, draw(st.lists(value, min_size=1, max_size=3) if operator.endswith("in") else value)]


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    """Return a small table as plain data; half of its rules can hold together."""

    def rows(prefix: str, effects: list[str], most: int, *, tunable: bool) -> list[dict[str, Any]]:
        made = []
        for number in range(draw(st.integers(0, most))):
            effect = draw(st.sampled_from(effects))
            when = draw(st.lists(conditions(tunable=tunable), max_size=3))
            more: dict[str, Any] = {"tier": "vp"} if effect == "require_approval" and draw(st.booleans()) else {}
            more |= {"exception": "once"} if draw(st.booleans()) else {}
            made.append({"name": f"{prefix}{number}", "when": when, "effect": effect, "why": f"w{number}", **more})
        return made

    rules = rows("r", ["allow", "require_approval", "deny", "indeterminate"], 5, tunable=True)
    otherwise = {"name": "else", "effect": "deny", "why": "else"}
    return {
        "format": "loom.table/1",
        "name": "any",
        "facts": FACTS,
        "parameters": PARAMETERS,
        "limits": rows("l", ["deny", "indeterminate"], 2, tunable=False),
        "hit_policy": draw(st.sampled_from(["first", "unique"])),
        "rules": rules,
        "otherwise": otherwise if not rules or draw(st.booleans()) else None,
    }


good = st.fixed_dictionaries(VALUES)
nonsense = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.characters(categories=["Cs"]),
    st.lists(st.integers(), max_size=2),
    st.decimals(),
    st.just({}),
    st.just("1" * 40),
    st.just("1e3"),
    st.just(2**80),
)
hashable = st.one_of(st.none(), st.integers(), st.binary(max_size=3), st.characters(categories=["Cs"]))
any_facts = st.one_of(
    good,
    st.builds(lambda facts, more: {**facts, **more}, good, st.dictionaries(st.sampled_from("ndbsvx"), nonsense)),
    st.dictionaries(st.one_of(st.sampled_from("ndbsv"), st.text(max_size=3), hashable), nonsense),
)


# --- the interpreter ----------------------------------------------------------------------------


def fits(fact: dict[str, Any], value: object) -> bool:
    """Return whether a value is one of a fact, by another way than the table's: fractions, and digits one by one."""
    if fact["type"] == "boolean":
        return value is True or value is False
    if fact["type"] == "string":
        if not isinstance(value, str) or any(0xD800 <= ord(sign) <= 0xDFFF for sign in value):
            return False
        return value in fact.get("values", [value])
    if fact["type"] == "integer":
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**53:
            return False
    else:
        if not isinstance(value, str):
            return False
        parts = value.removeprefix("-").split(".")
        if len(parts) > 2 or not all(0 < len(part) <= 30 and set(part) <= set("0123456789") for part in parts):
            return False
    low, high = fact.get("min", value), fact.get("max", value)
    return Fraction(low) <= Fraction(value) <= Fraction(high)


def holds(written: dict[str, Any], condition: list[Any], facts: dict[str, Any]) -> bool:
    name, operator, operand = condition
    numeric = written["facts"][name]["type"] == "decimal"

    def plain(value: Any) -> Any:
        value = written["parameters"][value["param"]]["value"] if isinstance(value, dict) else value
        return Fraction(value) if numeric else value

    value = plain(facts[name])
    operands = [plain(each) for each in (operand if isinstance(operand, list) else [operand])]
    match operator:
        case "=" | "in":
            return any(value == each for each in operands)
        case "!=" | "not in":
            return all(value != each for each in operands)
        case "<":
            return bool(value < operands[0])
        case "<=":
            return not value > operands[0]
        case ">":
            return bool(value > operands[0])
        case ">=":
            return not value < operands[0]
        case "between":
            return not (value < operands[0] or value > operands[1])
    return bool(value[: len(operands[0])] == operands[0])


def interpreted(written: dict[str, Any], facts: dict[Any, Any]) -> tuple[str, str, str | None]:
    """Return effect, rule and tier, as somebody would find them who reads the table aloud."""
    if not all(name in facts and fits(fact, facts[name]) for name, fact in written["facts"].items()):
        return ("indeterminate", "facts", None)
    holding = {
        row["name"]: all(holds(written, each, facts) for each in row["when"])
        for row in written["limits"] + written["rules"]
    }
    for row in written["limits"]:
        if holding[row["name"]]:
            return (row["effect"], row["name"], None)
    rules = [row for row in written["rules"] if holding[row["name"]]]
    if written["hit_policy"] == "unique" and len(rules) > 1:
        return ("indeterminate", "none", None)
    if not rules and written["otherwise"] is None:
        return ("indeterminate", "none", None)
    row = rules[0] if rules else written["otherwise"]
    return (row["effect"], row["name"], row.get("tier"))


@settings(max_examples=400)
@given(tables(), st.lists(good, min_size=5, max_size=20))
def test_a_table_says_what_an_interpreter_says(written: dict[str, Any], cases: list[dict[str, Any]]) -> None:
    table = Table.of(written, checked=False)
    for facts in cases:
        assert table.verdict(facts) == interpreted(written, facts)


@settings(max_examples=400)
@given(tables(), any_facts)
def test_nonsense_is_judged_as_an_interpreter_judges_it(written: dict[str, Any], facts: dict[Any, Any]) -> None:
    assert Table.of(written, checked=False).verdict(facts) == interpreted(written, facts)


@settings(max_examples=400)
@given(tables(), any_facts)
def test_a_verdict_is_the_evaluation_without_its_words(written: dict[str, Any], facts: dict[Any, Any]) -> None:
    table = Table.of(written, checked=False)
    evaluation = table.evaluate_json(facts, ignore_unknown=True)
    assert table.verdict(facts) == (evaluation.effect, evaluation.rule, evaluation.tier)
    strict = table.evaluate(facts)
    assert strict == evaluation or (strict.rule == "facts" and "unknown" in strict.details)
    strict.model_dump_json()  # it can be recorded
    if evaluation.rule != "facts":
        names = [row.name for row in table.layout.rows]
        assert sorted([*(miss.rule for miss in evaluation.why_not), evaluation.rule]) == sorted(
            names if evaluation.rule != "none" else [*names, "none"]
        )


@given(tables(), good)
def test_a_table_says_the_same_whatever_the_process_has_set_for_decimals(
    written: dict[str, Any], facts: dict[str, Any]
) -> None:
    table = Table.of(written, checked=False)
    with localcontext(prec=1):
        again = Table.of(written, checked=False)
        assert again.version_hash == table.version_hash
        assert (again.verdict(facts), table.verdict(facts)) == (table.verdict(facts), interpreted(written, facts))


# --- the hash -----------------------------------------------------------------------------------


@given(tables(), st.randoms(use_true_random=False), st.text(max_size=5), st.text(max_size=5))
def test_the_hash_does_not_change_with_the_order_of_keys_nor_with_who_wrote_it(
    written: dict[str, Any], random: Any, description: str, author: str
) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, list):
            return [shuffled(each) for each in value]
        if not isinstance(value, dict):
            return value
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffled(value[key]) for key in keys}

    old = Table.of(written, checked=False)
    new = Table.of({**shuffled(written), "description": description, "author": author}, checked=False, source="x")
    assert new.version_hash == old.version_hash
    assert new.document == old.document
    assert (new.about["description"], new.about["author"]) == (description, author)


@given(tables(), good)
def test_a_document_gives_the_same_table_again_also_after_a_journal(
    written: dict[str, Any], facts: dict[str, Any]
) -> None:
    table = Table.of(written, checked=False)
    read_back = json.loads(json.dumps(table.document))
    assert version_hash(read_back) == table.version_hash
    again = table_of(read_back)
    assert again.version_hash == table.version_hash
    assert again.document == table.document
    assert again.evaluate(facts) == table.evaluate(facts)
    assert Table.of(table.written(), checked=False).version_hash == table.version_hash


@settings(max_examples=300)
@given(st.data())
def test_the_hash_changes_with_everything_that_can_change_an_answer(data: st.DataObject) -> None:
    old, new = data.draw(tables()), data.draw(tables())
    for part in data.draw(st.sets(st.sampled_from(["limits", "hit_policy", "rules", "otherwise"]))):
        new[part] = copy.deepcopy(old[part])
    if not new["rules"] and new["otherwise"] is None:
        return
    same = json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)
    hashes = [Table.of(each, checked=False).version_hash for each in (old, new)]
    assert (hashes[0] == hashes[1]) == same


CHANGES: list[tuple[str, Any]] = [
    ("name", "other"),
    ("hit_policy", "unique"),
    ("otherwise", None),
    ("otherwise.name", "rest"),
    ("otherwise.effect", "allow"),
    ("otherwise.why", "other"),
    ("facts.n.min", -4),
    ("facts.n.max", 9),
    ("facts.v.values", ["red"]),
    ("facts.more", {"type": "string"}),
    ("parameters.pn.value", 3),
    ("parameters.pn.min", -8),
    ("parameters.more", {"type": "integer", "value": 1}),
    ("limits", []),
    ("limits.0.name", "other"),
    ("limits.0.effect", "indeterminate"),
    ("limits.0.when", []),
    ("rules.0.name", "other"),
    ("rules.0.tier", "cfo"),
    ("rules.0.exception", "once"),
    ("rules.0.why", "other"),
    ("rules.0.when.0.1", "<="),
    ("rules.0.when.0.2", 5),
    ("rules.0.when.0.2", {"param": "pn"}),
    ("rules.0.when.0", ["b", "=", True]),
    ("rules.0.when.1.2", True),
    ("rules.0.when", []),
    ("rules.1.effect", "deny"),
]
FULL: dict[str, Any] = {
    "format": "loom.table/1",
    "name": "any",
    "facts": FACTS,
    "parameters": PARAMETERS,
    "hit_policy": "first",
    "limits": [{"name": "l", "when": [["n", ">", 8]], "effect": "deny", "why": "w"}],
    "rules": [
        {
            "name": "a",
            "when": [["n", "<", 4], ["b", "=", False]],
            "effect": "require_approval",
            "tier": "vp",
            "why": "w",
        },
        {"name": "c", "when": [], "effect": "allow", "why": "w"},
    ],
    "otherwise": {"name": "else", "effect": "deny", "why": "w"},
}


def test_every_single_change_of_behaviour_gives_a_hash_of_its_own() -> None:
    seen = {Table.of(FULL, checked=False).version_hash}
    for place, value in [*CHANGES, ("rules", FULL["rules"][::-1])]:
        data = copy.deepcopy(FULL)
        at: Any = data
        *path, last = place.split(".")
        for step in path:
            at = at[int(step)] if step.isdigit() else at[step]
        at[int(last) if last.isdigit() else last] = value
        found = Table.of(data, checked=False).version_hash
        assert found not in seen, place
        seen.add(found)
