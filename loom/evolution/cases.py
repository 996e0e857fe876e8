"""The decisions that patterns are mined from, and the limit on a number that separates grants from refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator

from loom.clock import datetime_from_us
from loom.decisions.confirming import confirmed_decisions
from loom.decisions.rows import ROW
from loom.evolution.patterns import ExceptionCase, ExceptionPattern, has_shape
from loom.policies.tables.layout import TableLayout
from loom.precedents.separating import best_separation
from loom.projections import Queries

__all__ = ["cases_of", "cut_numbers"]

_SETTLED = """
SELECT position, decision_id, journal, command_id, policy_name, rule, recorded_at_us, verdict, is_exception, origin,
  status
FROM trace_decisions
WHERE (is_exception = 1 OR :all) AND origin = 'original' AND status = 'settled' AND policy_name = :policy
  AND position > :after
ORDER BY position LIMIT 2000
"""


async def cases_of(queries: Queries, policy: str, *, every: bool = False) -> AsyncIterator[ExceptionCase]:
    """Yield the exceptions of a policy whose turn has ended, oldest first; with `every` also its other decisions."""
    after = 0
    while True:
        rows = await queries.fetch(_SETTLED, {"policy": policy, "after": after, "all": int(every)}, names=("traces",))
        for row, _, decision in await confirmed_decisions(queries, rows, names=(*ROW, "exception_reason", "facts")):
            yield ExceptionCase(
                decision_id=row["decision_id"],
                policy=row["policy_name"],
                reason=decision["exception_reason"] or "",
                rule=row["rule"] or "",
                facts=decision["facts"] or {},
                granted={"granted": True, "denied": False}.get(row["verdict"]),
                at=datetime_from_us(row["recorded_at_us"]),
            )
        if len(rows) < 2_000:
            return
        after = rows[-1]["position"]


async def cut_numbers(queries: Queries, pattern: ExceptionPattern, layout: TableLayout) -> ExceptionPattern:
    """Return a pattern with the limit on a number that separates grants from refusals, if there is one.

    All settled decisions of its shape are examined, exceptions or not: those by its rule, with its conditions. The
    limit has to separate better than chance and give more confidence than the pattern has. The pattern then counts only
    the side of the grants.
    """
    numbers = {name for name, fact in layout.facts.items() if fact.type in ("integer", "decimal")}
    looked = []
    async for case in cases_of(queries, pattern.policy, every=True):
        if case.granted is not None and case.rule == pattern.rule and has_shape(case.facts, pattern):
            known = {name: value for name, value in case.facts.items() if name in numbers}
            looked.append((known, "granted" if case.granted else "refused"))
    found = best_separation(looked)
    if found is None or found.split.operator != ">=":
        return pattern
    sides = [(">=", found.inside), ("<", found.outside)]
    operator, side = max(sides, key=lambda each: each[1].get("granted", 0) / sum(each[1].values()))
    granted, refused = side.get("granted", 0), side.get("refused", 0)
    confidence = granted / (granted + refused)
    if confidence <= pattern.confidence:
        return pattern
    cut = (found.split.fact, operator, found.split.value)
    return pattern.model_copy(
        update={"cut": cut, "occurrences": granted, "refusals": refused, "confidence": confidence}
    )
