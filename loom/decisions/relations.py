"""Relations of decisions: what led to one and followed from it, and a decision among its replays.

The views say where related decisions are; their entries confirm the relation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from loom.decisions.confirming import Confirmed, confirmed_decisions
from loom.decisions.trace import SUMMARY, DecisionChain, DecisionLineage, DecisionSummary, Related
from loom.projections import Queries, Row

__all__ = ["chain_of", "lineage_of"]

_ANCESTORS = f"""
WITH RECURSIVE line (id, depth) AS (
  SELECT parent_decision_id, 1 FROM trace_decisions WHERE decision_id = :id
  UNION
  SELECT above.parent_decision_id, line.depth + 1
  FROM line JOIN trace_decisions AS above ON above.decision_id = line.id
  WHERE line.depth < :depth
)
SELECT line.depth AS depth, {SUMMARY}
FROM (SELECT id, min(depth) AS depth FROM line GROUP BY id) AS line CROSS JOIN trace_decisions ON decision_id = line.id
ORDER BY line.depth DESC LIMIT :limit
"""  # noqa: S608
_DESCENDANTS = f"""
WITH RECURSIVE tree (id, depth) AS (
  SELECT decision_id, 1 FROM trace_decisions WHERE parent_decision_id = :id
  UNION
  SELECT below.decision_id, tree.depth + 1
  FROM tree JOIN trace_decisions AS below ON below.parent_decision_id = tree.id
  WHERE tree.depth < :depth
)
SELECT tree.depth AS depth, {SUMMARY}
FROM (SELECT id, min(depth) AS depth FROM tree GROUP BY id) AS tree CROSS JOIN trace_decisions ON decision_id = tree.id
ORDER BY tree.depth, position LIMIT :limit
"""  # noqa: S608
# A replay comes after its original. A link in the other direction is ignored, so there can be no cycle.
_ORIGINALS = f"""
WITH RECURSIVE line (id, earlier, place, depth) AS (
  SELECT decision_id, replayed_from, position, 0 FROM trace_decisions WHERE decision_id = :id
  UNION ALL
  SELECT above.decision_id, above.replayed_from, above.position, line.depth + 1
  FROM line JOIN trace_decisions AS above ON above.decision_id = line.earlier AND above.position < line.place
  WHERE line.depth <= :depth
)
SELECT line.depth AS depth, {SUMMARY} FROM line JOIN trace_decisions ON decision_id = line.id ORDER BY line.depth
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
SELECT tree.depth AS depth, {SUMMARY} FROM tree JOIN trace_decisions ON position = tree.place ORDER BY 1, 3
"""  # noqa: S608
_NAMES = ("traces",)
_DEPTH = 200
_RELATED = 1_000


async def chain_of(queries: Queries, one: Confirmed) -> DecisionChain:
    """Return what led to a decision, outermost first, and what followed from it, nearest first."""
    bounds = {"id": one.row["decision_id"], "depth": _DEPTH, "limit": _RELATED}
    above = await queries.fetch(_ANCESTORS, bounds, names=_NAMES, consistent=False)
    below = await queries.fetch(_DESCENDANTS, bounds, names=_NAMES, consistent=False)
    cut = any(len(rows) == _RELATED or any(each["depth"] == _DEPTH for each in rows) for rows in (above, below))
    ancestors = _line(one.row["parent_decision_id"], await _known(queries, above), "parent_decision_id")
    descendants = _tree(one.row, await _known(queries, below), "parent_decision_id")
    return DecisionChain(
        ancestors=tuple(_related(row, depth) for depth, row in reversed(list(enumerate(ancestors, 1)))),
        decision=DecisionSummary.of(one.row),
        descendants=tuple(_related(row, depth) for depth, row in descendants[1:]),
        cut=cut,
    )


async def lineage_of(queries: Queries, one: Confirmed) -> DecisionLineage:
    """Return a decision among its replays: the original, its replays, their replays, in this order."""
    bounds = {"id": one.row["decision_id"], "depth": _DEPTH, "limit": _RELATED}
    above = await queries.fetch(_ORIGINALS, bounds, names=_NAMES, consistent=False)
    others = [row for row in await _known(queries, above) if row["decision_id"] != one.row["decision_id"]]
    line = [one.row, *_line(one.row["replayed_from"], others, "replayed_from")]
    first = line[: _DEPTH + 1][-1]
    below = await queries.fetch(_ALL_REPLAYS, {**bounds, "id": first["decision_id"]}, names=_NAMES, consistent=False)
    shown = [each for each in below[:_RELATED] if each["depth"] <= _DEPTH]
    members = _tree(first, await _known(queries, shown), "replayed_from")
    return DecisionLineage(
        decision=DecisionSummary.of(one.row),
        members=tuple(_related(row, depth) for depth, row in members),
        missing=None if len(line) > _DEPTH + 1 else first["replayed_from"],
        cut=len(line) > _DEPTH + 1 or len(shown) < len(below),
    )


async def _known(queries: Queries, rows: Sequence[Row]) -> list[Row]:
    return [each.row for each in await confirmed_decisions(queries, rows)]


def _line(link: str | None, rows: Iterable[Row], name: str) -> list[Row]:
    """Return the rows along a chain of links, nearest first."""
    by_id = {row["decision_id"]: row for row in rows}
    line: list[Row] = []
    while link is not None and (row := by_id.pop(link, None)) is not None:
        line.append(row)
        link = row[name]
    return line


def _tree(root: Row, rows: Iterable[Row], name: str) -> list[tuple[int, Row]]:
    """Return a row and those whose links lead to it, with the number of links, ordered by that and by position."""
    linked: dict[str | None, list[Row]] = {}
    for row in rows:
        if row["decision_id"] != root["decision_id"]:
            linked.setdefault(row[name], []).append(row)
    found, level, depth = [(0, root)], [root], 0
    while level:
        depth += 1
        level = [row for above in level for row in linked.pop(above["decision_id"], ())]
        found += [(depth, row) for row in sorted(level, key=lambda row: row["position"])]
    return found


def _related(row: Row, depth: int) -> Related:
    return Related(depth=depth, decision=DecisionSummary.of(row))
