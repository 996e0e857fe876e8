"""Browsing: decisions that match, with how many there are by type, rule, person and more, in bounded time.

Of a million decisions neither all can be counted for a page, nor all be compared with the journal. So the newest ones
are looked through, up to a bound, and the answer says how far back it went. Each decision that is listed is compared
with its entry, and each value that is counted with one decision that has it: a view can hide, but not invent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from loom.clock import datetime_from_us
from loom.decisions.approvals import Approval, approvals_of
from loom.decisions.confirming import Confirmed, confirmed_decisions
from loom.decisions.finding import matching, window_of, within
from loom.decisions.rows import COUNTED_TOGETHER, ROW
from loom.decisions.trace import SUMMARY, DecisionSummary
from loom.identity import check_limit
from loom.precedents.browsed import FACETS, Browsed, BrowsedDecision, CountedFacet, CountedValue, nothing_browsed
from loom.precedents.conditions import match_expression
from loom.precedents.filters import checked_filters
from loom.precedents.hits import with_words
from loom.projections import Queries

__all__ = ["Browsing"]

_COLUMNS = tuple(column for column in FACETS.values() if column not in ("person", *COUNTED_TOGETHER))
_PARTS = 12
_HITS = f"""
WITH hits AS MATERIALIZED (
  SELECT position, decided_at_us, facets, {", ".join(_COLUMNS)}
  FROM trace_decisions WHERE {{}} AND position >= :floor ORDER BY position DESC LIMIT :most
),
span AS MATERIALIZED (SELECT count(*) AS hits, min(decided_at_us) AS first, max(decided_at_us) AS last FROM hits)
SELECT 'span' AS facet, first, last, NULL, NULL, NULL, 0 AS part, hits AS decisions, 0 AS newest FROM span
"""  # noqa: S608 - constants only
_PART = f"(decided_at_us - first) * {_PARTS} / (last - first + 1)"
_TOGETHER = f"""
UNION ALL SELECT '', {", ".join(COUNTED_TOGETHER)}, part, decisions, newest FROM (
  SELECT {_PART} AS part, count(*) AS decisions, max(position) AS newest
  FROM hits CROSS JOIN span GROUP BY facets, part
) AS some CROSS JOIN trace_decisions AS one ON one.position = some.newest
"""  # noqa: S608
_APART = f"""
UNION ALL SELECT '{{0}}', {{1}}, NULL, NULL, NULL, NULL, {_PART} AS part, count(*), max(position)
FROM {{2}} CROSS JOIN span WHERE {{1}} IS NOT NULL GROUP BY {{1}}, part
"""  # noqa: S608
_COUNT = (
    _HITS
    + _TOGETHER
    + "".join(
        _APART.format(name, column, "hits CROSS JOIN trace_people USING (position)" if name == "person" else "hits")
        for name, column in FACETS.items()
        if name not in COUNTED_TOGETHER
    )
)
_LIST = f"""
SELECT {SUMMARY}, by FROM trace_decisions WHERE {{}} AND position >= :floor ORDER BY position DESC LIMIT :limit
"""  # noqa: S608
_AMONG = f"""
SELECT {SUMMARY}, by, precedent FROM trace_decisions WHERE position IN (SELECT value FROM json_each(:positions))
"""  # noqa: S608
_FLOOR = "SELECT position FROM trace_decisions WHERE {} ORDER BY position DESC LIMIT 1 OFFSET :examined"
_FLOOR_OF_ALL = """
SELECT position FROM trace_decisions INDEXED BY trace_by_time
WHERE recorded_at_us <= (
  SELECT recorded_at_us FROM trace_decisions WHERE position < :before ORDER BY position DESC LIMIT 1
) AND position < :before
ORDER BY recorded_at_us DESC, position DESC LIMIT 1 OFFSET :examined
"""
_FLOOR_OF_PERSON = """
SELECT position FROM trace_people WHERE person = :person AND position < :before
ORDER BY position DESC LIMIT 1 OFFSET :examined
"""
_FLOOR_OF_WORDS = """
SELECT rowid AS position FROM precedent_words WHERE precedent_words MATCH :words AND rowid < :before
ORDER BY rowid DESC LIMIT 1 OFFSET :examined
"""
_WORDS = """
position IN (SELECT rowid FROM precedent_words WHERE precedent_words MATCH :words AND rowid BETWEEN :floor AND :before)
"""
_LEADING = (
    "run_id",
    "precedent_class",
    "requester",
    "rule",
    "decision_type",
    "policy_version",
    "effect",
    "is_exception",
    "actor_key",
)
"""The filters whose index may lead."""
_NAMES = ("traces", "precedents")
_LAST = 2**63 - 1


class _Plan(NamedTuple):
    """How the views are asked: a condition with its parameters, and how far back."""

    condition: str
    bound: dict[str, object]
    floor: int | None


class _Known:
    """The values of facets that some decision is known to have: entries stay, so this is looked at once."""

    most = 20_000

    def __init__(self) -> None:
        self.values: set[tuple[str, str]] = set()

    def add(self, facet: str, value: str) -> None:
        """Keep a value. A full set begins again: it only spares a look."""
        if len(self.values) >= self.most:
            self.values.clear()
        self.values.add((facet, value))


class Browsing:
    """Finds decisions by what people know of them, and counts the matching ones.

    `most` is how many hits are counted, `examined` how many decisions are looked through for them.
    """

    def __init__(self, queries: Queries, *, most: int = 10_000, examined: int = 20_000) -> None:
        self._queries = queries
        self._most = most
        self.examined = examined

    async def find(
        self,
        *,
        words: str | None = None,
        limit: int = 30,
        after: int | None = None,
        before: int | None = None,
        values: int = 8,
        **given: Any,
    ) -> Browsed:
        """Return decisions that match all filters, newest first, and counts by every facet.

        `given` are the filters of `Traces.find` and the names in `FACETS`; a filter that is unknown is refused with
        `AdmissionError`. `words` have to be in rationale or reasoning, all of them. `after` is the position of the last
        decision already seen. `before` is where to begin to look, as the `floor` of an earlier answer says. `values` is
        how many values of each facet are returned.
        """
        check_limit(limit)
        wanted = checked_filters(given)
        plan = await self._plan(wanted, words, _LAST if before is None else before)
        if plan is None:
            return nothing_browsed()
        listed = await self._listed(plan, wanted, words, limit=limit + 1, after=after)
        counted = await self._counted(plan, values=values)
        return Browsed(
            decisions=listed[:limit],
            next_after=listed[limit - 1].decision.position if len(listed) > limit else None,
            floor=plan.floor,
            **counted,
        )

    async def page(
        self, *, words: str | None = None, limit: int = 500, after: int | None = None, **given: Any
    ) -> tuple[BrowsedDecision, ...]:
        """Return decisions that match, without counts and however far back; for files."""
        check_limit(limit)
        wanted = checked_filters(given)
        bound: dict[str, object] = {"floor": 0, "before": _LAST}
        if words is not None and not _worded(words, bound):
            return ()
        matches, parameters = matching(wanted)
        condition = matches if words is None else f"{matches} AND {_WORDS}"
        plan = _Plan(condition, {**parameters, **bound}, None)
        return await self._listed(plan, wanted, words, limit=limit, after=after)

    async def _plan(self, wanted: Mapping[str, Any], words: str | None, before: int) -> _Plan | None:
        """Return how to ask; None where no decision can match. The filter that is met least leads."""
        bound: dict[str, object] = {"before": before}
        if words is not None and not _worded(words, bound):
            return None
        begin, window = 0, window_of(wanted)
        if window is not None:
            [row] = await self._queries.fetch(*window, names=_NAMES)
            begin, bound["before"] = row["first"], min(before, row["before"])
        first, floor = await self._leading(wanted, bound)
        matches, parameters = matching({**wanted, "after": bound["before"]}, first=first)
        conditions = [matches, "position < :before", *([_WORDS] if words is not None else [])]
        floor = None if floor is None or floor <= begin else floor
        return _Plan(" AND ".join(conditions), {**parameters, **bound, "floor": floor or begin}, floor)

    async def _leading(self, wanted: Mapping[str, Any], bound: Mapping[str, object]) -> tuple[str, int | None]:
        """Return the filter to begin with, and the position where looking ends; None where all of it is looked at."""
        asked: list[tuple[str, str, Mapping[str, object]]] = []
        if "words" in bound:
            asked.append(("words", _FLOOR_OF_WORDS, {}))
        if "person" in wanted:
            asked.append(("person", _FLOOR_OF_PERSON, {"person": wanted["person"]}))
        for name in _LEADING:
            if wanted.get(name, False) is not False:  # decisions that are no exception have no index
                condition, values = matching({name: wanted[name], "after": bound["before"]})
                asked.append((name, _FLOOR.format(condition), values))
        best: tuple[str, int] | None = None
        for name, statement, parameters in asked or [("", _FLOOR_OF_ALL, {})]:
            given: dict[str, object] = {**bound, "examined": self.examined, **parameters}
            rows = await self._queries.fetch(statement, given, names=_NAMES)
            if not rows:
                return name, None
            if best is None or rows[0]["position"] < best[1]:
                best = (name, rows[0]["position"])
        assert best is not None  # noqa: S101 - one is always asked
        return best

    async def _listed(
        self, plan: _Plan, wanted: Mapping[str, Any], words: str | None, *, limit: int, after: int | None
    ) -> tuple[BrowsedDecision, ...]:
        bound = {**plan.bound, "limit": limit}
        condition = plan.condition
        if after is not None:
            condition, bound["seen"] = f"{condition} AND position < :seen", after
        rows = await self._queries.fetch(_LIST.format(condition), bound, names=_NAMES)
        names = (*ROW, *(("reasoning",) if words is not None else ()))
        hits = await confirmed_decisions(self._queries, rows, names=names)
        if words is not None:
            said = with_words(hits, str(plan.bound["words"]))
            hits = [each for each in hits if each.row["position"] in said]
        approvals = await self._approvals(hits)
        times = {name: wanted[name] for name in ("since", "until", "status", "by_time") if name in wanted}
        found = [_browsed(each, approvals) for each in hits]
        person = wanted.get("person")
        return tuple(
            each for each in found if within(each.decision, **times) and (person is None or person in each.people)
        )

    async def _approvals(self, hits: Sequence[Confirmed]) -> dict[tuple[str, str | None], list[Approval]]:
        """Return the requests for approval of the turns of decisions, from their entries."""
        turns = {
            (each.row["journal"], each.row["command_id"])
            for each in hits
            if each.row["command_id"] is not None and each.row["origin"] != "observed"
        }
        found: dict[tuple[str, str | None], list[Approval]] = {}
        for approval in approvals_of(await self._queries.entries.marks(turns)) if turns else ():
            found.setdefault((approval.journal, approval.command_id), []).append(approval)
        return found

    async def _counted(self, plan: _Plan, *, values: int) -> dict[str, Any]:
        bound = {**plan.bound, "most": self._most + 1}
        found: dict[str, dict[str, list[Any]]] = {name: {} for name in FACETS}

        def add(facet: str, value: object, row: Any) -> None:
            counts = found[facet].setdefault(str(value), [[0] * _PARTS, 0])
            counts[0][row["part"]] += row["decisions"]
            counts[1] = max(counts[1], row["newest"])

        about, *rows = await self._queries.fetch(_COUNT.replace("{}", plan.condition), bound, names=_NAMES)
        for row in rows:
            if row["facet"]:
                add(row["facet"], row["first"], row)
                continue
            for number, column in enumerate(COUNTED_TOGETHER, 1):
                if row[number] is not None:
                    add(column, row[number], row)
        ranked = {name: sorted(of.items(), key=lambda each: (-sum(each[1][0]), each[0])) for name, of in found.items()}
        shown = {name: of[:values] for name, of in ranked.items()}
        there = await self._existing([(name, value, at) for name, of in shown.items() for value, (_, at) in of])
        return {
            "total": min(about["decisions"], self._most),
            "more": about["decisions"] > self._most,
            "first_at": None if about["first"] is None else datetime_from_us(about["first"]),
            "last_at": None if about["last"] is None else datetime_from_us(about["last"]),
            "facets": tuple(
                CountedFacet(
                    name=name,
                    values=tuple(
                        CountedValue(value=value, decisions=sum(trend), trend=tuple(trend))
                        for value, (trend, _) in of
                        if (name, value) in there
                    ),
                    others=len(ranked[name]) - len(of),
                )
                for name, of in shown.items()
            ),
        }

    async def _existing(self, wanted: Sequence[tuple[str, str, int]]) -> frozenset[tuple[str, str]]:
        """Return the values that some decision has by the journal; those that are new here are looked up."""
        known = self._queries.kept(_Known)
        new = [each for each in wanted if each[:2] not in known.values]
        there = {each[:2] for each in wanted} & known.values
        if not new:
            return frozenset(there)
        positions = json.dumps(sorted({at for _, _, at in new}))
        rows = await self._queries.fetch(_AMONG, {"positions": positions}, names=_NAMES, consistent=False)
        hits = await confirmed_decisions(self._queries, rows)
        approvals = await self._approvals(hits)
        at_position = {each.row["position"]: each for each in hits}
        for name, value, at in new:
            hit = at_position.get(at)
            if hit is None:
                continue
            has = _browsed(hit, approvals).people if name == "person" else {str(hit.row[FACETS[name]])}
            if value in has:
                known.add(name, value)
                there.add((name, value))
            else:
                self._queries.differences.add("trace_decisions", f"{name} {value}", "no decision has it")
        return frozenset(there)


def _worded(words: str, bound: dict[str, object]) -> bool:
    bound["words"] = match_expression(words)
    return bool(bound["words"])


def _browsed(hit: Confirmed, approvals: Mapping[tuple[str, str | None], Sequence[Approval]]) -> BrowsedDecision:
    row = hit.row
    observed = row["origin"] == "observed"
    return BrowsedDecision(
        decision=DecisionSummary.of(row),
        requester=row["by"],
        decided_by=row["decided_by"] if observed else None,
        approvals=() if observed else tuple(approvals.get((row["journal"], row["command_id"]), ())),
    )
