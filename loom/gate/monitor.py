"""The monitor that the gate brings: the rolling mean of what an agent was last allowed to give away."""

from __future__ import annotations

import math

from pydantic import JsonValue

from loom.gate.entries import ExecutedEntry
from loom.journal.entry import Recorded
from loom.monitors import (
    Finding,
    Monitor,
    Observation,
    Reset,
    RollingMeanParams,
    full_window_without_credit,
    rolling_mean_of,
)
from loom.standings import StandingChangedEntry, Standings

__all__ = ["PROFITABILITY", "profitability_monitor"]

PROFITABILITY = rolling_mean_of("monitor-profitability", RollingMeanParams())
"""The rule of the monitor as it is by default."""


def profitability_monitor(
    standings: Standings,
    *,
    parameter: str = "discount_offered",
    params: RollingMeanParams | None = None,
    reason: str = "PROFITABILITY_DRIFT",
    name: str = "profitability",
) -> Monitor:
    """Return the monitor that no single check replaces: the mean of what an agent was last allowed to give away.

    It suspends an agent whose last `window` executed offers are over `threshold` in the mean; one that is reinstated
    begins with an empty window. What an agent took instead of giving, a number below zero, counts as 0: it does not
    make up for what it gave away. A parameter that is no number is no observation.
    """

    def observe(recorded: Recorded) -> Observation | Reset | None:
        entry = recorded.entry
        if isinstance(entry, StandingChangedEntry):
            return Reset(entry.subject, entry.reason) if entry.standing == "ACTIVE" else None
        value = _number(entry.params.get(parameter)) if isinstance(entry, ExecutedEntry) else None
        if not isinstance(entry, ExecutedEntry) or value is None:
            return None
        about: dict[str, JsonValue] = {
            "flow_id": entry.flow_id,
            "root_id": entry.root_id,
            "run_id": entry.root_id,
            "correlation_id": recorded.command_id,
            "causation_id": entry.decision_id,
        }
        return Observation(recorded.journal.partition("/")[2], value, about)

    async def suspend(finding: Finding) -> None:
        await standings.suspend(
            finding.subject, by=f"monitor {name}", reason=reason, trigger="system", cause=finding.decision_id
        )

    return Monitor(
        name=name,
        kinds=frozenset({ExecutedEntry.kind, StandingChangedEntry.kind}),
        policy=rolling_mean_of(f"monitor-{name}", params or RollingMeanParams()),
        observe=observe,
        facts=full_window_without_credit,
        intervene=suspend,
    )


def _number(value: JsonValue) -> float | None:
    """Return the number that a parameter is, also one that is written as text; None for anything else."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
