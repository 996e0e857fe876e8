"""Figures of decisions: how good they were as far as that is known, how that moves, and what stands out.

All of it is a read-side sum over the traces. The score of one decision is
0.4 outcome (correct 1, wrong 0, unknown 0.5) + 0.2 confidence (0.7 where none) + 0.3 policy (followed 1, exception 0.6,
none 0.5) + 0.1, minus 0.2 for an exception, clamped to 0..1. The outcome is the one observed last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict

from loom.clock import datetime_from_us, us_from_datetime
from loom.errors import AdmissionError
from loom.projections import Queries

__all__ = ["Anomaly", "Bucket", "DecisionMetrics", "GroupBy", "Measure", "Metrics", "Trend", "score", "trend_of"]

GroupBy: TypeAlias = Literal["decision_type", "actor_type", "journal", "policy_version"]
Measure: TypeAlias = Literal["decisions", "quality", "exception_rate", "denial_rate"]
Tier: TypeAlias = Literal["excellent", "good", "fair", "poor"]

_TIERS: tuple[tuple[float, Tier], ...] = ((0.8, "excellent"), (0.6, "good"), (0.4, "fair"), (0.0, "poor"))
_MOST_BUCKETS = 10_000
_ENOUGH = 30
_SCORED = """
WITH scored AS (
  SELECT trace_decisions.*, outcome.correct AS correct,
    max(0.0, min(1.0,
      0.4 * CASE outcome.correct WHEN 1 THEN 1.0 WHEN 0 THEN 0.0 ELSE 0.5 END
      + 0.2 * coalesce(confidence, 0.7)
      + 0.3 * CASE WHEN effect IS NULL THEN 0.5 WHEN is_exception THEN 0.6 ELSE 1.0 END
      + 0.1 - 0.2 * is_exception)) AS score,
    effect IS NOT NULL AND json_extract(CAST(body AS TEXT), '$.decision.facts') IS NOT NULL
      AND (effect <> 'require_approval' OR json_extract(CAST(body AS TEXT), '$.decision.approvals[0].by') IS NOT NULL)
      AS whole
  FROM trace_decisions JOIN trace_bodies USING (position)
  LEFT JOIN trace_outcomes AS outcome ON outcome.position = (
    SELECT max(position) FROM trace_outcomes AS seen WHERE seen.decision_id = trace_decisions.decision_id
  )
  WHERE origin = 'original' AND trace_decisions.recorded_at_us >= :since AND trace_decisions.recorded_at_us < :until
)
"""
_SUM = """
count(*) AS decisions, avg(score) AS quality, sum(is_exception) AS exceptions,
sum(effect = 'deny') AS denials, sum(correct IS NOT NULL) AS observed, sum(correct = 1) AS correct,
sum(whole) AS whole, avg(confidence) AS confidence,
sum(score >= 0.8) AS excellent, sum(score >= 0.6 AND score < 0.8) AS good, sum(score >= 0.4 AND score < 0.6) AS fair,
sum(score < 0.4) AS poor
"""
_ALL = f"{_SCORED} SELECT {_SUM} FROM scored"  # noqa: S608 - constants only
_BY = f"{_SCORED} SELECT {{0}} AS name, {_SUM} FROM scored GROUP BY {{0}} ORDER BY decisions DESC, name"  # noqa: S608
_OVER_TIME = f"""
{_SCORED} SELECT (recorded_at_us - :since) / :length AS number, {_SUM} FROM scored GROUP BY number ORDER BY number
"""  # noqa: S608 - constants only
_NAMES = ("traces",)


class DecisionMetrics(BaseModel):
    """Figures of one group of decisions; shares are 0..1, and none where there is nothing to share out.

    `compliance` is the share with a full audit trail: facts and evaluation recorded, and an answer where one was due.
    """

    model_config = ConfigDict(frozen=True)

    group: str
    decisions: int
    quality: float | None
    tier: Tier | None
    tiers: dict[Tier, int]
    exception_rate: float | None
    denial_rate: float | None
    observed: int
    correct: int
    confidence: float | None
    compliance: float | None


class Bucket(BaseModel):
    """One stretch of time, and the measure in it; none where no decision was made."""

    model_config = ConfigDict(frozen=True)

    begin: datetime
    decisions: int
    value: float | None


class Anomaly(BaseModel):
    """A bucket that lies off the line: by how many standard deviations, and how serious that is."""

    model_config = ConfigDict(frozen=True)

    begin: datetime
    value: float
    expected: float
    deviations: float
    severity: Literal["notice", "warning", "critical"]


class Trend(BaseModel):
    """A measure over time, the least-squares line through it, and what lies off that line.

    `slope` is the change from one bucket to the next, none with fewer than two; anomalies need 30 buckets.
    """

    model_config = ConfigDict(frozen=True)

    measure: Measure
    bucket_s: float
    buckets: tuple[Bucket, ...]
    slope: float | None
    anomalies: tuple[Anomaly, ...]
    enough: bool


def score(*, correct: bool | None, confidence: float | None, follows: bool | None, is_exception: bool) -> float:
    """Return the score of one decision; `follows` is none where no rule was asked."""
    outcome = 0.5 if correct is None else float(correct)
    policy = 0.5 if follows is None else 1.0 if follows else 0.6
    raw = 0.4 * outcome + 0.2 * (0.7 if confidence is None else confidence) + 0.3 * policy + 0.1 - 0.2 * is_exception
    return max(0.0, min(1.0, raw))


class Metrics:
    """Sums decisions up. Windows are half open: `until` itself is left out."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def of(self, *, since: datetime | None = None, until: datetime | None = None) -> DecisionMetrics:
        """Return the figures of all decisions of a window."""
        rows = await self._queries.fetch(_ALL, _window(since, until), names=_NAMES)
        return _metrics("all", dict(rows[0]))

    async def by(
        self, group: GroupBy, *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[DecisionMetrics, ...]:
        """Return the figures of each group, the largest first."""
        if group not in get_args(GroupBy):
            raise AdmissionError(
                f"decisions cannot be grouped by [{group!r:.40}]; expected one of [{', '.join(get_args(GroupBy))}]"
            )
        rows = await self._queries.fetch(_BY.format(group), _window(since, until), names=_NAMES)
        return tuple(_metrics(str(row["name"]), dict(row)) for row in rows)

    async def trend(
        self,
        measure: Measure,
        *,
        since: datetime,
        until: datetime,
        bucket: timedelta = timedelta(days=1),
    ) -> Trend:
        """Return a measure over time, in buckets of equal length from `since` on."""
        length = bucket // timedelta(microseconds=1)
        bounds = _window(since, until)
        if length < 1 or not 0 < bounds["until"] - bounds["since"] <= _MOST_BUCKETS * length:
            raise AdmissionError(
                f"buckets of [{bucket}] from [{since}] to [{until}] are not 1 to {_MOST_BUCKETS}; "
                "expected [fewer, longer ones]: choose another length"
            )
        rows = await self._queries.fetch(_OVER_TIME, {**bounds, "length": length}, names=_NAMES)
        found = {row["number"]: _metrics("", dict(row)) for row in rows}
        count = math.ceil((bounds["until"] - bounds["since"]) / length)
        buckets = [
            Bucket(
                begin=datetime_from_us(bounds["since"] + number * length),
                decisions=found[number].decisions if number in found else 0,
                value=_value(measure, found.get(number)),
            )
            for number in range(count)
        ]
        return trend_of(measure, buckets, bucket_s=length / 1e6)


def trend_of(measure: Measure, buckets: Sequence[Bucket], *, bucket_s: float) -> Trend:
    """Return the least-squares line through buckets, and those that lie off it; empty ones do not count."""
    points = [(number, each.value) for number, each in enumerate(buckets) if each.value is not None]
    slope, intercept = _line(points)
    anomalies: list[Anomaly] = []
    enough = len(points) >= _ENOUGH
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
                        begin=buckets[number].begin, value=value, expected=intercept + slope * number,
                        deviations=deviations, severity=severity,
                    )
                )  # fmt: skip
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


def _value(measure: Measure, metrics: DecisionMetrics | None) -> float | None:
    if measure == "decisions":
        return 0.0 if metrics is None else float(metrics.decisions)
    found: float | None = None if metrics is None else getattr(metrics, measure)
    return found


def _metrics(group: str, row: Mapping[str, float | None]) -> DecisionMetrics:
    count = int(row["decisions"] or 0)

    def share(name: str) -> float | None:
        return (row[name] or 0) / count if count else None

    quality = row["quality"]
    return DecisionMetrics(
        group=group, decisions=count, quality=quality,
        tier=None if quality is None else next(tier for least, tier in _TIERS if quality >= least),
        tiers={tier: int(row[tier] or 0) for _, tier in _TIERS}, exception_rate=share("exceptions"),
        denial_rate=share("denials"), observed=int(row["observed"] or 0), correct=int(row["correct"] or 0),
        confidence=row["confidence"], compliance=share("whole"),
    )  # fmt: skip


def _window(since: datetime | None, until: datetime | None) -> dict[str, int]:
    return {
        "since": 0 if since is None else us_from_datetime(since),
        "until": 2**62 if until is None else us_from_datetime(until),
    }
