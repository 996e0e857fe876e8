"""Traces: decisions read back with everything that is joined to them.

Order is by position, so the same question has the same answer; pages go on after the last position seen.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime

from loom.clock import us_from_datetime
from loom.decisions.approvals import ApprovalChains
from loom.decisions.decision import PrecedentReference
from loom.decisions.explanation import Explanation, explain
from loom.decisions.trace import DecisionChain, DecisionSummary, DecisionTrace, OutcomeObserved, PrecedentSeen, Related
from loom.errors import DecisionNotFoundError
from loom.projections import Queries
from loom.projections.sql import prefix_range

__all__ = ["Traces"]

_SUMMARY = """
decision_id, position, journal, sequence, command_id, actor_type, actor_key, decision_type, is_exception, policy_name,
policy_version, rule, effect, recorded_at_us, parent_decision_id, run_id, origin, replayed_from, confidence, rationale,
status
"""
_FULL = f"{_SUMMARY}, by, command_type, correlation_id, entry_hash, schema_version, body"
_BY_PREFIX = f"""
SELECT {_FULL} FROM trace_decisions JOIN trace_bodies USING (position)
WHERE decision_id >= ? AND decision_id < ? LIMIT 3
"""  # noqa: S608
_FIND = f"SELECT {_SUMMARY} FROM trace_decisions WHERE position < :after"  # noqa: S608
_FILTERS = {
    "decision_type": "decision_type = :decision_type",
    "is_exception": "is_exception = :is_exception",
    "actor_type": "actor_type = :actor_type",
    "actor_key": "actor_key = :actor_key",
    "policy": "policy_name = :policy",
    "policy_version": "(policy_version = :policy_version OR policy_hash = :policy_version)",
    "run_id": "run_id = :run_id",
    "origin": "origin = :origin",
    "status": "status = :status",
    "since": "recorded_at_us >= :since",
    "until": "recorded_at_us < :until",
}
_NEWEST = " ORDER BY position DESC LIMIT :limit"
_AMONG = f"SELECT {_SUMMARY} FROM trace_decisions WHERE decision_id IN (SELECT value FROM json_each(?))"  # noqa: S608
_CHILDREN = "SELECT decision_id FROM trace_decisions WHERE parent_decision_id = ? ORDER BY position LIMIT ?"
_REPLAYS = "SELECT decision_id FROM trace_decisions WHERE replayed_from = ? ORDER BY position LIMIT ?"
_OUTCOMES = """
SELECT position, correct, actual, feedback, observed_by, observed_at_us, recorded_at_us
FROM trace_outcomes WHERE decision_id = ? ORDER BY position
"""
_ANCESTORS = f"""
WITH RECURSIVE line (id, depth) AS (
  SELECT parent_decision_id, 1 FROM trace_decisions WHERE decision_id = :id
  UNION
  SELECT above.parent_decision_id, line.depth + 1
  FROM line JOIN trace_decisions AS above ON above.decision_id = line.id
  WHERE line.depth < :depth
)
SELECT min(line.depth) AS depth, {_SUMMARY}
FROM line JOIN trace_decisions ON decision_id = line.id GROUP BY decision_id ORDER BY depth DESC LIMIT :limit
"""  # noqa: S608
_DESCENDANTS = f"""
WITH RECURSIVE tree (id, depth) AS (
  SELECT decision_id, 1 FROM trace_decisions WHERE parent_decision_id = :id
  UNION
  SELECT below.decision_id, tree.depth + 1
  FROM tree JOIN trace_decisions AS below ON below.parent_decision_id = tree.id
  WHERE tree.depth < :depth
)
SELECT min(tree.depth) AS depth, {_SUMMARY}
FROM tree JOIN trace_decisions ON decision_id = tree.id GROUP BY decision_id ORDER BY depth, position LIMIT :limit
"""  # noqa: S608
_NAMES = ("traces",)
_DEPTH = 200
_RELATED = 1_000


class Traces:
    """Reads decisions back: one in full, those that match, what led to one and what followed from it."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._approvals = ApprovalChains(queries)

    async def get(self, decision_id: str) -> DecisionTrace:
        """Return the decision with this id, or the one whose id begins so; raise `DecisionNotFoundError`."""
        row = await self._row(decision_id)
        summary = DecisionSummary.of(row)
        decision = DecisionTrace.decision_in(row)
        approvals = await self._approvals.of_turn(row["journal"], row["command_id"]) if row["command_id"] else ()
        return DecisionTrace(
            **dict(summary),
            by=row["by"],
            command_type=row["command_type"],
            correlation_id=row["correlation_id"],
            entry_hash=row["entry_hash"].hex(),
            decision=decision,
            approvals=approvals,
            precedents=await self._precedents(decision.precedents),
            outcomes=await self._outcomes(summary.decision_id),
            children=await self._ids(_CHILDREN, summary.decision_id),
            replays=await self._ids(_REPLAYS, summary.decision_id),
        )

    async def find(
        self,
        *,
        decision_type: str | None = None,
        is_exception: bool | None = None,
        actor_type: str | None = None,
        actor_key: str | None = None,
        policy: str | None = None,
        policy_version: str | None = None,
        run_id: str | None = None,
        origin: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        after: int | None = None,
    ) -> tuple[DecisionSummary, ...]:
        """Return the decisions that match everything given, newest first.

        `policy_version` is a version id or a full hash; `until` itself is left out; `after` is the position of the last
        one already seen.
        """
        given: dict[str, object] = {
            "decision_type": decision_type, "is_exception": is_exception, "actor_type": actor_type,
            "actor_key": actor_key, "policy": policy, "policy_version": policy_version, "run_id": run_id,
            "origin": origin, "status": status, "since": _us(since), "until": _us(until),
        }  # fmt: skip
        wanted = {name: value for name, value in given.items() if value is not None}
        statement = " AND ".join([_FIND, *(_FILTERS[name] for name in wanted)]) + _NEWEST
        bounds = {"after": 2**63 - 1 if after is None else after, "limit": limit}
        rows = await self._queries.fetch(statement, {**wanted, **bounds}, names=_NAMES)
        return tuple(DecisionSummary.of(row) for row in rows)

    async def chain(self, decision_id: str) -> DecisionChain:
        """Return what led to a decision, outermost first, and what followed from it, nearest first.

        A line of more than 200 generations, or 1,000 relatives, is cut there and says so.
        """
        row = await self._row(decision_id)
        bounds = {"id": row["decision_id"], "depth": _DEPTH, "limit": _RELATED}
        above = await self._queries.fetch(_ANCESTORS, bounds, names=_NAMES, consistent=False)
        below = await self._queries.fetch(_DESCENDANTS, bounds, names=_NAMES, consistent=False)
        cut = any(len(rows) == _RELATED or any(each["depth"] == _DEPTH for each in rows) for rows in (above, below))
        return DecisionChain(
            ancestors=tuple(Related(depth=each["depth"], decision=DecisionSummary.of(each)) for each in above),
            decision=DecisionSummary.of(row),
            descendants=tuple(Related(depth=each["depth"], decision=DecisionSummary.of(each)) for each in below),
            cut=cut,
        )

    async def explain(self, decision_id: str) -> Explanation:
        """Return one decision in the order in which a person asks about it."""
        return explain(await self.get(decision_id))

    async def _row(self, decision_id: str) -> sqlite3.Row:
        rows = await self._queries.fetch(_BY_PREFIX, prefix_range(decision_id), names=_NAMES)
        found = [row for row in rows if row["decision_id"] == decision_id] or rows
        if len(found) == 1:
            return found[0]
        several = ", ".join(row["decision_id"] for row in found)
        raise DecisionNotFoundError(
            f"decision [{decision_id!r:.80}] is {f'ambiguous [{several}, …]' if found else 'not known'}; "
            "expected [the id of one decision, or how only one begins]: see `loom decisions`"
        )

    async def _precedents(self, references: Sequence[PrecedentReference]) -> tuple[PrecedentSeen, ...]:
        ids = json.dumps([reference.decision_id for reference in references])
        rows = await self._queries.fetch(_AMONG, (ids,), names=_NAMES, consistent=False) if references else ()
        known = {row["decision_id"]: DecisionSummary.of(row) for row in rows}
        return tuple(
            PrecedentSeen(decision_id=each.decision_id, relation=each.relation, decision=known.get(each.decision_id))
            for each in references
        )

    async def _outcomes(self, decision_id: str) -> tuple[OutcomeObserved, ...]:
        rows = await self._queries.fetch(_OUTCOMES, (decision_id,), names=_NAMES, consistent=False)
        return tuple(OutcomeObserved.of(row) for row in rows)

    async def _ids(self, statement: str, decision_id: str) -> tuple[str, ...]:
        rows = await self._queries.fetch(statement, (decision_id, _RELATED), names=_NAMES, consistent=False)
        return tuple(row[0] for row in rows)


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else us_from_datetime(moment)
