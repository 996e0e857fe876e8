"""Rows of an edited table: they are added, removed, copied and moved, and what was typed stays with its row."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.errors import PolicyTableError
from loom.explorer.shaping import Sheet, reshaped, sheet_of
from tests.explorer.test_what_if import REFUNDS

FACTS = list(REFUNDS.layout.facts)
ACTIONS = st.one_of(
    st.tuples(st.sampled_from(["up", "down", "copy", "remove"]), st.integers(0, 4)).map(
        lambda each: f"{each[0]}:{each[1]}"
    ),
    st.tuples(st.integers(0, 4), st.sampled_from(FACTS)).map(lambda each: f"with:{each[0]}:{each[1]}"),
    st.tuples(st.integers(0, 4), st.integers(0, 2)).map(lambda each: f"without:{each[0]}:{each[1]}"),
)


def texts_of(sheet: Sheet) -> tuple[str, ...]:
    return tuple(each.text for each in sheet.fields)


def done(*actions: str) -> tuple[Sheet, tuple[str, ...]]:
    sheet = sheet_of(REFUNDS, "")
    texts = texts_of(sheet)
    for action in actions:
        sheet, texts = reshaped(sheet, texts, action)
    return sheet, texts


@settings(max_examples=150, deadline=None)
@given(st.lists(ACTIONS, max_size=8))
def test_every_shape_is_a_table_and_its_text_gives_it_again(actions: list[str]) -> None:
    sheet, texts = done()
    for action in actions:
        try:
            sheet, texts = reshaped(sheet, texts, action)
        except PolicyTableError:
            continue
        assert len(texts) == len(sheet.fields)
        again = sheet_of(REFUNDS, sheet.text)
        assert (again.shape, again.table.version_hash) == (sheet.shape, sheet.table.version_hash)
        found = sheet.edited(texts)
        assert found.table is not None, found.problems
        assert len(found.table.layout.rules) == len(sheet.shape)


def test_what_was_typed_moves_with_its_rule() -> None:
    sheet, texts = done()
    typed = tuple("450" if text == "500" else text for text in texts)
    sheet, texts = reshaped(sheet, typed, "up:1")
    found = sheet.edited(texts).table
    assert found is not None
    assert [row.name for row in found.layout.rules] == ["loyal", "small"]
    assert str(found.layout.rules[0].when[1]) == "amount_usd <= 450"
    sheet, texts = reshaped(sheet, texts, "down:0")
    assert (sheet.text, texts) == ("", typed), "moved there and back, it is the same table"


def test_a_copy_is_a_rule_with_a_name_and_a_reason_of_its_own() -> None:
    sheet, texts = done("copy:0", "with:1:country")
    assert sheet.text == "0,0+:0.country,1"
    names = [each.part for each in sheet.fields if each.path[:2] == ("rules", 1)]
    assert names == ["name", "why", "operator", "value", "operator", "value", "effect", "tier"]
    at = [each.part for each in sheet.fields].index("name")
    for empty in (at, at + 1):
        said = sheet.edited([*texts[:empty], " ", *texts[empty + 1 :]])
        assert said.table is None
        assert set(said.problems) == {empty}
    said = sheet.edited([*texts[:at], "small in France", "a trial", *texts[at + 2 : at + 5], "FR", *texts[at + 6 :]])
    assert said.table is not None
    row = said.table.layout.rules[1]
    assert (row.name, row.why, str(row.when[1])) == ("small in France", "a trial", "country = FR")


def test_a_rule_is_removed_with_its_texts_and_the_others_keep_theirs() -> None:
    sheet, texts = done("remove:0")
    found = sheet.edited(texts).table
    assert found is not None
    assert [row.name for row in found.layout.rules] == ["loyal"]
    sheet, texts = done("without:1:0")
    found = sheet.edited(texts).table
    assert found is not None
    assert [str(each) for each in found.layout.rules[1].when] == ["amount_usd <= 500"]


@pytest.mark.parametrize(
    "action",
    ["", "up:0", "down:1", "remove", "remove:9", "with:0:nope", "without:0:7", "explode:0", "copy:-1", "copy:x"],
)
def test_what_cannot_be_done_is_refused(action: str) -> None:
    with pytest.raises(PolicyTableError, match="open the page again"):
        done(action)


@pytest.mark.parametrize("text", ["9", "0,0", "x", "0:7", "0:nope", ",", "0+:0.0.0.nope", ",".join(["0+"] * 101)])
def test_a_text_that_is_no_shape_of_the_table_is_refused(text: str) -> None:
    with pytest.raises(PolicyTableError):
        sheet_of(REFUNDS, text)


def test_a_table_never_gets_more_rules_than_can_be_edited() -> None:
    with pytest.raises(PolicyTableError, match="expected 100 at most"):
        sheet_of(REFUNDS, ",".join(["0+"] * 101))
