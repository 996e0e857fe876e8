"""An edited table over columns: the same result as judging again, and the fewest edits that flipped each case."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.errors import AdmissionError
from loom.policies import Table
from loom.policies.version import unregistered
from loom.replay.judging import Tally, judged
from loom.replay.selection import Recalled
from loom.replay.what_if import Columns, Dropped, Trial, TrialResult, sweep
from tests.policies.test_tables_properties import VALUES, good, tables

ODD = st.one_of(st.none(), st.booleans(), st.integers(-20, 20), st.just("1e3"), st.just([1]), st.just({"a": 1}))
facts = st.one_of(
    good,
    st.builds(lambda plain, more: {**plain, **more}, good, st.dictionaries(st.sampled_from("ndbsvx"), ODD)),
    st.builds(
        lambda plain, without: {k: v for k, v in plain.items() if k not in without},
        good,
        st.sets(st.sampled_from("ndbsv")),
    ),
)
records = st.sampled_from(
    [
        ("allow", None, "r0"),
        ("deny", None, "else"),
        ("require_approval", "vp", "r1"),
        ("require_approval", None, "r1"),
        ("indeterminate", None, "facts"),
        ("indeterminate", None, "none"),
        (None, None, None),
    ]
)


def recalled(
    number: int, given: Mapping[str, Any] | None, record: tuple[Any, Any, Any], closed: Any = None
) -> Recalled:
    effect, tier, rule = record
    return Recalled(
        number,
        f"d{number}",
        "seller/one",
        number,
        "any",
        "policy_v1",
        "h",
        effect,
        rule,
        None,
        tier,
        given,
        closed=closed,
    )


cases = st.lists(
    st.tuples(
        st.one_of(facts, facts, facts, st.none()), records, st.sampled_from([None, None, None, "sealed", "erased"])
    ),
    max_size=12,
).map(lambda drawn: [recalled(number, *each) for number, each in enumerate(drawn)])


@st.composite
def edited(draw: st.DrawFn, written: dict[str, Any]) -> dict[str, Any]:
    """Return a table with a few cells edited: parameters, operands, effects, the hit policy."""
    other = copy.deepcopy(written)
    rows = [*other["limits"], *other["rules"]]
    for name, parameter in other["parameters"].items():
        if draw(st.booleans()):
            parameter["value"] = draw(VALUES[name[1:]])
    for row in rows:
        for cell in row["when"]:
            fact, _, operand = cell
            if not isinstance(operand, dict | list) and draw(st.booleans()):
                cell[2] = draw(VALUES[fact])
        if row in other["rules"] and draw(st.integers(0, 3)) == 0:
            row["effect"] = draw(st.sampled_from(["allow", "deny"]))
            row.pop("tier", None)
    if draw(st.integers(0, 4)) == 0:
        other["hit_policy"] = "unique" if other["hit_policy"] == "first" else "first"
    return other


def trial(written: dict[str, Any], page: list[Recalled]) -> Trial:
    base = Table.of(written, checked=False)
    columns = Columns(base.layout)
    columns.add(page)
    return Trial(columns, base)


@settings(max_examples=60, deadline=None)
@given(st.data(), tables(), cases, st.sampled_from(["indeterminate", "three_valued"]))
def test_a_trial_says_what_judging_again_says(
    data: st.DataObject, written: dict[str, Any], page: list[Recalled], missing: str
) -> None:
    written |= {"missing": missing}
    table = Table.of(data.draw(edited(written)), checked=False)
    version = unregistered("any", table.document, about={})
    again = list(judged(page, lambda _: (version, table)))
    tally = Tally(version)
    for each, case in zip(page, again, strict=True):
        tally.add(each, case)
    expected = tally.judgement()

    found = trial(written, page).judge(table, listed=1_000)

    assert (found.cases, found.unchanged, found.flipped) == (expected.cases, expected.unchanged, expected.flipped)
    assert (found.indeterminate, found.not_replayable) == (expected.indeterminate, expected.not_replayable)
    assert found.coverage == expected.coverage
    counts = [(each.old, each.new, each.cases) for each in found.transitions]
    assert counts == [(each.old, each.new, each.cases) for each in expected.transitions]
    flips = {(each.decision_id, each.old, each.new, each.new_rule) for each in found.listed}
    assert flips == {
        (each.decision_id, each.old, each.new, each.new_rule) for each in again if each.verdict == "flipped"
    }
    loosening = [next(t.loosens for t in found.transitions if (t.old, t.new) == (f.old, f.new)) for f in found.listed]
    assert loosening == sorted(loosening, reverse=True), "refusals that became grants come first"


def places(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return where two tables differ, each as a path; found without the code under test."""
    found: list[tuple[Any, ...]] = [
        ("parameters", name, "value")
        for name in old["parameters"]
        if old["parameters"][name] != new["parameters"][name]
    ]
    found += [("hit_policy",)] if old["hit_policy"] != new["hit_policy"] else []
    for part in ("limits", "rules"):
        for number, (was, now) in enumerate(zip(old[part], new[part], strict=True)):
            found += [
                (part, number, "when", cell)
                for cell in range(len(was["when"]))
                if was["when"][cell] != now["when"][cell]
            ]
            found += (
                [(part, number, "effect")]
                if (was["effect"], was.get("tier")) != (now["effect"], now.get("tier"))
                else []
            )
    return found


