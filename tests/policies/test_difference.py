"""What differs between two versions, cell by cell."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loom.journal.sqlite import SqliteStore
from loom.policies.difference import Difference
from loom.policies.registry import PolicyRegistry
from loom.policies.tables import Table

WRITTEN: dict[str, Any] = {
    "format": "loom.table/1",
    "name": "discount",
    "facts": {"percent": {"type": "integer"}, "industry": {"type": "string"}},
    "parameters": {"limit": {"type": "integer", "value": 10, "min": 0, "max": 50}},
    "limits": [{"name": "ceiling", "when": [["percent", ">", 60]], "effect": "deny", "why": "never"}],
    "rules": [
        {"name": "within", "when": [["percent", "<=", {"param": "limit"}]], "effect": "allow", "why": "small"},
        {
            "name": "health",
            "when": [["industry", "=", "health"], ["percent", "<", 40]],
            "effect": "require_approval",
            "tier": "vp",
            "why": "a cause",
        },
    ],
    "otherwise": {"name": "else", "effect": "deny", "why": "too much"},
}


TINY = {"name": "tiny", "when": [["percent", "=", 0]], "effect": "allow", "why": "nothing"}


async def differing(path: Path, change: Callable[[Any], object]) -> Difference:
    written = copy.deepcopy(WRITTEN)
    change(written)
    store = await SqliteStore.open(path / "j.db")
    registry = PolicyRegistry(store)
    old = await registry.register(Table.of(WRITTEN), by="robin")
    new = await registry.register(Table.of(written), by="robin")
    found = registry.diff(old.version, new.hash)
    assert registry.diff(new.hash, old.hash).equal == found.equal
    await store.close()
    return found


def rule(written: Any, number: int) -> Any:
    return written["rules"][number]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda w: w["parameters"]["limit"].update(value=12), ["parameter limit.value: 10 → 12"]),
        (lambda w: w["parameters"]["limit"].update(max=40), ["parameter limit.max: 50 → 40"]),
        (
            lambda w: w["facts"]["percent"].update(min=0),
            ['fact percent: {"type": "integer"} → {"min": 0, "type": "integer"}'],
        ),
        (lambda w: rule(w, 1).update(tier="cfo"), ["rule health, tier: vp → cfo"]),
        (lambda w: rule(w, 1).update(why="other words"), ["rule health, why: a cause → other words"]),
        (lambda w: rule(w, 1)["when"][1].__setitem__(2, 30), ["rule health, condition 2: percent < 40 → percent < 30"]),
        (
            lambda w: rule(w, 1)["when"].pop(),
            ["rule health, conditions: industry = health and percent < 40 → industry = health"],
        ),
        (
            lambda w: w["rules"].pop(),
            ["rule health: removed if industry = health and percent < 40: require approval by vp"],
        ),
        (lambda w: w["rules"].insert(0, TINY), ["rule tiny: added if percent = 0: allow"]),
        (
            lambda w: w["limits"][0]["when"][0].__setitem__(2, 55),
            ["limit ceiling, condition 1: percent > 60 → percent > 55"],
        ),
        (
            lambda w: w["otherwise"].update(effect="indeterminate"),
            ["otherwise otherwise, effect: deny → indeterminate"],
        ),
        (lambda w: w.pop("otherwise"), None),
        (lambda w: w["rules"].reverse(), ["rule order: within, health → health, within"]),
    ],
)
async def test_a_change_is_told_by_its_cell(
    tmp_path: Path, change: Callable[[Any], object], told: list[str] | None
) -> None:
    found = await differing(tmp_path, change)
    assert not found.equal
    if told is not None:
        assert [str(each) for each in found.changes] == told


async def test_what_does_not_count_as_behaviour_is_no_difference(tmp_path: Path) -> None:
    found = await differing(tmp_path, lambda written: written.update(description="other", author="kim"))
    assert found.equal
    assert found.old == found.new
    assert "no difference in behaviour" in found.text()


async def test_rules_in_python_differ_by_parameters_and_source(tmp_path: Path) -> None:
    from tests.policies.catalogue import DiscountParams, discount

    store = await SqliteStore.open(tmp_path / "j.db")
    registry = PolicyRegistry(store)
    old = await registry.register(discount, by="robin")
    other = discount.with_params(DiscountParams(limit_percent=discount.params.limit_percent + 5))
    new = await registry.register(other, by="robin")
    table = await registry.register(Table.of(WRITTEN), by="robin")
    found = registry.diff(old.hash, new.hash)
    assert [change.part for change in found.changes if change.place == "limit_percent"] == ["parameter"]
    assert any(change.part == "language" for change in registry.diff(old.hash, table.hash).changes)
    await store.close()
