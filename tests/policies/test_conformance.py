"""The vectors that ship with loom: what an evaluator of tables must answer, this one or anybody else's."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from loom.policies import Evaluation
from loom.policies.tables import Table
from loom.policies.tables.document import SEMANTICS, THREE_VALUED
from loom.policies.tables.layout import OPERATORS

CONFORMANCE = files("loom.policies") / "conformance"
VECTORS: dict[str, Any] = json.loads((CONFORMANCE / "tables.json").read_text("utf-8"))
GROUPS = VECTORS["groups"]
THREE: dict[str, Any] = json.loads((CONFORMANCE / "tables-2.json").read_text("utf-8"))
"""Vectors of semantics 2: tables that say `missing: three_valued`."""


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group["about"])
def test_every_vector_comes_out_as_it_is_written(group: dict[str, Any]) -> None:
    table = Table.of(group["table"], checked=False)
    assert table.version_hash == group["version_hash"]
    for case in group["cases"]:
        evaluation = table.evaluate_json(case["facts"])
        assert without_conditions(evaluation) == case["evaluation"], case["facts"]
        said = case["evaluation"]
        known = {name: value for name, value in case["facts"].items() if name in group["table"]["facts"]}
        if known == case["facts"]:
            assert table.verdict(known) == (said["effect"], said["rule"], said["tier"])


@pytest.mark.parametrize("group", THREE["groups"], ids=lambda group: group["about"])
def test_every_vector_of_semantics_2_comes_out_as_it_is_written(group: dict[str, Any]) -> None:
    table = Table.of(group["table"], checked=False)
    assert table.version_hash == group["version_hash"]
    for case in group["cases"]:
        evaluation = table.evaluate_json(case["facts"])
        assert json.loads(evaluation.model_dump_json()) == case["evaluation"], case["facts"]
        if all(name in group["table"]["facts"] for name in case["facts"]):
            assert table.verdict(case["facts"]) == (evaluation.effect, evaluation.rule, evaluation.tier)


def test_the_vectors_of_semantics_2_use_each_of_its_answers() -> None:
    evaluations = [case["evaluation"] for group in THREE["groups"] for case in group["cases"]]
    assert {"several", "facts"} <= {each["rule"] for each in evaluations}
    assert {each["effect"] for each in evaluations} == {"allow", "require_approval", "deny", "indeterminate"}
    assert any("depends_on" in each["details"] for each in evaluations)
    assert any(each["effect"] == "deny" and "missing" in each["details"] for each in evaluations)
    assert THREE["semantics"] == THREE_VALUED


def without_conditions(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation as the vectors of semantics 1 have it, which are older than conditions in a why-not."""
    plain = evaluation.model_dump(mode="json")
    for miss in plain["why_not"]:
        miss.pop("condition", None)
    return plain


def test_the_vectors_use_every_operator_and_every_hit_policy() -> None:
    rows = [row for group in GROUPS for row in [*group["table"]["rules"], *group["table"].get("limits", [])]]
    assert {cell[1] for row in rows for cell in row["when"]} == set(OPERATORS)
    assert {group["table"].get("hit_policy", "first") for group in GROUPS} == {"first", "unique"}
    effects = {case["evaluation"]["effect"] for group in GROUPS for case in group["cases"]}
    assert effects == {"allow", "require_approval", "deny", "indeterminate"}
    assert VECTORS["semantics"] == SEMANTICS