def undone(old: dict[str, Any], new: dict[str, Any], paths: tuple[tuple[Any, ...], ...]) -> Table:
    """Return the new table with the old contents at some places."""
    other = copy.deepcopy(new)
    for path in paths:
        before, after = old, other
        for step in path[:-1]:
            before, after = before[step], after[step]
        after[path[-1]] = copy.deepcopy(before[path[-1]])
        if path[-1] == "effect":
            after.pop("tier", None)
            after.update({"tier": before["tier"]} if "tier" in before else {})
    return Table.of(other, checked=False)


def label_of(table: Table, case: Recalled) -> str:
    assert case.facts is not None
    said = table.verdict_again(case.facts, recorded_rule=case.rule)
    return said.effect if said.tier is None else f"{said.effect}:{said.tier}"


@settings(max_examples=60, deadline=None)
@given(st.data(), tables(), cases)
def test_a_flip_names_the_fewest_edits_without_which_the_case_would_not_differ(
    data: st.DataObject, written: dict[str, Any], page: list[Recalled]
) -> None:
    new = data.draw(edited(written))
    base, after = Table.of(written, checked=False), Table.of(new, checked=False)
    paths = places(written, new)
    by_id = {each.decision_id: each for each in page}

    found = trial(written, page).judge(after, listed=1_000)

    assert len(found.edits) == len(paths)
    for flip in found.listed:
        case = by_id[flip.decision_id]
        old = label_of(base, case)
        if old == label_of(after, case):
            assert flip.edits == ()
            continue
        named = (
            tuple(paths[found.edits.index(words)] for words in flip.edits)
            if len(set(found.edits)) == len(paths)
            else None
        )
        fewest = next(
            count
            for count in range(1, len(paths) + 1)
            if any(label_of(undone(written, new, each), case) == old for each in itertools.combinations(paths, count))
        )
        assert len(flip.edits) == fewest
        assert named is None or label_of(undone(written, new, named), case) == old
    assert sum(each.cases for each in found.cells) == found.flipped


WRITTEN: dict[str, Any] = {
    "format": "loom.table/1",
    "name": "any",
    "facts": {"percent": {"type": "integer"}, "industry": {"type": "string"}},
    "parameters": {"limit": {"type": "integer", "value": 10, "min": 0, "max": 50}},
    "rules": [
        {"name": "within", "when": [["percent", "<=", {"param": "limit"}]], "effect": "allow", "why": "small"},
        {
            "name": "health",
            "when": [["industry", "=", "health"]],
            "effect": "require_approval",
            "tier": "vp",
            "why": "y",
        },
    ],
    "otherwise": {"name": "else", "effect": "deny", "why": "too much"},
}


