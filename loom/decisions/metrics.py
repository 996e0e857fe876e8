"""Figures of decisions: their quality as far as it is known, and the decisions that went against their own rule.

All figures are sums over decisions, computed on demand. The score of one decision is
0.4 outcome (correct 1, wrong 0, unknown 0.5) + 0.2 confidence (0.7 where none) + 0.3 policy (followed 1, exception 0.6,
none 0.5, departed from 0) + 0.1, minus 0.2 for an exception, clamped to 0..1. The last observed outcome counts.
A group without an observed outcome has no quality: the rest of the formula alone says nothing about it.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict

from loom.clock import datetime_from_us, us_from_datetime
from loom.decisions.approvals_view import ApprovalsProjection
from loom.decisions.conduct import Departure
from loom.decisions.finding import ByTime
from loom.decisions.holding import MORE, held_decisions, hold_figures, positions_of
from loom.decisions.sums import ALL, BY, DAYS, DEPARTED, OVER_TIME, POSITIONS, timed
from loom.decisions.traces_view import TracesProjection
from loom.decisions.trends import Bucket, Measure, Trend, trend_of
from loom.errors import AdmissionError
from loom.identity import Identity
from loom.projections import Queries
from loom.projections.private import PrivateViews

__all__ = ["DecisionMetrics", "Departures", "Figures", "GroupBy", "Metrics", "score"]

GroupBy: TypeAlias = Literal["decision_type", "actor_type", "journal", "policy_version"]
MeasuredOrigin: TypeAlias = Literal["original", "observed", "any"]
Tier: TypeAlias = Literal["excellent", "good", "fair", "poor"]

_TIERS: tuple[tuple[float, Tier], ...] = ((0.8, "excellent"), (0.6, "good"), (0.4, "fair"), (0.0, "poor"))
_MOST_BUCKETS = 10_000
_NAMES = ("traces",)


class DecisionMetrics(BaseModel):
    """Figures of one group of decisions; shares are 0..1, and none where the group is empty.

    `quality` and `tier` are none unless an outcome was observed, and `tiers` counts the observed ones. `accuracy` is
    the share of correct ones among those `observed`. `denial_rate` is the share of denied ones, by a rule or by a
    person, among those with a known result; `unsaid` is the number without. `departure_rate` is the share of those
    that went against their own rule among the `judged` ones. `confidence` is the mean of the `confident` ones, those
    that give one. `compliance` is the share with a full audit trail: facts and evaluation recorded, the rule not
    departed from, and a granted answer in the journal where one was required.
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
    """Decisions under one policy version that went against it in one way, with their number and requesters.

    `people` are those who asked for them: name, source of the name, and number of decisions. `unnamed` is the number
    of decisions without a requester.
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
    """Return the score of one decision; `follows` is none without an evaluation, false for an exception."""
    outcome = 0.5 if correct is None else float(correct)
    policy = 0.5 if follows is None else 0.0 if departs else 1.0 if follows else 0.6
    raw = 0.4 * outcome + 0.2 * (0.7 if confidence is None else confidence) + 0.3 * policy + 0.1 - 0.2 * is_exception
    return max(0.0, min(1.0, raw))


class Figures:
    """The figures of one window, computed from the entries of its decisions."""

    def __init__(self, views: PrivateViews, bounds: Mapping[str, int | str], by_time: ByTime) -> None:
        self._views = views
        self._bounds = bounds
        self._by_time = by_time

    async def of(self) -> DecisionMetrics:
        """Return the figures of all decisions."""
        rows = await self._views.fetch(timed(ALL, self._by_time), self._bounds)
        return _metrics("all", dict(rows[0]))

    async def by(self, group: GroupBy) -> tuple[DecisionMetrics, ...]:
        """Return the figures of each group, the largest first."""
        _check_group(group)
        rows = await self._views.fetch(timed(BY.format(group), self._by_time), self._bounds)
        return tuple(_metrics(str(row["name"]), dict(row)) for row in rows)

    async def departures(self) -> tuple[Departures, ...]:
        """Return the decisions that went against their own rule, by policy version and how; those with most first."""
        alike: dict[tuple[str, str, Departure], list[sqlite3.Row]] = {}
        for row in await self._views.fetch(DEPARTED, self._bounds):
            alike.setdefault((row["policy_name"], row["policy_version"], row["departure"]), []).append(row)
        found = [_departed(*which, rows) for which, rows in alike.items()]
        return tuple(sorted(found, key=lambda each: -each.decisions))

    async def over_time(self, length_us: int) -> dict[int, DecisionMetrics]:
        """Return the figures of each stretch of time that has decisions, by its number from 0."""
        rows = await self._views.fetch(timed(OVER_TIME, self._by_time), {**self._bounds, "length": length_us})
        return {row["number"]: _metrics("", dict(row)) for row in rows}


class Metrics:
    """Sums decisions up. Windows are half open: `until` itself is excluded.

    Observed decisions have no rule, so they are included only where `origin` says so: `observed` has those of imports
    that have ended, `any` those and the original ones. Times are those of the decisions (for observed ones as the
    source claims), or of their records with `by_time`.

    Each decision is read from its entry, which takes some ten microseconds; the views only say which ones exist. For
    several figures of one window use `over`.
    """

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    @contextlib.asynccontextmanager
    async def over(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        origin: MeasuredOrigin = "original",
        by_time: ByTime = "decided",
    ) -> AsyncIterator[Figures]:
        """Yield the figures of a window, whose decisions are read once."""
        bounds = {**_window(since, until), "origin": origin}
        views = PrivateViews(TracesProjection(), ApprovalsProjection())
        try:
            await views.widen("trace_decisions", *MORE)
            await views.index("trace_outcomes", "decision_id", "position")
            positions = await positions_of(self._queries, timed(POSITIONS, by_time), bounds, names=_NAMES)
            async for page in held_decisions(self._queries, positions):
                await hold_figures(self._queries, views, page)
            yield Figures(views, bounds, by_time)
        finally:
            await views.close()

    async def of(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        origin: MeasuredOrigin = "original",
        by_time: ByTime = "decided",
    ) -> DecisionMetrics:
        """Return the figures of all decisions of a window."""
        async with self.over(since=since, until=until, origin=origin, by_time=by_time) as figures:
            return await figures.of()

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
        _check_group(group)
        async with self.over(since=since, until=until, origin=origin, by_time=by_time) as figures:
            return await figures.by(group)

    async def departures(
        self, *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[Departures, ...]:
        """Return the decisions that went against their own rule, by policy version and how; those with most first."""
        async with self.over(since=since, until=until) as figures:
            return await figures.departures()

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
        """Return several measures over time, with one read of the decisions."""
        length = bucket // timedelta(microseconds=1)
        bounds = _window(since, until)
        if length < 1 or not 0 < bounds["until"] - bounds["since"] <= _MOST_BUCKETS * length:
            raise AdmissionError(
                f"buckets of [{bucket}] from [{since}] to [{until}] are not 1 to {_MOST_BUCKETS}; "
                "expected [fewer, longer ones]: choose another length"
            )
        async with self.over(since=since, until=until, origin=origin, by_time=by_time) as figures:
            found = await figures.over_time(length)
        count = math.ceil((bounds["until"] - bounds["since"]) / length)
        return {
            measure: trend_of(measure, _buckets(measure, found, count, bounds["since"], length), bucket_s=length / 1e6)
            for measure in measures
        }

    async def days_with_decisions(self, *, since: datetime, until: datetime) -> int:
        """Return the number of days (UTC) with decisions. This reads no decision in full."""
        rows = await self._queries.fetch(DAYS, _window(since, until), names=("traces",))
        return int(rows[0][0])


def _check_group(group: str) -> None:
    if group not in get_args(GroupBy):
        raise AdmissionError(
            f"decisions cannot be grouped by [{group!r:.40}]; expected one of [{', '.join(get_args(GroupBy))}]"
        )


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
        group=group,
        decisions=count,
        quality=quality,
        tier=None if quality is None else next(tier for least, tier in _TIERS if quality >= least),
        tiers={tier: int(row[tier] or 0) for _, tier in _TIERS},
        exception_rate=share("exceptions"),
        denial_rate=share("denials", count - unsaid),
        unsaid=unsaid,
        judged=judged,
        departures=int(row["departures"] or 0),
        departure_rate=share("departures", judged),
        observed=observed,
        correct=int(row["correct"] or 0),
        accuracy=share("correct", observed),
        confidence=row["confidence"],
        confident=int(row["confident"] or 0),
        compliance=share("whole"),
    )


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
