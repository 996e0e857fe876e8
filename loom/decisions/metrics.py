"""Figures of decisions: how good they were as far as that is known, and which went against their own rule.

All of it is a read-side sum over the traces. The score of one decision is
0.4 outcome (correct 1, wrong 0, unknown 0.5) + 0.2 confidence (0.7 where none) + 0.3 policy (followed 1, exception 0.6,
none 0.5, departed from 0) + 0.1, minus 0.2 for an exception, clamped to 0..1. The outcome is the one observed last.
A group none of whose outcomes was observed has no quality: the rest of the formula alone says nothing about it.
"""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict

from loom.clock import datetime_from_us, us_from_datetime
from loom.decisions.conduct import Departure
from loom.decisions.finding import ByTime
from loom.decisions.trends import Bucket, Measure, Trend, trend_of
from loom.errors import AdmissionError
from loom.identity import Identity
from loom.projections import Queries

__all__ = ["DecisionMetrics", "Departures", "GroupBy", "Metrics", "score"]

GroupBy: TypeAlias = Literal["decision_type", "actor_type", "journal", "policy_version"]
MeasuredOrigin: TypeAlias = Literal["original", "observed", "any"]
Tier: TypeAlias = Literal["excellent", "good", "fair", "poor"]

_TIERS: tuple[tuple[float, Tier], ...] = ((0.8, "excellent"), (0.6, "good"), (0.4, "fair"), (0.0, "poor"))
_MOST_BUCKETS = 10_000
_SCORED = """
WITH scored AS (
  SELECT trace_decisions.*, outcome.correct AS correct,
    max(0.0, min(1.0,
      0.4 * CASE outcome.correct WHEN 1 THEN 1.0 WHEN 0 THEN 0.0 ELSE 0.5 END
      + 0.2 * coalesce(confidence, 0.7)
      + 0.3 * CASE WHEN effect IS NULL THEN 0.5 WHEN departure IS NOT NULL THEN 0.0 WHEN is_exception THEN 0.6
          ELSE 1.0 END
      + 0.1 - 0.2 * is_exception)) AS score,
    effect IS NOT NULL AND departure IS NULL AND json_extract(CAST(body AS TEXT), '$.decision.facts') IS NOT NULL
      AND (effect <> 'require_approval' OR verdict = 'denied' OR EXISTS (
        SELECT 1 FROM json_each(CAST(body AS TEXT), '$.decision.approvals') AS given
        JOIN approvals ON approval_id = json_extract(given.value, '$.approval_id')
        WHERE approvals.status = 'granted' AND answered_by IS NOT NULL))
      AS whole
  FROM trace_decisions JOIN trace_bodies USING (position)
  LEFT JOIN trace_outcomes AS outcome ON outcome.position = (
    SELECT max(position) FROM trace_outcomes AS seen WHERE seen.decision_id = trace_decisions.decision_id
  )
  WHERE trace_decisions.decided_at_us >= :since AND trace_decisions.decided_at_us < :until
    AND (origin = 'original' AND :origin <> 'observed'
      OR origin = 'observed' AND status = 'settled' AND :origin <> 'original')
)
"""
_SUM = """
count(*) AS decisions, CASE WHEN count(correct) THEN avg(score) END AS quality, sum(is_exception) AS exceptions,
sum(verdict = 'denied') AS denials, sum(verdict IS NULL) AS unsaid, count(departure) AS departures,
sum(effect IS NOT NULL) AS judged, count(correct) AS observed, sum(correct = 1) AS correct,
sum(whole) AS whole, avg(confidence) AS confidence, count(confidence) AS confident,
sum(correct IS NOT NULL AND score >= 0.8) AS excellent,
sum(correct IS NOT NULL AND score >= 0.6 AND score < 0.8) AS good,
sum(correct IS NOT NULL AND score >= 0.4 AND score < 0.6) AS fair,
sum(correct IS NOT NULL AND score < 0.4) AS poor
"""
_ALL = f"{_SCORED} SELECT {_SUM} FROM scored"  # noqa: S608 - constants only
_BY = f"{_SCORED} SELECT {{0}} AS name, {_SUM} FROM scored GROUP BY {{0}} ORDER BY decisions DESC, name"  # noqa: S608
_OVER_TIME = f"""
{_SCORED} SELECT (decided_at_us - :since) / :length AS number, {_SUM} FROM scored GROUP BY number ORDER BY number
"""  # noqa: S608 - constants only
_DEPARTED = """
SELECT policy_name, policy_version, departure, actor_type, by, identity_source, via, count(*) AS decisions,
  min(recorded_at_us) AS first_at_us, max(recorded_at_us) AS last_at_us, max(decision_id) AS example
FROM trace_decisions
WHERE departure IS NOT NULL AND origin = 'original' AND recorded_at_us >= :since AND recorded_at_us < :until
GROUP BY policy_name, policy_version, departure, actor_type, by, identity_source, via
ORDER BY policy_name, policy_version, departure, decisions DESC, actor_type, by
"""
_DAYS = """
SELECT count(DISTINCT recorded_at_us / 86400000000) FROM trace_decisions
WHERE origin = 'original' AND recorded_at_us >= :since AND recorded_at_us < :until
"""
_RECORDED = ("decided_at_us", "recorded_at_us")
_NAMES = ("traces", "approvals")