def some(count: int = 40) -> list[Recalled]:
    """Return decisions under the table, of 0 to 39 per cent."""
    made = []
    for number in range(count):
        given = {"percent": number, "industry": "health" if number % 2 else "retail"}
        said = Table.of(WRITTEN).verdict(given)
        made.append(recalled(number, given, (said.effect, said.tier, said.rule)))
    return made


def test_an_edited_condition_that_names_an_edited_parameter_goes_with_it() -> None:
    new = copy.deepcopy(WRITTEN)
    new["parameters"]["limit"]["value"] = 12
    new["rules"][0]["when"] = [["percent", "<", {"param": "limit"}]]

    found = trial(WRITTEN, some()).judge(Table.of(new))

    assert [flip.decision_id for flip in found.listed] == ["d11"], "11 alone is allowed now: below 12, and over 10"
    assert found.listed[0].edits == ("limit: 10 → 12", "rule within: percent <= {limit} → percent < {limit}")


def test_rules_that_are_added_are_judged_and_have_no_single_cell() -> None:
    new = copy.deepcopy(WRITTEN)
    new["rules"].insert(1, {"name": "more", "when": [["percent", "<=", 12]], "effect": "allow", "why": "more"})

    found = trial(WRITTEN, some()).judge(Table.of(new))

    assert (found.flipped, found.rows_changed, found.edits) == (2, True, ())
    assert {flip.new_rule for flip in found.listed} == {"more"}
    assert found.listed[0].edits == ("the rules that were added, removed or moved",)


def test_a_table_of_other_facts_is_refused() -> None:
    new = copy.deepcopy(WRITTEN)
    new["facts"]["arr"] = {"type": "integer"}
    with pytest.raises(AdmissionError, match=r"asks for \[percent, industry, arr\]"):
        trial(WRITTEN, some()).judge(Table.of(new))


def test_a_result_that_is_no_longer_wanted_is_dropped() -> None:
    asked = 0

    def alive() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise Dropped

    under_test = trial(WRITTEN, some())
    with pytest.raises(Dropped):
        under_test.judge(Table.of(WRITTEN), alive=alive)
    assert under_test.judge(Table.of(WRITTEN)).flipped == 0, "the next question is answered"


def test_a_sweep_finds_the_effects_of_every_value_that_makes_a_difference() -> None:
    under_test = trial(WRITTEN, some())
    base = Table.of(WRITTEN)

    found = sweep(under_test, base, "limit", points=100, alive=lambda: None)

    assert [point.value for point in found.points] == [*range(40), 50]
    for point in found.points:
        table = base.with_params(limit=point.value)
        effects: dict[str, int] = {}
        for case in some():
            effects[table.verdict(case.facts or {}).effect] = effects.get(table.verdict(case.facts or {}).effect, 0) + 1
        assert point.effects == effects
    few = sweep(under_test, base.with_params(limit=17), "limit", points=5, alive=lambda: None)
    assert [point.value for point in few.points] == [0, 10, 17, 20, 30, 50]
    with pytest.raises(AdmissionError, match=r"\[nope\] is no number"):
        sweep(under_test, base, "nope", alive=lambda: None)


def test_protected_facts_are_counted_and_not_kept() -> None:
    under_test = trial(WRITTEN, [recalled(0, {"percent": 3, "industry": "secret"}, ("deny", None, "else"), "sealed")])

    found: TrialResult = under_test.judge(Table.of(WRITTEN))

    assert (found.not_replayable, found.coverage) == ({"sealed": 1}, 0.0)
    assert all("secret" not in column.values for column in under_test.columns.facts.values())
