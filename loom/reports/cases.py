"""What the decisions of a run were about, where they came through the gate: columns of the report's table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from loom.decisions import Decision, Run
from loom.projections import Queries

__all__ = ["Cases", "read_cases"]

_COMPILED = """
SELECT dfid, json_extract(detail_json, '$.session') AS session FROM decision_audit_events
WHERE simulation_id = ? AND event = 'CONTEXT_COMPILED' ORDER BY id
"""
_MOST = 6


class Cases(NamedTuple):
    """Heading → name of a field of a flow's session; and the sessions by flow."""

    columns: Mapping[str, str] = {}
    sessions: Mapping[str, Mapping[str, Any]] = {}

    def of(self, decision: Decision) -> tuple[Any, ...]:
        """Return the cells of a decision, None for what its flow does not say."""
        session = self.sessions.get(str(decision.context.get("flow_id")), {})
        return tuple(session.get(field) for field in self.columns.values())


async def read_cases(queries: Queries, run: Run) -> Cases:
    """Return what the flows of a run were about; nothing where no gate is in the views.

    The run's parameter `columns` says which fields are shown, as a list or as heading → field; without it they are the
    first six that there are.
    """
    if "gate" not in {status.name for status in await queries.status()}:
        return Cases()
    rows = await queries.fetch(_COMPILED, (run.run_id,), names=("gate",))
    sessions = {row["dfid"]: json.loads(row["session"] or "{}") for row in rows}
    asked = run.parameters.get("columns")
    if isinstance(asked, Mapping):
        columns = {str(heading): str(field) for heading, field in asked.items()}
    elif isinstance(asked, list):
        columns = {str(field): str(field) for field in asked}
    else:
        found = dict.fromkeys(str(field) for session in sessions.values() for field in session)
        columns = {field: field for field in list(found)[:_MOST]}
    return Cases(columns if sessions else {}, sessions)