class DecisionMetrics(BaseModel):
    """Figures of one group of decisions; shares are 0..1, and none where there is nothing to share out.

    `quality` and `tier` are none unless an outcome was observed, and `tiers` counts the observed ones. `accuracy` is
    the share of correct ones among those `observed`. `denial_rate` is the share of denied ones, by a rule or by a
    person, among those that say what they came to; `unsaid` is how many do not. `departure_rate` is the share of
    those that went against their own rule among the `judged` ones. `confidence` is the mean of the `confident` ones,
    which give one. `compliance` is the share with a full audit trail: facts and evaluation recorded, the rule not
    departed from, and a granted answer in the journal where one was due.
    """

    model_config = ConfigDict(frozen=True)

    group: str
    decisions: int
    quality: float | None
    tier: Tier | None
    tiers: dict[Tier, int]
    exception_rate: float | None
    denial_rate: float | None
    unsaid: int
    judged: int
    departures: int
    departure_rate: float | None
    observed: int
    correct: int
    accuracy: float | None
    confidence: float | None
    confident: int
    compliance: float | None


class Departures(BaseModel):
    """Decisions under one policy version that went against it in one way: how many, and in whose name.

    `people` are those who asked for them, each name with where it comes from, and how many each; `unnamed` were asked
    for in nobody's name.
    """

    model_config = ConfigDict(frozen=True)

    policy: str
    version: str
    departure: Departure
    decisions: int
    people: dict[str, int]
    unnamed: int
    actor_types: dict[str, int]
    first_at: datetime
    last_at: datetime
    example: str


def score(
    *,
    correct: bool | None,
    confidence: float | None,
    follows: bool | None,
    is_exception: bool,
    departs: bool = False,
) -> float:
    """Return the score of one decision; `follows` is none where no rule was asked, false for an exception."""
    outcome = 0.5 if correct is None else float(correct)
    policy = 0.5 if follows is None else 0.0 if departs else 1.0 if follows else 0.6
    raw = 0.4 * outcome + 0.2 * (0.7 if confidence is None else confidence) + 0.3 * policy + 0.1 - 0.2 * is_exception
    return max(0.0, min(1.0, raw))


