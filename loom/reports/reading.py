"""What a report is made of, read out of the views: the run, its decisions, what monitors saw of it."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from typing import Any, NamedTuple

from loom.clock import datetime_from_us
from loom.decisions import Run, RunsView
from loom.decisions.trace import DecisionSummary, DecisionTrace
from loom.projections import Queries

__all__ = ["Observed", "Reported", "RunReport", "read_report"]

MOST = 10_000

_DECISIONS = """
SELECT trace_decisions.*, schema_version, body FROM trace_decisions JOIN trace_bodies USING (position)
WHERE run_id = ? ORDER BY position LIMIT ?
"""
_OBSERVED = """
SELECT position, monitor, subject, recorded_at_us, value, facts, parameters, rule, found, intervention, decision_id
FROM monitor_observations WHERE run_id = ? ORDER BY position LIMIT ?
"""


class Reported(NamedTuple):
    """One decision as a report shows it."""

    number: int
    summary: DecisionSummary
    outcome: dict[str, Any]
    facts: dict[str, Any]
    why: str | None
    approvals: int


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


class RunReport(NamedTuple):
    """All that a report shows."""

    run: Run
    decisions: tuple[Reported, ...]
    left_out: int
    observed: tuple[Observed, ...]
    effects: Counter[str]
    outcomes: Counter[str]


async def read_report(queries: Queries, run_id: str) -> RunReport:
    """Return what there is to report of a run, by its id or how that begins; raise `RunNotFoundError`."""
    run = await RunsView(queries).get(run_id)
    rows = await queries.fetch(_DECISIONS, (run.run_id, MOST), names=("traces", "runs"))
    decisions = []
    for number, row in enumerate(rows, start=1):
        decision = DecisionTrace.decision_in(row)
        decisions.append(
            Reported(
                number=number,
                summary=DecisionSummary.of(row),
                outcome=dict(decision.outcome),
                facts=dict(decision.facts or {}),
                why=None if decision.evaluation is None else decision.evaluation.why,
                approvals=len(decision.approvals),
            )
        )
    seen = await queries.fetch(_OBSERVED, (run.run_id, MOST), names=("monitors",))
    return RunReport(
        run=run,
        decisions=tuple(decisions),
        left_out=max(0, run.decisions - len(decisions)),
        observed=tuple(_observed(number, dict(row)) for number, row in enumerate(seen, start=1)),
        effects=Counter(each.summary.effect or "no rule" for each in decisions),
        outcomes=Counter(_in_words(each.outcome) for each in decisions),
    )


def _observed(number: int, row: dict[str, Any]) -> Observed:
    facts = json.loads(row["facts"] or "{}")
    parameters = json.loads(row["parameters"] or "{}")
    return Observed(
        number=number, monitor=row["monitor"], subject=row["subject"], at=datetime_from_us(row["recorded_at_us"]),
        value=row["value"], mean=facts.get("mean"), threshold=parameters.get("threshold"), rule=row["rule"],
        found=row["found"], intervention=row["intervention"],
    )  # fmt: skip


def _in_words(outcome: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in outcome.items()) or "nothing"


def _plain(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
