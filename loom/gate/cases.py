"""What the decisions of a run were about that came through the gate: columns of the table of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loom.decisions import Run
from loom.extension import Cases
from loom.projections import Queries

__all__ = ["read_cases"]

_COMPILED = """
SELECT id AS position FROM decision_audit_events
WHERE simulation_id = ? AND event = 'CONTEXT_COMPILED' ORDER BY id
"""
_KIND = "gate.context_compiled"
_MOST = 6


async def read_cases(queries: Queries, run: Run) -> Cases:
    """Return what the flows of a run were about; nothing where no gate is in the views.

    The run's parameter `columns` says which fields are shown, as a list or as heading → field; without it they are the
    first six that there are.
    """
    if "gate" not in {status.name for status in await queries.status()}:
        return Cases()
    sessions = await _sessions(queries, run)
    asked = run.parameters.get("columns")
    if isinstance(asked, Mapping):
        columns = {str(heading): str(field) for heading, field in asked.items()}
    elif isinstance(asked, list):
        columns = {str(field): str(field) for field in asked}
    else:
        found = dict.fromkeys(str(field) for session in sessions.values() for field in session)
        columns = {field: field for field in list(found)[:_MOST]}
    return Cases(columns if sessions else {}, sessions, "flow_id")


async def _sessions(queries: Queries, run: Run) -> dict[str, dict[str, Any]]:
    """Return the sessions of flows out of the entries that the views point at, of this run by their commands' word."""
    rows = await queries.fetch(_COMPILED, (run.run_id,), names=("gate",))
    found = await queries.entries.parts([row["position"] for row in rows], ("flow_id", "context.session"))
    compiled = [each for each in found.values() if each.kind == _KIND and each.values is not None]
    turns = {(each.journal, each.command_id) for each in compiled if each.command_id is not None}
    commands = await queries.entries.commands(turns, ("run_id", "command_type")) if turns else {}
    sessions: dict[str, dict[str, Any]] = {}
    for each in compiled:
        command = commands.get((each.journal, str(each.command_id)))
        if command is not None and command.values is not None and command.values[0] == run.run_id and each.values:
            sessions[each.values[0]] = each.values[1] or {}
        else:
            queries.differences.add("decision_audit_events", each.position, "it is of another run")
    return sessions
