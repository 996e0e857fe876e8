"""Search of precedents: filters before the limit, newest first, and no text from a user becomes a query."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import JsonValue

from loom.decisions.confirming import Confirmed, confirmed_decisions
from loom.decisions.entries import PrecedentFound
from loom.errors import (
    ContradictionNotFoundError,
    DecisionNotFoundError,
    EquivalenceRuleNotRegisteredError,
    PrecedentClassNotFoundError,
)
from loom.identity import By
from loom.policies.registry import PolicyRegistry
from loom.precedents.answered import EarlierAnswers, earlier_answers
from loom.precedents.conditions import AMONG, USABLE, asked_for
from loom.precedents.contradictions import Contradiction, Contradictions, contradiction, contradictions
from loom.precedents.equivalence import EquivalenceRule
from loom.precedents.facets import FacetCounts, facet_counts
from loom.precedents.found import are_of, found_in, support_of, written
from loom.precedents.hits import Hits
from loom.precedents.index import ROW, confirmable_row
from loom.precedents.registry import EquivalenceRegistry, RuleVersion
from loom.precedents.similarity import Similarity, check_nearness, usable
from loom.precedents.support import PrecedentMember, PrecedentSupport
from loom.projections import Queries, Row
from loom.projections.sql import prefix_range

__all__ = ["PrecedentMember", "PrecedentSupport", "Precedents"]

_COLUMNS = """
p.position, p.decision_id, p.journal, p.command_id, p.decision_type, p.rationale, p.outcome, p.is_exception,
p.recorded_at_us, p.situation, p.precedent, p.policy_name, p.policy_version, p.policy_hash, p.excluded, p.overruled_by,
CASE WHEN p.overruled_by IS NOT NULL THEN
  (SELECT later.position FROM precedents AS later WHERE later.decision_id = p.overruled_by) END AS overruled_at
"""
_FIND = f"SELECT {_COLUMNS} FROM precedents AS p"  # noqa: S608 - constants only
# The first table is read backwards, and only as far as the limit requires: each gives the newest first.
_LED_BY = {
    "precedents": ("precedents AS p", "p.position"),
    "facets": ("precedent_facets AS f CROSS JOIN precedents AS p ON p.position = f.position", "f.position"),
    "words": ("precedent_words AS w CROSS JOIN precedents AS p ON p.position = w.rowid", "w.rowid"),
}
_PRECEDENT = "p.precedent = :precedent"
_NEWEST = "ORDER BY p.position DESC LIMIT :limit"
_CLASS = """
SELECT class.precedent, class.rule, class.situation, class.support,
  (
    SELECT coalesce(sum(s.support), 0)
    FROM precedent_supports AS s JOIN precedent_policies AS a ON a.name = s.policy_name
    WHERE s.precedent = class.precedent AND s.policy_hash <> a.hash
  ) + (
    SELECT count(*) FROM precedents AS o LEFT JOIN precedent_policies AS a ON a.name = o.policy_name
    WHERE o.precedent = class.precedent AND o.overruled_by IS NOT NULL AND o.excluded IS NULL
      AND (a.hash IS NULL OR o.policy_hash = a.hash)
  ) AS superseded,
  oldest.position AS oldest, newest.position AS newest
FROM ({}) AS class
JOIN precedents AS oldest
  ON oldest.position = (SELECT min(position) FROM precedents WHERE precedent = class.precedent AND excluded IS NULL)
JOIN precedents AS newest
  ON newest.position = (SELECT max(position) FROM precedents WHERE precedent = class.precedent AND excluded IS NULL)
