"""Traces: decisions read back with everything that is joined to them.

Order is by position, so the same question has the same answer; pages go on after the last position seen.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from loom.decisions.approvals import ApprovalChains
from loom.decisions.decision import Decision, PrecedentReference
from loom.decisions.explanation import Explanation, explain
from loom.decisions.finding import matching
from loom.decisions.run import Run
from loom.decisions.runs import RunsView
from loom.decisions.trace import (
    DecisionChain,
    DecisionLineage,
    DecisionSummary,
    DecisionTrace,
    Enrichment,
    OutcomeObserved,
    PrecedentSeen,
    Related,
)
from loom.errors import DecisionNotFoundError, RunNotFoundError
from loom.projections import Queries
from loom.projections.sql import prefix_range

__all__ = ["Traces"]

_SUMMARY = """
decision_id, position, journal, sequence, command_id, actor_type, actor_key, decision_type, is_exception, policy_name,
policy_version, rule, effect, recorded_at_us, parent_decision_id, run_id, origin, replayed_from, confidence, rationale,
outcome, verdict, departure, status
"""
_FULL = f"{_SUMMARY}, by, command_type, correlation_id, entry_hash, schema_version, body"
_BY_PREFIX = f"""
SELECT {_FULL} FROM trace_decisions JOIN trace_bodies USING (position)
WHERE decision_id >= ? AND decision_id < ? LIMIT 3
"""  # noqa: S608
_FIND = f"SELECT {_SUMMARY} FROM trace_decisions WHERE "  # noqa: S608
_NEWEST = " ORDER BY position DESC LIMIT :limit"
_AMONG = f"SELECT {_SUMMARY} FROM trace_decisions WHERE decision_id IN (SELECT value FROM json_each(?))"  # noqa: S608
_CHILDREN = "SELECT decision_id FROM trace_decisions WHERE parent_decision_id = ? ORDER BY position LIMIT ?"
_REPLAYS = "SELECT decision_id FROM trace_decisions WHERE replayed_from = ? ORDER BY position LIMIT ?"
_OUTCOMES = """
SELECT position, correct, actual, feedback, observed_by, observed_at_us, recorded_at_us
FROM trace_outcomes WHERE decision_id = ? ORDER BY position
"""
_ENRICHMENTS = """
SELECT status, cost_micro_usd, duration_ms, said, recorded_at_us FROM enrichments
WHERE decision_id = ? ORDER BY position
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
# A replay stands after what it replays: a link the other way is none, and no line can bite its own tail.
_ORIGINALS = f"""
WITH RECURSIVE line (id, earlier, place, depth) AS (
  SELECT decision_id, replayed_from, position, 0 FROM trace_decisions WHERE decision_id = :id
  UNION ALL
  SELECT above.decision_id, above.replayed_from, above.position, line.depth + 1
  FROM line JOIN trace_decisions AS above ON above.decision_id = line.earlier AND above.position < line.place
  WHERE line.depth <= :depth
)
SELECT line.depth AS depth, {_SUMMARY} FROM line JOIN trace_decisions ON decision_id = line.id ORDER BY line.depth
"""  # noqa: S608
_ALL_REPLAYS = f"""
WITH RECURSIVE tree (depth, place, id) AS (
  SELECT 0, position, decision_id FROM trace_decisions WHERE decision_id = :id
  UNION ALL
  SELECT tree.depth + 1, below.position, below.decision_id
  FROM tree JOIN trace_decisions AS below ON below.replayed_from = tree.id AND below.position > tree.place
  WHERE tree.depth <= :depth
  ORDER BY 1, 2 LIMIT :limit + 1
)
SELECT tree.depth AS depth, {_SUMMARY} FROM tree JOIN trace_decisions ON position = tree.place ORDER BY 1, 3
"""  # noqa: S608
_NAMES = ("traces",)
_DEPTH = 200
_RELATED = 1_000


