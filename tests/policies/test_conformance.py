"""The vectors that ship with loom: what an evaluator of tables must answer, this one or anybody else's."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from loom.policies.tables import Table
from loom.policies.tables.layout import OPERATORS
from loom.policies.tables.table import SEMANTICS

VECTORS: dict[str, Any] = json.loads((files("loom.policies") / "conformance" / "tables.json").read_text("utf-8"))
GROUPS = VECTORS["groups"]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group["about"])
def test_every_vector_comes_out_as_it_is_written(group: dict[str, Any]) -> None:
    table = Table.of(group["table"], checked=False)
    assert table.version_hash == group["version_hash"]
    for case in group["cases"]:
        evaluation = table.evaluate_json(case["facts"])
        assert evaluation.model_dump(mode="json") == case["evaluation"], case["facts"]
        said = case["evaluation"]
        known = {name: value for name, value in case["facts"].items() if name in group["table"]["facts"]}
        if known == case["facts"]:
            assert table.verdict(known) == (said["effect"], said["rule"], said["tier"])


def test_the_vectors_use_every_operator_and_every_hit_policy() -> None:
    rows = [row for group in GROUPS for row in [*group["table"]["rules"], *group["table"].get("limits", [])]]
    assert {cell[1] for row in rows for cell in row["when"]} == set(OPERATORS)
    assert {group["table"].get("hit_policy", "first") for group in GROUPS} == {"first", "unique"}
    effects = {case["evaluation"]["effect"] for group in GROUPS for case in group["cases"]}
    assert effects == {"allow", "require_approval", "deny", "indeterminate"}
    assert VECTORS["semantics"] == SEMANTICS
