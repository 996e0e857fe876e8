"""What a report is made of, read out of entries that the views point at: a run, its decisions, what monitors saw."""

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
from loom.decisions.trace import DecisionSummary, DecisionTrace
from loom.extension import Cases, installed
from loom.monitors import MonitorsProjection
from loom.monitors.view import CONFIRM_OBSERVATIONS
from loom.projections import Queries
from loom.projections.joining import join
from loom.projections.private import PrivateViews

__all__ = ["MOST", "Observed", "Reported", "RunReport", "Watched", "read_report"]

MOST = 10_000
"""The most decisions, and observations, that a report lists and draws; its figures count all there are."""

_PAGE = 1_000
_OF_RUN = "SELECT position FROM trace_decisions WHERE run_id = ? ORDER BY position"
_SEEN = "SELECT * FROM monitor_observations WHERE run_id = ? ORDER BY journal, position"
_DECISIONS = "SELECT * FROM trace_decisions WHERE run_id = ? ORDER BY position LIMIT ?"
_EFFECTS = """
SELECT coalesce(effect, 'no rule') AS effect, count(*) AS number FROM trace_decisions WHERE run_id = ? GROUP BY effect
"""
_COUNTED = """
SELECT count(*) AS decisions, count(DISTINCT journal) AS actors, min(recorded_at_us) AS first_at_us,
  max(recorded_at_us) AS last_at_us,
  (SELECT json_group_array(json_object('name', policy_name, 'version', policy_version, 'hash', policy_hash,
      'decisions', decisions))
    FROM (SELECT policy_name, policy_version, policy_hash, count(*) AS decisions FROM trace_decisions
      WHERE run_id = ? AND policy_hash IS NOT NULL GROUP BY policy_hash ORDER BY min(position))) AS versions
FROM trace_decisions WHERE run_id = ?
"""
_WATCHED = """
SELECT monitor, subject, count(*) AS number, sum(found IS NOT NULL) AS found, min(position) AS first
FROM monitor_observations WHERE run_id = ? GROUP BY monitor, subject ORDER BY found > 0 DESC, first
"""
_OBSERVED = """
SELECT position, monitor, subject, recorded_at_us, value, facts, parameters, rule, found, intervention, decision_id,
  row_number() OVER (ORDER BY position) AS number
FROM monitor_observations WHERE run_id = :run_id AND monitor = :monitor AND subject = :subject
"""
_DRAWN = f"{_OBSERVED} ORDER BY position LIMIT :most"
_FOUND = f"SELECT * FROM ({_OBSERVED}) WHERE found IS NOT NULL ORDER BY number LIMIT :most"  # noqa: S608 - constants only
_LAST = f"SELECT * FROM ({_OBSERVED}) ORDER BY number DESC LIMIT 1"  # noqa: S608


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


class RunReport(NamedTuple):
    """All that a report shows.

    `effects` counts every decision of the run, also the `left_out` ones that are not listed. `watched` is what the
    first monitor that found something saw, or the first of all; `others` are the other monitors and subjects, with
    how many observations and findings.
    """

    run: Run
    decisions: tuple[Reported, ...]
    left_out: int
    effects: dict[str, int]
    watched: Watched | None
    others: tuple[tuple[str, str, int, int], ...]
    columns: tuple[str, ...] = ()


async def read_report(queries: Queries, run_id: str, *, most: int = MOST) -> RunReport:
    """Return what there is to report of a run, by its id or how that begins; raise `RunNotFoundError`."""
    run = await RunsView(queries).get(run_id)
    views = PrivateViews(TracesProjection(), MonitorsProjection())
    try:
        listed = await _hold(queries, views, run.run_id, most)
        return await _read(views, run, await _cases(queries, run), listed, most)
    finally:
        await views.close()


async def _hold(queries: Queries, views: PrivateViews, run_id: str, most: int) -> dict[int, Decision]:
    """Read what belongs to a run out of its entries; the views only say where they are.

    Return position → decision of the first ones, as many as are listed.
    """
    listed: dict[int, Decision] = {}
    positions = await positions_of(queries, _OF_RUN, (run_id,), names=("traces",))
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
    seen = await queries.fetch(_SEEN, (run_id,), names=("monitors",))
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


async def _read(views: PrivateViews, run: Run, cases: Cases, listed: Mapping[int, Decision], most: int) -> RunReport:
    rows = await views.fetch(_DECISIONS, (run.run_id, len(listed)))
    decisions = []
    for number, row in enumerate(rows, start=1):
        decision = listed[row["position"]]
        decisions.append(
            Reported(
                number=number,
                summary=DecisionSummary.of(row),
                outcome=dict(decision.outcome),
                facts=dict(decision.facts or {}),
                why=None if decision.evaluation is None else decision.evaluation.why,
                approvals=len(decision.approvals),
                about=cases.of(decision),
            )
        )
    effects = await views.fetch(_EFFECTS, (run.run_id,))
    counted = {row["effect"]: row["number"] for row in effects}
    watched = await views.fetch(_WATCHED, (run.run_id,))
    [seen] = await views.fetch(_COUNTED, (run.run_id, run.run_id))
    return RunReport(
        run=run.counted(seen) if counted else run,
        decisions=tuple(decisions),
        left_out=sum(counted.values()) - len(decisions),
        effects=counted,
        watched=await _watched(views, run.run_id, dict(watched[0]), most) if watched else None,
        others=tuple((row["monitor"], row["subject"], row["number"], row["found"]) for row in watched[1:]),
        columns=tuple(cases.columns),
    )


async def _watched(views: PrivateViews, run_id: str, which: dict[str, Any], most: int) -> Watched:
    wanted = {"run_id": run_id, "monitor": which["monitor"], "subject": which["subject"], "most": most}
    drawn, found, last = [
        tuple(_observed(dict(row)) for row in await views.fetch(statement, wanted))
        for statement in (_DRAWN, _FOUND, _LAST)
    ]
    return Watched(
        monitor=which["monitor"],
        subject=which["subject"],
        observations=which["number"],
        drawn=drawn,
        findings=which["found"],
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
