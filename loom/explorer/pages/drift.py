"""Drift: whether decisions are still made as before: two times compared, and days that were unusual."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from fastapi import Query
from pydantic import BeforeValidator

from loom.drift import DriftReport, Window
from loom.explorer.cases import Shape
from loom.explorer.page import Page, View
from loom.explorer.visits import Visit

__all__ = ["page"]

page = Page("drift", "/drift", title="Drift", about="Whether decisions are still made as they were before.", place=84)

_UNUSUAL = 20
_CLASSES = 8
_MEASURES = {
    "decisions": "number of decisions",
    "quality": "quality",
    "accuracy": "share that turned out right",
    "exception_rate": "share of exceptions",
    "denial_rate": "share denied",
    "departure_rate": "share against their own rule",
}


def _given(value: object) -> object:
    return None if value == "" else value


_Day = Annotated[date | None, BeforeValidator(_given), Query()]


class DaySeen(Shape):
    """A day that was unusual, and how."""

    day: date
    measure: str
    value: float
    expected: float
    severity: str


class ShiftSeen(Shape):
    """A kind of cases that became more or less frequent; shares are 0..1."""

    words: str
    outcome: str
    before: float
    after: float
    decision_id: str


class FoundSeen(Shape):
    """What a comparison found, in words, and the kinds that moved most."""

    state: str
    severity: str | None
    before: int
    after: int
    sentences: tuple[str, ...]
    shifts: tuple[ShiftSeen, ...]


class DriftView(View):
    """The times in the form, and what comparing them found, if that was asked for."""

    since: date
    middle: date
    until: date
    found: FoundSeen | None
    unusual: tuple[DaySeen, ...]


@page.shows
async def show(visit: Visit, since: _Day = None, middle: _Day = None, until: _Day = None) -> DriftView:
    """Compare two times that follow each other, where a time was asked for; the days in the form are the last sixty."""
    loom = visit.loom
    as_of, today = loom.store.acknowledged, loom.now().astimezone(UTC).date()
    last = until or today + timedelta(days=1)
    middle_day = middle or last - timedelta(days=30)
    first = since or middle_day - timedelta(days=30)
    asked = any(each is not None for each in (since, middle, until))
    report = None
    if asked:
        ends = [datetime(each.year, each.month, each.day, tzinfo=UTC) for each in (first, middle_day, last)]
        report = await loom.drift.compare(
            Window(since=ends[0], until=ends[1]), Window(since=ends[1], until=ends[2]), split=False, limit=_CLASSES
        )
    return DriftView(
        as_of=as_of,
        since=first,
        middle=middle_day,
        until=last,
        found=None if report is None else _found(report),
        unusual=tuple(
            DaySeen(
                day=each.day.date(),
                measure=_MEASURES[each.measure],
                value=each.value,
                expected=each.expected,
                severity=each.severity,
            )
            for each in (await loom.alerts.find())[:_UNUSUAL]
        ),
    )


def _found(report: DriftReport) -> FoundSeen:
    shifts = sorted((*report.rose, *report.fell), key=lambda each: -each.share_of_divergence)
    return FoundSeen(
        state=report.state,
        severity=report.severity,
        before=report.baseline.decisions,
        after=report.current.decisions,
        sentences=report.explanation,
        shifts=tuple(
            ShiftSeen(
                words=", ".join(f"{name} {what}" for name, what in each.alike.items()) or "cases of one kind",
                outcome=", ".join(f"{name} {what}" for name, what in (each.outcome or {}).items()),
                before=each.baseline_share,
                after=each.current_share,
                decision_id=each.decision_id,
            )
            for each in shifts[:_CLASSES]
        ),
    )
