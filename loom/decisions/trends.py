"""Trends: a measure over time, the least-squares line through it, and the buckets that are off that line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

__all__ = ["ENOUGH", "Anomaly", "Bucket", "Measure", "Trend", "trend_of"]

Measure: TypeAlias = Literal["decisions", "quality", "accuracy", "exception_rate", "denial_rate", "departure_rate"]
"""The measures of a trend."""

ENOUGH = 30
"""The minimum number of buckets for anomalies."""


class Bucket(BaseModel):
    """One stretch of time, and the measure in it; none where no decision was made."""

    model_config = ConfigDict(frozen=True)

    begin: datetime
    decisions: int
    value: float | None


class Anomaly(BaseModel):
    """A bucket that is off the line: by how many standard deviations, and with which severity."""

    model_config = ConfigDict(frozen=True)

    begin: datetime
    value: float
    expected: float
    deviations: float
    severity: Literal["notice", "warning", "critical"]


class Trend(BaseModel):
    """A measure over time, the least-squares line through it, and the buckets that are off it.

    `slope` is the change from one bucket to the next, none with fewer than two; anomalies need 30 buckets.
    """

    model_config = ConfigDict(frozen=True)

    measure: Measure
    bucket_s: float
    buckets: tuple[Bucket, ...]
    slope: float | None
    anomalies: tuple[Anomaly, ...]
    enough: bool


def trend_of(measure: Measure, buckets: Sequence[Bucket], *, bucket_s: float) -> Trend:
    """Return the least-squares line through buckets, and those that are off it; empty ones do not count."""
    points = [(number, each.value) for number, each in enumerate(buckets) if each.value is not None]
    slope, intercept = _line(points)
    anomalies: list[Anomaly] = []
    enough = len(points) >= ENOUGH
    if enough and slope is not None:
        residuals = [value - (intercept + slope * number) for number, value in points]
        spread = math.sqrt(sum(each * each for each in residuals) / len(residuals))
        for (number, value), residual in zip(points, residuals, strict=True):
            deviations = abs(residual) / spread if spread > 1e-12 else 0.0
            if deviations > 2:
                severity: Literal["notice", "warning", "critical"] = (
                    "critical" if deviations > 3 else "warning" if deviations > 2.5 else "notice"
                )
                anomalies.append(
                    Anomaly(
                        begin=buckets[number].begin,
                        value=value,
                        expected=intercept + slope * number,
                        deviations=deviations,
                        severity=severity,
                    )
                )
    return Trend(
        measure=measure,
        bucket_s=bucket_s,
        buckets=tuple(buckets),
        slope=slope,
        anomalies=tuple(anomalies),
        enough=enough,
    )


def _line(points: Sequence[tuple[int, float]]) -> tuple[float | None, float]:
    if len(points) < 2:
        return None, points[0][1] if points else 0.0
    mean_x = math.fsum(x for x, _ in points) / len(points)
    mean_y = math.fsum(y for _, y in points) / len(points)
    across = math.fsum((x - mean_x) ** 2 for x, _ in points)
    slope = math.fsum((x - mean_x) * (y - mean_y) for x, y in points) / across
    return slope, mean_y - slope * mean_x
