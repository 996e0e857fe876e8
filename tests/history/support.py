"""Rows with known truth, and the map that reads them."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

BANK: dict[str, Any] = {
    "format": "loom.import/1",
    "source": "bank",
    "type": "mortgage",
    "key": {"column": "branch"},
    "own_id": {"column": "id"},
    "facts": {
        "amount": {"column": "amount", "as": "integer"},
        "rate": {"column": "rate", "as": "decimal", "places": 2, "rounding": "half_even"},
        "town": {"column": "town"},
    },
    "outcome": {"granted": {"column": "ok", "values": {"yes": True, "no": False}}},
    "decided_at": {"column": "at", "zone": "Europe/Berlin"},
    "decider": {"column": "who"},
}


def bank(**changes: Any) -> dict[str, Any]:
    """Return the map with some of it changed."""
    return {**BANK, **changes}


def rows(count: int, *, seed: int = 1) -> list[dict[str, str]]:
    """Return rows as a spreadsheet has them; the rates have float noise."""
    drawn = random.Random(seed)
    return [
        {
            "id": f"L-{number}",
            "branch": f"b{drawn.randrange(3)}",
            "amount": str(drawn.randrange(1_000, 900_000)),
            "rate": repr(drawn.randrange(100, 900) / 100 + 1e-9),
            "town": drawn.choice(["Kiel", "Ulm", ""]),
            "ok": drawn.choice(["yes", "no"]),
            "at": f"2015-{number % 12 + 1:02}-05T12:00:00",
            "who": drawn.choice(["ann", "bob", ""]),
        }
        for number in range(1, count + 1)
    ]


def written(path: Path, given: list[dict[str, str]]) -> Path:
    """Write rows as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, given[0])
        writer.writeheader()
        writer.writerows(given)
    return path
