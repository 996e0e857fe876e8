"""What a report is made of, read out of entries that the views point at: decisions of a run or of a time, monitors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from loom.clock import datetime_from_us
from loom.decisions import Decision, Run, RunsView, TracesProjection
from loom.decisions.confirming import TurnEnds
from loom.decisions.holding import held_decisions, positions_of
from loom.decisions.rows import decision_row
from loom.decisions.run import VersionSeen
from loom.decisions.trace import DecisionSummary, DecisionTrace
from loom.extension import Cases, installed
from loom.monitors import MonitorsProjection
from loom.monitors.view import CONFIRM_OBSERVATIONS
from loom.projections import Queries, Row
from loom.projections.joining import join
from loom.projections.private import PrivateViews
from loom.reports.about import Period, Which

__all__ = ["MOST", "Observed", "ReportRead", "Reported", "Watched", "read_report"]

MOST = 10_000
"""The most decisions, and observations, that a report lists and draws; its figures count all there are."""

_PAGE = 1_000


class Reported(NamedTuple):
    """One decision as a report shows it."""

    number: int
    summary: DecisionSummary
    outcome: dict[str, Any]
    facts: dict[str, Any]
    why: str | None
    approvals: int
    about: tuple[Any, ...] = ()
    """What it was about, a cell for each of the report's `columns`."""


class Observed(NamedTuple):
    """One thing that a monitor saw, and what it made of a full window."""

    number: int
    monitor: str
    subject: str
    at: datetime
    value: float
    mean: float | None
    threshold: float | None
    rule: str | None
    found: str | None
    intervention: str | None


class Watched(NamedTuple):
    """What one monitor saw of one subject in a run: as much as is drawn, everything that it found, and the last."""

    monitor: str
    subject: str
    observations: int
    drawn: tuple[Observed, ...]
    findings: int
    found: tuple[Observed, ...]
    last: Observed


class ReportRead(NamedTuple):
    """All that a report shows.

    `effects` counts every decision, also the `left_out` ones that are not listed. `watched` is what the first monitor
    that found something saw, or the first of all; `others` are the other monitors and subjects, with how many
    observations and findings.
    """

    about: Run | Period
    decisions: tuple[Reported, ...]
    left_out: int
    effects: dict[str, int]
    watched: Watched | None
    others: tuple[tuple[str, str, int, int], ...]
    columns: tuple[str, ...] = ()


async def read_report(queries: Queries, about: str | Period, *, most: int = MOST) -> ReportRead:
    """Return what there is to report of a run, by its id or how that begins, or of a period.

    Raises `RunNotFoundError`.
    """
    subject = about if isinstance(about, Period) else await RunsView(queries).get(about)
    which = Which.of(subject)
    views = PrivateViews(TracesProjection(), MonitorsProjection())
    try:
        listed = await _hold(queries, views, which, most)
        cases = Cases() if isinstance(subject, Period) else await _cases(queries, subject)
        return await _read(views, subject, which, cases, listed, most)
    finally:
        await views.close()


async def _hold(queries: Queries, views: PrivateViews, which: Which, most: int) -> dict[int, Decision]:
    """Read what a report is about out of its entries; the views only say where they are.

    Return position → decision of the first ones, as many as are listed.
    """
    listed: dict[int, Decision] = {}
    positions = await positions_of(queries, which.statements.positions, which.bounds, names=("traces",))
    async for page in held_decisions(queries, positions):
        ends = await TurnEnds.of(queries, [each.recorded for each in page])
        await views.add(
            "trace_decisions",
            [
                {**decision_row(*each), "status": ends.status(each.recorded, run_id=each.decision.get("run_id"))}
                for each in page
            ],
        )
        shown = [each.recorded for each in page[: most - len(listed)]]
        await join(queries.entries, shown)
        listed |= {each.position: DecisionTrace.decision_in(each) for each in shown}
    seen = await queries.fetch(which.statements.seen, which.bounds, names=("monitors",))
    for first in range(0, len(seen), _PAGE):
        await views.add(
            "monitor_observations", await queries.confirmed(seen[first : first + _PAGE], CONFIRM_OBSERVATIONS)
        )
    return listed


async def _cases(queries: Queries, run: Run) -> Cases:
    """Return what the decisions of a run were about, by the first extension that knows."""
    for extension in installed().values():
        if extension.cases is not None and (found := await extension.cases(queries, run)).columns:
            return found
    return Cases()


async def _read(
    views: PrivateViews, about: Run | Period, which: Which, cases: Cases, listed: Mapping[int, Decision], most: int
) -> ReportRead:
    rows = await views.fetch(which.statements.decisions, {**which.bounds, "most": len(listed)})
    decisions = tuple(
        _reported(number, row, listed[row["position"]], cases) for number, row in enumerate(rows, start=1)
    )
    effects = await views.fetch(which.statements.effects, which.bounds)
    counted = {row["effect"]: row["number"] for row in effects}
    watched = await views.fetch(which.statements.watched, which.bounds)
    [seen] = await views.fetch(which.statements.counted, which.bounds)
    return ReportRead(
        about=_counted(about, seen) if counted else about,
        decisions=decisions,
        left_out=sum(counted.values()) - len(decisions),
        effects=counted,
        watched=await _watched(views, which, dict(watched[0]), most) if watched else None,
        others=tuple((row["monitor"], row["subject"], row["number"], row["found"]) for row in watched[1:]),
        columns=tuple(cases.columns),
    )


def _counted(about: Run | Period, seen: Row) -> Run | Period:
    if isinstance(about, Run):
        return about.counted(seen)
    versions = tuple(VersionSeen.model_validate(each) for each in json.loads(seen["versions"]))
    return about._replace(decisions=seen["decisions"], actors=seen["actors"], versions=versions)


def _reported(number: int, row: Row, decision: Decision, cases: Cases) -> Reported:
    return Reported(
        number=number,
        summary=DecisionSummary.of(row),
        outcome=dict(decision.outcome),
        facts=dict(decision.facts or {}),
        why=None if decision.evaluation is None else decision.evaluation.why,
        approvals=len(decision.approvals),
        about=cases.of(decision),
    )


async def _watched(views: PrivateViews, which: Which, first: dict[str, Any], most: int) -> Watched:
    wanted = {**which.bounds, "monitor": first["monitor"], "subject": first["subject"], "most": most}
    statements = which.statements
    drawn, found, last = [
        tuple(_observed(dict(row)) for row in await views.fetch(statement, wanted))
        for statement in (statements.drawn, statements.found, statements.last)
    ]
    return Watched(
        monitor=first["monitor"],
        subject=first["subject"],
        observations=first["number"],
        drawn=drawn,
        findings=first["found"],
        found=found,
        last=last[0],
    )


def _observed(row: dict[str, Any]) -> Observed:
    facts = json.loads(row["facts"] or "{}")
    parameters = json.loads(row["parameters"] or "{}")
    return Observed(
        number=row["number"],
        monitor=row["monitor"],
        subject=row["subject"],
        at=datetime_from_us(row["recorded_at_us"]),
        value=row["value"],
        mean=facts.get("mean"),
        threshold=parameters.get("threshold"),
        rule=row["rule"],
        found=row["found"],
        intervention=row["intervention"],
    )
