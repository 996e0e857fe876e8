"""Tables as texts of a form: what is not changed is the same table, and what cannot be read is said at its cell."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.explorer.editing import edited, fields_of
from loom.policies import Table
from tests.explorer.test_what_if import REFUNDS
from tests.policies.test_tables_properties import tables

ODD = st.sampled_from(["", " ", "a,b", '"', "{ps}", "{", 'a"b', ",", " x ", "é", "null", "1"])


@settings(max_examples=80, deadline=None)
@given(tables(), ODD, ODD)
def test_texts_that_are_not_changed_are_the_same_table(written: dict[str, Any], one: str, other: str) -> None:
    written["parameters"] = {**written["parameters"], "px": {"type": "string", "value": one}}
    odd = [["s", "=", one], ["s", "in", [one, other]], ["s", "=", {"param": "px"}], ["s", "not in", [{"param": "px"}]]]
    written["rules"] = [*written["rules"], {"name": "odd", "when": odd, "effect": "deny", "why": "odd"}]
    table = Table.of(written, checked=False)
    found = edited(table, [each.text for each in fields_of(table)])
    assert found.problems == {}
    assert found.table is not None
    assert found.table.version_hash == table.version_hash


def with_text(path: tuple[Any, ...], text: str) -> Any:
    fields = fields_of(REFUNDS)
    return edited(REFUNDS, [text if each.path == path else each.text for each in fields])


LIMIT = ("parameters", "limit_usd", "value")
COUNTRY = ("limits", 0, "when", 0, 2)
YEARS = ("rules", 1, "when", 0)


@pytest.mark.parametrize(
    ("path", "text", "problem"),
    [
        (LIMIT, "many", "expected a whole number"),
        (LIMIT, "5000", "above [1000]"),
        (COUNTRY, " , ", "expected values with commas"),
        (COUNTRY, '"XX', "in quotes"),
        ((*YEARS, 2), "{nope}", "there is no parameter [nope]"),
        ((*YEARS, 1), "starts with", "is not known"),
        ((*YEARS, 1), "between", "expected two values"),
        (("rules", 0, "effect"), "shrug", "is not known"),
        (("limits", 0, "effect"), "allow", "expected deny or indeterminate"),
    ],
)
def test_what_cannot_be_read_is_said(path: tuple[Any, ...], text: str, problem: str) -> None:
    found = with_text(path, text)
    assert found.table is None
    assert problem in " ".join(found.problems.values())


def test_cells_are_read_as_they_are_written() -> None:
    assert with_text(COUNTRY, 'XX,"a, b" , ZZ').table.layout.limits[0].when[0].operands == ("XX", "a, b", "ZZ")
    assert with_text(LIMIT, " 250 ").table.parameters == {"limit_usd": 250}
    row = with_text(("rules", 1, "effect"), "allow").table.layout.rules[1]
    assert (row.effect, row.tier) == ("allow", None)
    assert edited(REFUNDS, ["1"]).problems.keys() == {None}
