"""Charts as SVG, made on the server: no script is needed to look at them, and they print."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from loom.reports.reading import Observed, Reported

__all__ = ["Chart", "Line", "offers_chart", "sparkline", "strip"]

_WIDTH, _HEIGHT = 960, 340
_HEADROOM = 1.08
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 132, 16, 36


class Line(NamedTuple):
    """A level across the chart, with its words at the right."""

    y: float
    words: str
    style: str


class Point(NamedTuple):
    """A value at its place, with the text that is shown when a reader points at it."""

    x: float
    y: float
    words: str


class Chart(NamedTuple):
    """Everything that the template draws; coordinates are those of the view box."""

    width: int
    height: int
    left: int
    right: float
    bottom: float
    ticks: list[tuple[float, str]]
    steps: list[tuple[float, str]]
    points: list[Point]
    mean: str
    lines: list[Line]
    found: list[Point]


def offers_chart(observed: Sequence[Observed], *, ceiling: float | None) -> Chart | None:
    """Return the chart of what a monitor saw: values, rolling mean, threshold, ceiling, and where it stepped in.

    None where nothing was seen, and where the values are too far apart for the numbers of a chart.
    """
    if not observed:
        return None
    threshold = next((each.threshold for each in reversed(observed) if each.threshold is not None), None)
    levels = [each.value for each in observed] + [level for level in (ceiling, threshold) if level is not None]
    if not math.isfinite((max(levels) - min(0.0, *levels)) * _HEADROOM):
        return None
    scale = _Scale(points=len(observed), low=min(0.0, *levels), high=max(*levels, 1e-9) * _HEADROOM)
    means = [(each.number, each.mean) for each in observed if each.mean is not None]
    lines = [
        Line(scale.y(level), f"{words} {level:g}", words)
        for words, level in (("ceiling", ceiling), ("threshold", threshold))
        if level is not None
    ]
    return Chart(
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        bottom=_HEIGHT - _BOTTOM,
        ticks=[(scale.y(value), f"{value:g}") for value in _nice(scale.low, scale.high)],
        steps=[(scale.x(number), str(number)) for number in _steps(len(observed))],
        points=[Point(scale.x(each.number), scale.y(each.value), _tooltip(each)) for each in observed],
        mean=" ".join(
            f"{'M' if place == 0 else 'L'}{scale.x(number):.1f} {scale.y(mean):.1f}"
            for place, (number, mean) in enumerate(means)
        ),
        lines=lines,
        found=[
            Point(scale.x(each.number), scale.y(each.mean if each.mean is not None else each.value), each.found)
            for each in observed
            if each.found is not None
        ],
    )


class Cell(NamedTuple):
    """One decision in the strip."""

    x: float
    width: float
    effect: str
    words: str


def strip(decisions: Sequence[Reported]) -> list[Cell]:
    """Return decisions side by side, each as wide as its share."""
    if not decisions:
        return []
    width = _WIDTH / len(decisions)
    return [
        Cell(
            place * width,
            max(width - (1 if width > 4 else 0), 0.5),
            (each.summary.effect or "none"),
            f"{each.number}: {each.summary.effect or 'no rule'}, {each.summary.rationale[:120]}",
        )
        for place, each in enumerate(decisions)
    ]


class _Scale(NamedTuple):
    points: int
    low: float
    high: float

    def x(self, number: int) -> float:
        share = 0.5 if self.points == 1 else (number - 1) / (self.points - 1)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)


def _nice(low: float, high: float) -> Iterator[float]:
    """Yield round numbers between two."""
    raw = (high - low) / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw)
    value = math.ceil(low / step) * step
    while value <= high:
        yield round(value, 10)
        value += step


def _steps(count: int) -> list[int]:
    step = max(1, round(count / 10))
    nice = next((each for each in (1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1_000) if each >= step), 5_000)
    return [1, *range(nice, count + 1, nice)] if nice > 1 else list(range(1, count + 1))


def _tooltip(observed: Observed) -> str:
    mean = "" if observed.mean is None else f", mean {observed.mean:.2f}"
    return f"{observed.number}: {observed.value:g}{mean}"


def sparkline(values: Sequence[int], *, height: int = 12, step: int = 4) -> str:
    """Return counts as bars, next to each other: the path of an SVG that is `step` wide for each and so high.

    The largest count is as high as the chart, and a count above zero is at least 1 high.
    """
    highest = max(values, default=0)
    bars = []
    for place, value in enumerate(values):
        if value > 0:
            high = max(1, round(height * value / highest))
            bars.append(f"M{place * step} {height}v-{high}h{step - 1}v{high}z")
    return "".join(bars)