ORDER BY class.support DESC, class.precedent DESC
"""
_LARGEST = "SELECT * FROM precedent_classes"
_OF_RULE = "rule = :rule"
_AFTER = "(support, precedent) < (:support, :precedent)"
_LARGEST_FIRST = "ORDER BY support DESC, precedent DESC LIMIT :limit"
_ONE_CLASS = _CLASS.format("SELECT * FROM precedent_classes WHERE precedent = :precedent")
_CLASS_OF = "SELECT position, decision_id, precedent FROM precedents WHERE decision_id >= ? AND decision_id < ? LIMIT 3"
_OF_CLASS = f"SELECT {_COLUMNS}, p.rule FROM precedents AS p WHERE p.position IN (SELECT value FROM json_each(?))"  # noqa: S608
_CLASS_NAMED = "SELECT precedent FROM precedent_classes WHERE precedent >= ? AND precedent < ? LIMIT 3"
_NAMES = ("precedents",)


class Precedents:
    """Finds earlier decisions, and has the rules by which they are alike.

    Decisions that were replayed, or whose turn failed or was abandoned, are no precedents. Those of a policy version
    that is no longer adopted, and those that were overruled, still are: they are marked as superseded. Results of the
    index are compared with the journal: it can hide a precedent, or that one was overruled, but not invent either.
    """

    def __init__(
        self,
        queries: Queries,
        rules: EquivalenceRegistry | None = None,
        *,
        policies: PolicyRegistry | None = None,
        similarity: Similarity | None = None,
    ) -> None:
        self._queries = queries
        self._rules = rules
        self._similarity = similarity
        self._hits = Hits(queries, policies)

    def rules(self, name: str | None = None) -> tuple[RuleVersion, ...]:
        """Return the registered equivalence rules, or the versions of one of them, by name and number."""
        return self._registry().versions(name)

    async def register(self, rule: EquivalenceRule, *, by: By, reason: str | None = None) -> RuleVersion:
        """Register an equivalence rule in the name of a person. An equal rule gives its existing version.

        The rules of actor classes are registered with their classes. Raises `AdmissionError` for a rule that does not
        distinguish outcomes.
        """
        return await self._registry().register(rule, by=by, reason=reason)

    async def find(
        self,
        *,
        situation: str | None = None,
        precedent: str | None = None,
        facets: Mapping[str, JsonValue] | None = None,
        text: str | None = None,
        decision_type: str | None = None,
        exclude_turn: tuple[str, str] | None = None,
        similar_to: str | None = None,
        min_similarity: float | None = None,
        limit: int = 5,
        before: int | None = None,
    ) -> tuple[PrecedentFound, ...]:
        """Return the decisions that match all filters, newest first; with `similar_to`, the nearest first.

        `facets` are exact facts or context. `text` is words, all of which are in rationale or reasoning. `before` is a
        position: only earlier decisions are returned, but those that are superseded now are marked. Among the matches,
        `similar_to` suggests the decisions whose rationale is nearest to a text, and labels them so; `min_similarity`
        (a cosine, -1..1) leaves out those below it. Raises `ConfigError` where no embedding function is set.
        """
        check_nearness(similar_to, min_similarity)
        asked = asked_for(
            situation=situation,
            precedent=precedent,
            facets=facets,
            text=text,
            decision_type=decision_type,
            exclude_turn=exclude_turn,
            before=before,
        )
        if asked is None:
            return ()
        source, place = _LED_BY[asked.led_by]
        if similar_to is None:
            statement = f"SELECT {_COLUMNS} FROM {source} WHERE {asked.condition} ORDER BY {place} DESC LIMIT :limit"  # noqa: S608
            rows = await self._queries.fetch(statement, {**asked.bound, "limit": limit}, names=_NAMES)
            near: dict[int, float] = {}
        else:
            statement = f"SELECT p.position FROM {source} WHERE {asked.condition}"  # noqa: S608
            matching = await self._queries.fetch(statement, asked.bound, names=_NAMES)
            near = await usable(self._similarity).nearest(
                similar_to, [row["position"] for row in matching], min_similarity=min_similarity, limit=limit
            )
            statement = f"{_FIND} WHERE {USABLE} AND {AMONG}"
            bound = {"positions": json.dumps(list(near)), "before": asked.bound["before"]}
            rows = await self._queries.fetch(statement, bound, names=_NAMES, consistent=False)
        by_class = situation is not None or precedent is not None
        hits = await self._hits.confirmed(rows, facets=facets, words=asked.words, by_class=by_class)
        found = {each.row["position"]: PrecedentFound(**written(each)) for each in hits}
        if similar_to is None:
            return tuple(found.values())
        return tuple(found[at].suggested(nearness) for at, nearness in near.items() if at in found)

    async def position(self) -> int:
        """Return the position up to which, at least, the index holds the journal for a search from now on."""
        return await self._queries.position(_NAMES)

    async def classes(
        self, *, rule: str | None = None, limit: int = 50, after: PrecedentSupport | None = None
    ) -> tuple[PrecedentSupport, ...]:
        """Return the classes by their number of decisions, largest first; the outcome is part of a class.

        `rule` names one version of an equivalence rule, by its full hash or, with a registry, by its id or the name of
        the rule; classes of two versions are never the same. `after` is the last class already seen.
        """
        bound: dict[str, object] = {"limit": limit}
        conditions = []
        if rule is not None:
            conditions.append(_OF_RULE)
            bound["rule"] = rule if self._rules is None else self._rules.resolve(rule).hash
        if after is not None:
            conditions.append(_AFTER)
            bound["support"], bound["precedent"] = after.support, after.precedent
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        statement = _CLASS.format(f"{_LARGEST}{where} {_LARGEST_FIRST}")
        return await self._supports(await self._queries.fetch(statement, bound, names=_NAMES))

    async def contradictions(
        self, *, rule: str | None = None, status: Literal["open", "resolved"] | None = None, limit: int = 20
    ) -> Contradictions:
        """Return the situations that were decided in more than one way, those with the largest minority first.

        Each has its outcomes with counts, first and last, who decided, and the recorded fact that separates them best,
        if one does so better than chance. `rule` is as in `classes`. One is `open` until a person says which outcome
        stands, and open again once a later decision goes against that.
        """
        rules = self._registry()
        chosen = None if rule is None else rules.resolve(rule).hash
        return await contradictions(self._queries, self._hits, rules, rule=chosen, limit=limit, status=status)

    async def contradiction(self, situation: str) -> Contradiction:
        """Return a contradiction by its situation or the beginning of it; raise `ContradictionNotFoundError`."""
        found = await contradiction(self._queries, self._hits, self._registry(), situation) if situation else None
        if found is None:
            raise ContradictionNotFoundError(
                f"contradiction [{situation!r:.80}] is not known, or is ambiguous; expected [the situation of one that "
                "was decided in more than one way, or an unambiguous beginning]: see `loom contradictions`"
            )
        return found

    async def answers(self, situation: str, *, exclude_turn: tuple[str, str] | None = None) -> EarlierAnswers:
        """Return how people answered in earlier decisions of a situation, by its full key; not those of one turn."""
        return await earlier_answers(self._queries, self._hits, situation, exclude_turn=exclude_turn)

    async def facets(self, name: str, *, rule: str | None = None, limit: int = 50, **given: Any) -> FacetCounts:
        """Return the number of original and observed decisions for each value of a fact, or of the context.

        The other filters are those of `Traces.find`; decisions of unfinished imports are left out. If `name` is an
        attribute of a registered equivalence rule, whole days (UTC) come from sums, provided that the filters are only
        type, actor type, policy, origin, exceptions and time; a number with parts counts by part. All other counts are
        read for `within_s` (1) seconds, newest first: `complete` says whether that was sufficient. `rule` names the
        rule if several have the attribute; without it, the last registered one is used.
        """
        return await facet_counts(self._queries, self._registry(), name, rule=rule, limit=limit, **given)

    async def members(
        self, precedent: str, *, limit: int = 50, after: int | None = None
    ) -> tuple[PrecedentMember, ...]:
        """Return the decisions of a class, by its full key, newest first; `after` is the last position already seen."""
        bound = {"precedent": precedent, "before": 2**63 - 1 if after is None else after, "limit": limit}
        statement = f"{_FIND} WHERE {USABLE} AND {_PRECEDENT} {_NEWEST}"
        rows = await self._queries.fetch(statement, bound, names=_NAMES)
        return tuple(
            PrecedentMember(
                **found_in(each.row),
                position=each.row["position"],
                policy=each.row["policy_name"],
                policy_version=each.row["policy_version"],
            )
            for each in await self._hits.confirmed(rows, by_class=True)
        )

    async def get(self, precedent: str) -> PrecedentSupport:
        """Return a class by its key or the beginning of it; raise `PrecedentClassNotFoundError`."""
        rows = await self._queries.fetch(_CLASS_NAMED, prefix_range(precedent), names=_NAMES)
        found = [row["precedent"] for row in rows if row["precedent"] == precedent] or [
            row["precedent"] for row in rows
        ]
        known = await self._class(found[0]) if len(found) == 1 else None
        if known is None:
            raise PrecedentClassNotFoundError(
                f"class [{precedent!r:.80}] is {'ambiguous' if found else 'not known'}; expected [the key of one class "
                "of precedents, or an unambiguous beginning]: see `loom precedents`"
            )
        return known

    async def of(self, decision_id: str) -> PrecedentSupport | None:
        """Return the class of a decision, by its id or the beginning of it.

        None for a decision without a class, or whose class has no usable decision. Raises `DecisionNotFoundError`.
        """
        rows = await self._queries.fetch(_CLASS_OF, prefix_range(decision_id), names=_NAMES)
        found = [row for row in rows if row["decision_id"] == decision_id] or rows
        if len(found) != 1:
            raise DecisionNotFoundError(
                f"decision [{decision_id!r:.80}] is {'ambiguous' if found else 'not known'} as a precedent; "
                "expected [the id of one original decision, or an unambiguous beginning]: see `loom decisions`"
            )
        hits = await confirmed_decisions(self._queries, found, table="precedents", make_row=confirmable_row, names=ROW)
        if not hits:
            raise self._queries.differences.add("precedents", found[0]["position"], "it is another decision")
        precedent = hits[0].row["precedent"]
        return None if precedent is None else await self._class(precedent)

    async def _class(self, precedent: str) -> PrecedentSupport | None:
        rows = await self._queries.fetch(_ONE_CLASS, {"precedent": precedent}, names=_NAMES, consistent=False)
        found = await self._supports(rows)
        return found[0] if found else None

    async def _supports(self, rows: Sequence[Row]) -> tuple[PrecedentSupport, ...]:
        """Return classes that are confirmed by their oldest and newest decisions; the view counts their decisions."""
        places = json.dumps([row[name] for row in rows for name in ("oldest", "newest")])
        fetched = await self._queries.fetch(_OF_CLASS, (places,), names=_NAMES, consistent=False) if rows else ()
        confirmed = await self._hits.confirmed(fetched, also=("facts", "context"), by_class=True)
        members = {each.row["position"]: each for each in confirmed}
        found = []
        for row in rows:
            oldest, newest = members.get(row["oldest"]), members.get(row["newest"])
            if oldest is None or newest is None:
                continue
            if are_of(row, oldest.row, newest.row):
                found.append(support_of(row, oldest.row, newest.row, words=self._named(row["rule"], newest)))
            else:
                self._queries.differences.add("precedent_classes", row["precedent"], "its decisions are of another")
        return tuple(found)

    def _named(self, rule: str, newest: Confirmed) -> str:
        """Return the name of a class, by its newest decision."""
        if self._rules is None or not self._rules.knows(rule):
            return ""
        said = newest.decision
        facts, outcome, context = (said.get(name) or {} for name in ("facts", "outcome", "context"))
        return self._rules.resolve(rule).rule.named(facts, outcome, context=context)

    def _registry(self) -> EquivalenceRegistry:
        if self._rules is None:
            raise EquivalenceRuleNotRegisteredError(
                "equivalence rules are requested where there is [no registry]; expected [an open loom]: "
                "use its `precedents`"
            )
        return self._rules
