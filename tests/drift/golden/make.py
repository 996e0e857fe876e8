"""Writes scipy.json, what SciPy says about some tables: `python tests/drift/golden/make.py`, where SciPy is at hand.

The tests hold loom's own statistics against it, so that they need no SciPy themselves.
"""

from __future__ import annotations

import json
import random
from importlib import import_module
from pathlib import Path
from typing import Any

TARGET = Path(__file__).with_name("scipy.json")
FIRST, OTHER = (0.5, 1.0, 1.5, 2.5, 7.0, 14.5, 50.0, 333.5, 5_000.0), (1e-6, 0.1, 0.5, 0.9, 1.0, 1.1, 1.5, 3.0)


def tables() -> list[list[tuple[int, int]]]:
    """Return tables small and large, even and lopsided, with classes that occur in one window only."""
    draw = random.Random(4)
    found: list[list[tuple[int, int]]] = [[(1, 0), (0, 1)], [(3, 3), (5, 5)], [(10, 20), (30, 5)], [(1, 999), (999, 1)]]
    for classes, most in ((2, 50), (5, 20), (30, 40), (30, 2_000), (200, 9), (1_000, 300)):
        found += [[(draw.randrange(most), draw.randrange(most)) for _ in range(classes)] for _ in range(3)]
    return [[pair for pair in table if sum(pair)] for table in found]


def main() -> None:
    """Ask SciPy, and write down what it says."""
    numpy, scipy = import_module("numpy"), import_module("scipy")
    special, stats = import_module("scipy.special"), import_module("scipy.stats")
    distance: Any = import_module("scipy.spatial.distance")
    gamma = [[a, a * x, float(special.gammaincc(a, a * x))] for a in FIRST for x in OTHER]
    said = []
    for table in tables():
        columns = numpy.array(table).T
        chi: Any = stats.chi2_contingency(columns, correction=False)
        said.append(
            {
                "pairs": table,
                "js_distance": float(distance.jensenshannon(*columns, base=2)),
                "chi_square": [float(chi.statistic), int(chi.dof), float(chi.pvalue)],
            }
        )
    written = {"scipy": scipy.__version__, "gamma_q": gamma, "tables": said}
    TARGET.write_text(json.dumps(written, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
