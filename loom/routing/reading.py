"""Read the state of routing and what history changed, from the views: while a loom runs or within one."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.decisions import Traces
from loom.projections import Queries, Row
from loom.projections.confirming import refolded
from loom.routing.config import CareOptimizationConfig, Mode, mode_of
from loom.routing.entries import StopCondition
from loom.routing.record import DecisionRecord
from loom.routing.switch import SWITCH_JOURNAL
from loom.routing.views import CONFIRM_STATE, RoutingProjection
from loom.routing.words import TimelineEntry

__all__ = ["RoutingStatus", "read_records", "read_status", "read_timeline"]

_STATE = "SELECT * FROM care_state WHERE what = 'settings'"
_TIMELINE = """
SELECT decision_id, answered_with_baseline FROM care_requests
WHERE decision_id IS NOT NULL ORDER BY position DESC LIMIT :limit
"""
_COUNTS = """
SELECT count(decision_id) AS optimized, count(answered_with_baseline) AS outside FROM care_requests
"""
_NAMES = ("routing",)


class RoutingStatus(BaseModel):
    """How routing stands: what history may do and who said so, and the kill switch."""

    model_config = ConfigDict(frozen=True)

    mode: Mode
    version: str
    set_by: str | None = None
    set_identity_source: str | None = None
    set_via: str | None = None
    set_because: str | None = None
    source: Literal["config", "person"] | None = None
    killed: bool = False
    switch_by: str | None = None
    switch_identity_source: str | None = None
    switch_via: str | None = None
    switch_because: str | None = None
    switch_trigger: str | None = None
    switch_condition: StopCondition | None = None
    """The stop condition that engaged it, where one did."""
    switch_request: str | None = None
    """The request that it was stopped for."""
    decisions: int = 0
    answered_outside: int = 0


async def read_status(queries: Queries, config: CareOptimizationConfig) -> RoutingStatus:
    """Return how routing stands, as the journal says; what it does not say is the config's."""
    shown = await queries.fetch(_STATE, names=_NAMES)
    stands = [*await queries.confirmed(shown, CONFIRM_STATE), *await _switch(queries)]
    rows = {row["what"]: json.loads(row["body"]) for row in stands}
    [counts] = await queries.fetch(_COUNTS, names=_NAMES)
    settings: dict[str, JsonValue] = rows.get("settings", {})
    switch: dict[str, JsonValue] = rows.get("switch", {})
    return RoutingStatus.model_validate(
        {
            "mode": settings.get("mode", mode_of(config)),
            "version": settings.get("version", config.version),
            "set_by": settings.get("by"),
            "set_identity_source": settings.get("identity_source"),
            "set_via": settings.get("via"),
            "set_because": settings.get("reason"),
            "source": settings.get("source"),
            "killed": switch.get("kind") == "care.kill_switch_engaged",
            "switch_by": switch.get("by"),
            "switch_identity_source": switch.get("identity_source"),
            "switch_via": switch.get("via"),
            "switch_because": switch.get("reason"),
            "switch_trigger": switch.get("trigger"),
            "switch_condition": switch.get("condition"),
            "switch_request": switch.get("request_id"),
            "decisions": counts["optimized"],
            "answered_outside": counts["outside"],
        }
    )


async def _switch(queries: Queries) -> list[Row]:
    """Return how the kill switch stands, out of its own journal: a view might hide that it was engaged."""
    entries = [recorded async for recorded in queries.entries.read(SWITCH_JOURNAL)]
    return refolded(RoutingProjection(), entries, "care_state")


async def read_timeline(queries: Queries, *, limit: int = 50) -> tuple[TimelineEntry, ...]:
    """Return the timeline out of the views, newest first."""
    traces, entries = Traces(queries), []
    for row in await queries.fetch(_TIMELINE, {"limit": limit}, names=_NAMES):
        decision = (await traces.get(row["decision_id"])).decision
        entries.append(TimelineEntry.of(decision, not_used=row["answered_with_baseline"]))
    return tuple(entries)


async def read_records(queries: Queries, *, limit: int = 50) -> tuple[DecisionRecord, ...]:
    """Return the decision records of routing out of the views, newest first."""
    traces, rows = Traces(queries), await queries.fetch(_TIMELINE, {"limit": limit}, names=_NAMES)
    return tuple([DecisionRecord.of((await traces.get(row["decision_id"])).decision) for row in rows])