class Metrics:
    """Sums decisions up. Windows are half open: `until` itself is left out.

    Observed decisions have no rule to go by, so that they are in it only where `origin` says so: `observed` has those
    of imports that have ended, `any` those and the original ones. Times are those at which decisions were made, as the
    source claims of observed ones, or `by_time` recorded.
    """

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def of(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        origin: MeasuredOrigin = "original",
        by_time: ByTime = "decided",
    ) -> DecisionMetrics:
        """Return the figures of all decisions of a window."""
        bounds = {**_window(since, until), "origin": origin}
        rows = await self._queries.fetch(_timed(_ALL, by_time), bounds, names=_NAMES)
        return _metrics("all", dict(rows[0]))

    async def by(
        self,
        group: GroupBy,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        origin: MeasuredOrigin = "original",
        by_time: ByTime = "decided",
    ) -> tuple[DecisionMetrics, ...]:
        """Return the figures of each group, the largest first."""
        if group not in get_args(GroupBy):
            raise AdmissionError(
                f"decisions cannot be grouped by [{group!r:.40}]; expected one of [{', '.join(get_args(GroupBy))}]"
            )
        bounds = {**_window(since, until), "origin": origin}
        rows = await self._queries.fetch(_timed(_BY.format(group), by_time), bounds, names=_NAMES)
        return tuple(_metrics(str(row["name"]), dict(row)) for row in rows)

    async def departures(
        self, *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[Departures, ...]:
        """Return the decisions that went against their own rule, by policy version and how; those with most first."""
        rows = await self._queries.fetch(_DEPARTED, _window(since, until), names=_NAMES)
        alike: dict[tuple[str, str, Departure], list[sqlite3.Row]] = {}
        for row in rows:
            alike.setdefault((row["policy_name"], row["policy_version"], row["departure"]), []).append(row)
        found = [_departed(*which, rows) for which, rows in alike.items()]
        return tuple(sorted(found, key=lambda each: -each.decisions))

    async def trend(
        self,
        measure: Measure,
        *,
        since: datetime,
        until: datetime,
        bucket: timedelta = timedelta(days=1),
        origin: MeasuredOrigin = "original",
        by_time: ByTime = "decided",
    ) -> Trend:
        """Return a measure over time, in buckets of equal length from `since` on."""
        given: Any = {"since": since, "until": until, "bucket": bucket, "origin": origin, "by_time": by_time}
        return (await self.trends((measure,), **given))[measure]

    async def trends(
        self,
        measures: Sequence[Measure],
        *,
        since: datetime,
        until: datetime,
        bucket: timedelta = timedelta(days=1),
        origin: MeasuredOrigin = "original",
        by_time: ByTime = "decided",
    ) -> dict[Measure, Trend]:
        """Return several measures over time, out of one look at the decisions."""
        length = bucket // timedelta(microseconds=1)
        bounds = _window(since, until)
        if length < 1 or not 0 < bounds["until"] - bounds["since"] <= _MOST_BUCKETS * length:
            raise AdmissionError(
                f"buckets of [{bucket}] from [{since}] to [{until}] are not 1 to {_MOST_BUCKETS}; "
                "expected [fewer, longer ones]: choose another length"
            )
        given = {**bounds, "length": length, "origin": origin}
        rows = await self._queries.fetch(_timed(_OVER_TIME, by_time), given, names=_NAMES)
        found = {row["number"]: _metrics("", dict(row)) for row in rows}
        count = math.ceil((bounds["until"] - bounds["since"]) / length)
        return {
            measure: trend_of(measure, _buckets(measure, found, count, bounds["since"], length), bucket_s=length / 1e6)
            for measure in measures
        }

    async def days_with_decisions(self, *, since: datetime, until: datetime) -> int:
        """Return on how many days (UTC) decisions were made; this reads no decision in full."""
        rows = await self._queries.fetch(_DAYS, _window(since, until), names=("traces",))
        return int(rows[0][0])


def _timed(statement: str, by_time: ByTime) -> str:
    return statement.replace(*_RECORDED) if by_time == "recorded" else statement


def _buckets(
    measure: Measure, found: Mapping[int, DecisionMetrics], count: int, since_us: int, length_us: int
) -> list[Bucket]:
    return [
        Bucket(
            begin=datetime_from_us(since_us + number * length_us),
            decisions=found[number].decisions if number in found else 0,
            value=_value(measure, found.get(number)),
        )
        for number in range(count)
    ]


def _value(measure: Measure, metrics: DecisionMetrics | None) -> float | None:
    if measure == "decisions":
        return 0.0 if metrics is None else float(metrics.decisions)
    found: float | None = None if metrics is None else getattr(metrics, measure)
    return found


def _metrics(group: str, row: Mapping[str, float | None]) -> DecisionMetrics:
    count, observed, judged = (int(row[name] or 0) for name in ("decisions", "observed", "judged"))
    unsaid = int(row["unsaid"] or 0)

    def share(name: str, of: int = count) -> float | None:
        return (row[name] or 0) / of if of else None

    quality = row["quality"]
    return DecisionMetrics(
        group=group, decisions=count, quality=quality,
        tier=None if quality is None else next(tier for least, tier in _TIERS if quality >= least),
        tiers={tier: int(row[tier] or 0) for _, tier in _TIERS}, exception_rate=share("exceptions"),
        denial_rate=share("denials", count - unsaid), unsaid=unsaid, judged=judged,
        departures=int(row["departures"] or 0), departure_rate=share("departures", judged), observed=observed,
        correct=int(row["correct"] or 0), accuracy=share("correct", observed), confidence=row["confidence"],
        confident=int(row["confident"] or 0), compliance=share("whole"),
    )  # fmt: skip


def _departed(policy: str, version: str, departure: Departure, rows: Sequence[sqlite3.Row]) -> Departures:
    people, actors = Counter[str](), Counter[str]()
    for row in rows:
        who = "" if row["by"] is None else Identity(row["by"], row["identity_source"], row["via"]).brief
        people[who] += row["decisions"]
        actors[row["actor_type"]] += row["decisions"]
    unnamed = people.pop("", 0)
    return Departures(
        policy=policy,
        version=version,
        departure=departure,
        decisions=actors.total(),
        people=dict(people.most_common()),
        unnamed=unnamed,
        actor_types=dict(actors.most_common()),
        first_at=datetime_from_us(min(row["first_at_us"] for row in rows)),
        last_at=datetime_from_us(max(row["last_at_us"] for row in rows)),
        example=rows[0]["example"],
    )


def _window(since: datetime | None, until: datetime | None) -> dict[str, int]:
    return {
        "since": 0 if since is None else us_from_datetime(since),
        "until": 2**62 if until is None else us_from_datetime(until),
    }