class Traces:
    """Reads decisions back: one in full, those that match, what led to one and what followed from it.

    `alike` says in words what the precedent class of a decision is made from, by attribute, for its explanation.
    """

    def __init__(self, queries: Queries, *, alike: Callable[[Decision], Mapping[str, str]] = lambda _: {}) -> None:
        self._queries = queries
        self._alike = alike
        self._approvals = ApprovalChains(queries)
        self._runs = RunsView(queries)

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
            enrichments=await self._enrichments(summary.decision_id),
            outcomes=await self._outcomes(summary.decision_id),
            children=await self._ids(_CHILDREN, summary.decision_id),
            replays=await self._ids(_REPLAYS, summary.decision_id),
            run=await self._run(summary.run_id),
        )

    async def find(
        self,
        *,
        decision_type: str | None = None,
        command_type: str | None = None,
        is_exception: bool | None = None,
        actor_type: str | None = None,
        actor_key: str | None = None,
        policy: str | None = None,
        policy_version: str | None = None,
        run_id: str | None = None,
        origin: Literal["original", "replayed"] | None = None,
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
        matches, parameters = matching(
            {
                "decision_type": decision_type, "command_type": command_type, "is_exception": is_exception,
                "actor_type": actor_type, "actor_key": actor_key, "policy": policy, "policy_version": policy_version,
                "run_id": run_id, "origin": origin, "status": status, "since": since, "until": until, "after": after,
            }
        )  # fmt: skip
        rows = await self._queries.fetch(f"{_FIND}{matches}{_NEWEST}", {**parameters, "limit": limit}, names=_NAMES)
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

    async def lineage(self, decision_id: str) -> DecisionLineage:
        """Return a decision among its replays: the original, what replays it, what replays those, in this order.

        It is the same from any of them. More than 200 generations up or down, or 1,000 members, are cut and say so.
        """
        row = await self._row(decision_id)
        bounds = {"id": row["decision_id"], "depth": _DEPTH, "limit": _RELATED}
        above = await self._queries.fetch(_ORIGINALS, bounds, names=_NAMES, consistent=False)
        first = above[: _DEPTH + 1][-1]
        below = await self._queries.fetch(
            _ALL_REPLAYS, {**bounds, "id": first["decision_id"]}, names=_NAMES, consistent=False
        )
        shown = [each for each in below[:_RELATED] if each["depth"] <= _DEPTH]
        cut = len(above) > _DEPTH + 1 or len(shown) < len(below)
        return DecisionLineage(
            decision=DecisionSummary.of(row),
            members=tuple(Related(depth=each["depth"], decision=DecisionSummary.of(each)) for each in shown),
            missing=None if len(above) > _DEPTH + 1 else first["replayed_from"],
            cut=cut,
        )

    async def explain(self, decision_id: str) -> Explanation:
        """Return one decision in the order in which a person asks about it."""
        trace = await self.get(decision_id)
        return explain(trace, alike=self._alike(trace.decision))

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

    async def _run(self, run_id: str | None) -> Run | None:
        if run_id is None:
            return None
        try:
            run = await self._runs.get(run_id)
        except RunNotFoundError:
            return None
        return run if run.run_id == run_id else None

    async def _precedents(self, references: Sequence[PrecedentReference]) -> tuple[PrecedentSeen, ...]:
        ids = json.dumps([reference.decision_id for reference in references])
        rows = await self._queries.fetch(_AMONG, (ids,), names=_NAMES, consistent=False) if references else ()
        known = {row["decision_id"]: DecisionSummary.of(row) for row in rows}
        return tuple(
            PrecedentSeen(decision_id=each.decision_id, relation=each.relation, decision=known.get(each.decision_id))
            for each in references
        )

    async def _enrichments(self, decision_id: str) -> tuple[Enrichment, ...]:
        rows = await self._queries.fetch(_ENRICHMENTS, (decision_id,), names=("enrichments",))
        return tuple(Enrichment.of(row) for row in rows)

    async def _outcomes(self, decision_id: str) -> tuple[OutcomeObserved, ...]:
        rows = await self._queries.fetch(_OUTCOMES, (decision_id,), names=_NAMES, consistent=False)
        return tuple(OutcomeObserved.of(row) for row in rows)

    async def _ids(self, statement: str, decision_id: str) -> tuple[str, ...]:
        rows = await self._queries.fetch(statement, (decision_id, _RELATED), names=_NAMES, consistent=False)
        return tuple(row[0] for row in rows)
