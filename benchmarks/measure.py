"""How things are measured: medians, percentiles, and one figure as every other one is written."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

__all__ = ["Figure", "percentile"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure. `ratio` is to what `of` names, measured in the same run; `aim` is what was promised."""

    name: str
    value: float
    unit: str
    ratio: float | None = None
    of: str | None = None
    aim: str | None = None
    met: bool | None = None

    def plain(self) -> dict[str, object]:
        """Return the figure as JSON."""
        return asdict(self)


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile by the nearest rank; `share` is between 0 and 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)
