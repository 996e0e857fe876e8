"""Importing decisions: rows looked at, rows written, and the views behind them, per second; bytes per decision.

`python -m benchmarks.imports [ROWS]`
"""

from __future__ import annotations

import asyncio
import csv
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from loom import Loom
from loom.history.map import map_of

__all__ = ["ImportFigures", "importing"]

MAP = map_of(
    {
        "format": "loom.import/1",
        "source": "bank",
        "type": "mortgage",
        "key": {"column": "branch"},
        "own_id": {"column": "id"},
        "facts": {
            "amount": {"column": "amount", "as": "integer"},
            "rate": {"column": "rate", "as": "decimal", "places": 2, "rounding": "half_even"},
            "income": {"column": "income", "as": "integer"},
            "town": {"column": "town"},
        },
        "outcome": {"granted": {"column": "ok", "values": {"yes": True, "no": False}}},
        "decided_at": {"column": "at", "zone": "Europe/Berlin"},
        "decider": {"column": "who"},
    }
)


class ImportFigures(NamedTuple):
    """Rows per second that are looked at, and that are imported from the first look to the end; until views have them.

    `journal_bytes` and `views_bytes` are per decision, and so is `cpu_us`: of all threads, until views have it.
    """

    checked: float
    imported: float
    in_views: float
    journal_bytes: float
    views_bytes: float
    cpu_us: float


def rows(path: Path, count: int) -> Path:
    """Write a file of mortgages."""
    drawn = random.Random(7)  # noqa: S311 - the same rows every time
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "branch", "amount", "rate", "income", "town", "ok", "at", "who"])
        for number in range(count):
            day = f"{drawn.randrange(2010, 2020)}-{drawn.randrange(1, 13):02}-{drawn.randrange(1, 29):02}"
            writer.writerow(
                [
                    number,
                    f"b{drawn.randrange(50)}",
                    drawn.randrange(1_000, 900_000),
                    f"{drawn.random() * 9:.6f}",
                    drawn.randrange(900, 9_000),
                    drawn.choice(["Kiel", "Ulm", "Jena"]),
                    drawn.choice(["yes", "no"]),
                    f"{day}T12:00:00",
                    drawn.choice(["ann", "bob", ""]),
                ]
            )
    return path


async def importing(directory: Path, count: int) -> ImportFigures:
    """Import so many rows into a new journal."""
    path = rows(directory / "rows.csv", count)
    async with Loom.open(f"sqlite:///{directory}/journal.db", by="bench") as loom:
        given = loom.history.rows(path, MAP)
        begun, worked = time.perf_counter(), time.process_time()
        await loom.history.check(given, MAP)
        looked = time.perf_counter()
        await loom.history.load(given, MAP, by="bench")
        ended = time.perf_counter()
        while True:
            try:
                await loom.traces.find(limit=1)
                break
            except Exception:  # noqa: S112 - the views are behind: asked again until they are not
                continue
        seen, worked = time.perf_counter(), time.process_time() - worked
    size, views = ((directory / name).stat().st_size / count for name in ("journal.db", "journal.views.db"))
    rates = (count / (looked - begun), count / (ended - looked), count / (seen - looked))
    return ImportFigures(*rates, size, views, worked / count * 1e6)


def main() -> None:
    """Print the figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    with tempfile.TemporaryDirectory() as directory:
        found = asyncio.run(importing(Path(directory), count))
    sys.stdout.write(
        f"{count:,} rows: looked at {found.checked:,.0f}/s, imported {found.imported:,.0f}/s (looked at and written), "
        f"in the views {found.in_views:,.0f}/s; per decision {found.journal_bytes:,.0f} bytes of journal, "
        f"{found.views_bytes:,.0f} of views, {found.cpu_us:,.0f} µs of CPU\n"
    )


if __name__ == "__main__":
    main()
